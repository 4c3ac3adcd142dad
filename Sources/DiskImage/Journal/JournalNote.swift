// Where images name their journals.
import BlockIO
import Linux

/// Reads bytes of an image; fewer where it ends.
typealias JournalReader<E: Error> = (_ offset: Int, _ count: Int) throws(E) -> [UInt8]

extension JournalName {
  /// The journal that an image names; nil for none.
  static func read<E: Error>(_ kind: JournalKind, _ reader: JournalReader<E>) throws(E) -> JournalName? {
    switch kind {
    case .umlCOW: try UMLCOW.JournalNote.read(reader)
    case .qcow2: QCOW2.journalName(of: try QCOW2.headerBytes(reader))?.name
    }
  }
}

extension UMLCOW {
  /// Says which journal has the newest bits of a COW file. It lies behind the note that a commit leaves:
  ///
  /// ```
  /// @4192  "ttblkJNL"
  /// @4200  u32, big-endian: bytes of the name
  /// @4204  the name (`JournalName`); zeros up to 4608, where the earliest bitmap begins
  /// ```
  enum JournalNote {
    static let offset: UInt64 = 4192
    static let byteCount = 416
    private static let magic = Array("ttblkJNL".utf8)

    static func read<E: Error>(_ reader: JournalReader<E>) throws(E) -> JournalName? {
      guard (try reader(0, 8)).starts(with: [0x4f, 0x4f, 0x4f, 0x4d, 0, 0, 0, 3]) else { return nil }
      let bytes = try reader(Int(offset), byteCount)
      guard bytes.count == byteCount, bytes.starts(with: magic) else { return nil }
      let count = Int(bytes.span.bytes.u32(8))
      guard count <= byteCount - 12 else { return nil }
      return JournalName(parsing: bytes[12..<12 + count])
    }

    /// Names a journal, or none. Whether that is durable does not matter: no journal outlives the power.
    static func write(
      _ name: JournalName?, to file: ImageFile, engine: any BlockEngine
    ) throws(DiskImageError) {
      var bytes: [UInt8] = []
      if let name {
        bytes = magic
        bytes.append(bigEndian: UInt32(name.encoded.count))
        bytes += name.encoded
      }
      bytes += [UInt8](repeating: 0, count: byteCount - bytes.count)
      do throws(BlockIOError) { try engine.write(file, at: offset, from: bytes[...]) } catch {
        throw .file(error)
      }
    }
  }
}

extension QCOW2 {
  /// The first cluster of a file, or what there is of it; empty for what is no qcow2 file.
  static func headerBytes<E: Error>(_ reader: JournalReader<E>) throws(E) -> [UInt8] {
    let start = try reader(0, 512)
    guard start.count >= 24, start.starts(with: magic) else { return [] }
    let bits = start.span.bytes.u32(20)
    guard (Limits.qcow2ClusterBitsMin...Limits.qcow2ClusterBitsMax).contains(bits) else { return [] }
    return try reader(0, 1 << Int(bits))
  }

  /// The journal that a header names, and whether nobody has written to the file since who did not know it.
  static func journalName(of bytes: [UInt8]) -> (name: JournalName, isCurrent: Bool)? {
    guard !bytes.isEmpty, let header = try? Header(parsing: bytes.span.bytes) else { return nil }
    return header.journal
  }
}

extension QCOW2.Header {
  var journal: (name: JournalName, isCurrent: Bool)? {
    guard let found = extensions.first(where: { $0.type == QCOW2.ExtensionType.journal }),
      let name = JournalName(parsing: found.data[...])
    else { return nil }
    return (name, autoclear & QCOW2.Autoclear.journal != 0)
  }

  /// Names a journal, or none.
  mutating func setJournal(_ name: JournalName?) {
    setExtension(QCOW2.ExtensionType.journal, name?.encoded)
    if name == nil {
      autoclear &= ~QCOW2.Autoclear.journal
    } else {
      autoclear |= QCOW2.Autoclear.journal
    }
  }
}
