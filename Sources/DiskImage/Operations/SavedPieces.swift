// Pieces of a file, kept so that a change can be taken back.
import BlockIO

/// A file of pieces of another file, in the order in which they are to be put back.
///
/// ```
/// @0   "ttblkSV1"
/// then u64 offset, u64 count, both big-endian, and count bytes; again and again
/// end  u64 all ones, u64 0
/// ```
enum SavedPieces {
  static let magic = Array("ttblkSV1".utf8)
  private static let recordBytes: UInt64 = 16

  /// Writes pieces of a file into another one.
  struct Writer {
    private let source: ImageFile
    private let target: ImageFile
    private let engine: any BlockEngine
    private var position = UInt64(magic.count)
    private var pending: Range<UInt64>?

    init(
      _ source: ImageFile, to target: ImageFile, engine: any BlockEngine
    ) throws(DiskImageError) {
      self.source = source
      self.target = target
      self.engine = engine
      do throws(BlockIOError) { try engine.write(target, at: 0, from: magic[...]) } catch {
        throw .file(error)
      }
    }

    /// Keeps a piece; neighbours become one.
    mutating func append(_ range: Range<UInt64>) throws(DiskImageError) {
      if let before = pending, before.upperBound == range.lowerBound {
        pending = before.lowerBound..<range.upperBound
      } else {
        try flush()
        pending = range
      }
    }

    /// The last piece is there; everything is on the medium.
    mutating func finish() throws(DiskImageError) {
      try flush()
      try put(header(offset: .max, count: 0))
      do throws(BlockIOError) { try engine.synchronize(target) } catch { throw .file(error) }
    }

    private mutating func flush() throws(DiskImageError) {
      guard let range = pending, !range.isEmpty else { return }
      pending = nil
      try put(header(offset: range.lowerBound, count: range.upperBound - range.lowerBound))
      var offset = range.lowerBound
      while offset < range.upperBound {
        let count = min(range.upperBound - offset, UInt64(Limits.copyBytesPerStep))
        try put(try read(source, at: offset, count: count, engine: engine))
        offset += count
      }
    }

    private func header(offset: UInt64, count: UInt64) -> [UInt8] {
      var bytes: [UInt8] = []
      bytes.append(bigEndian: offset)
      bytes.append(bigEndian: count)
      return bytes
    }

    private mutating func put(_ bytes: [UInt8]) throws(DiskImageError) {
      do throws(BlockIOError) { try engine.write(target, at: position, from: bytes[...]) } catch {
        throw .file(error)
      }
      position += UInt64(bytes.count)
    }
  }

  /// Calls `body` with each piece: where it belongs, and where its bytes are in the file of pieces.
  /// - Throws: when the file is not one of pieces, has no end, or a piece lies beyond `limit`.
  static func forEach(
    in file: ImageFile, limit: UInt64, engine: any BlockEngine,
    _ body: (_ place: Range<UInt64>, _ offset: UInt64) throws(DiskImageError) -> Void
  ) throws(DiskImageError) {
    let unusable = DiskImageError.unsuitable(
      path: file.path, reason: "is not what a repair saved, or not all of it")
    guard try read(file, at: 0, count: UInt64(magic.count), engine: engine) == magic else { throw unusable }
    var position = UInt64(magic.count)
    while true {
      guard position + recordBytes <= file.size else { throw unusable }
      let record = try read(file, at: position, count: recordBytes, engine: engine)
      let offset = record.span.bytes.integer(UInt64.self, at: 0, bigEndian: true)
      let count = record.span.bytes.integer(UInt64.self, at: 8, bigEndian: true)
      position += recordBytes
      if offset == .max, count == 0 { return }
      guard count <= file.size - position, offset <= limit, count <= limit - offset else { throw unusable }
      try body(offset..<offset + count, position)
      position += count
    }
  }

  /// Bytes of a file, as many as there are wanted.
  static func read(
    _ file: ImageFile, at offset: UInt64, count: UInt64, engine: any BlockEngine
  ) throws(DiskImageError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Int(count))
    do throws(BlockIOError) { try engine.read(file, at: offset, into: &bytes) } catch { throw .file(error) }
    return bytes
  }
}
