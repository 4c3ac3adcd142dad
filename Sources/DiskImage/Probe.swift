// Which format a file has.
package import BlockIO

/// A format that can be asked for by name.
package enum ImageFormat: String, CaseIterable, Sendable {
  case raw
  case umlCOW = "uml-cow"
  case qcow2
}

/// Guesses formats from the first bytes of a file.
///
/// A guess can be wrong: a guest may write anything to the start of a raw disk. Whoever knows the format says
/// so.
package enum Probe {
  /// How many bytes a guess needs.
  static let byteCount = 8

  /// What the bytes look like.
  enum Finding: Equatable {
    case format(ImageFormat)
    case unsupported(String)
  }

  static func examine(_ bytes: [UInt8]) -> Finding {
    if UMLCOW.Header.looksLikeOne(bytes) { return .format(.umlCOW) }
    if bytes.starts(with: QCOW2.magic) {
      return bytes[4...].starts(with: [0, 0, 0, 1]) ? .unsupported("qcow") : .format(.qcow2)
    }
    return .format(.raw)
  }

  /// The format of a file; others that we know and cannot open are refused.
  package static func format(
    of file: ImageFile, engine: any BlockEngine
  ) throws(DiskImageError) -> ImageFormat {
    switch try look(at: file, engine) {
    case .format(let format): return format
    case .unsupported(let name): throw .unsupportedFormat(path: file.path, name: name)
    }
  }

  /// What a file looks like that is taken for raw; nil if it looks like nothing else.
  static func otherFormat(of file: ImageFile, engine: any BlockEngine) throws(DiskImageError) -> String? {
    switch try look(at: file, engine) {
    case .format(.raw): return nil
    case .format(let format): return format.rawValue
    case .unsupported(let name): return name
    }
  }

  private static func look(at file: ImageFile, _ engine: any BlockEngine) throws(DiskImageError) -> Finding {
    var bytes = [UInt8](repeating: 0, count: byteCount)
    do throws(BlockIOError) { try engine.read(file, at: 0, into: &bytes) } catch { throw .file(error) }
    return examine(bytes)
  }
}
