// Why a qcow2 file is refused.

extension QCOW2 {
  /// Why a file, or one request to it, is refused; continues a sentence that begins with the file's name.
  package enum Defect: Error, Equatable, Sendable, CustomStringConvertible {
    case noMagic
    case short(size: UInt64)
    case version(UInt32)
    case clusterBits(UInt32)
    case headerLength(UInt32)
    case unknownFeatures(UInt64)
    case extendedL2ClusterBits(UInt32)
    case refcountOrder(UInt32)
    case encrypted
    case refcountTable(offset: UInt64, clusters: UInt32)
    case snapshotTable(offset: UInt64, count: UInt32)
    case l1Table(offset: UInt64, entries: UInt32)
    case l1TooShort(entries: UInt32, needed: UInt64)
    case size(UInt64)
    case backingPath(offset: UInt64, count: UInt32)
    case backingPathNoText
    case backingProtocol(String)
    case backingFormat(String)
    case backingFormatMissing(backing: String, looks: String)
    case headerExtension(type: UInt32)
    case compressionType(UInt8)
    case dataFileMissing
    case snapshotUnknown(String)
    case snapshotAmbiguous(String)
    case snapshotUnreadable(String)
    case headerFull
    // While it is used.
    case entry(table: String, index: UInt64, value: UInt64)
    case subclusters(index: UInt64)
    case compressedCluster(offset: UInt64)
    case overlap(offset: UInt64)
    case refcount(offset: UInt64)
    case full
    // Opened for writing.
    case dirty
    case corrupt
    case oldVersion
    case notWritable(String)
    case oldSnapshots
    case hasSnapshots
    case checkTooLarge

    package var description: String {
      switch self {
      case .noMagic: "is no qcow2 file: name its format if it has another"
      case .short(let size): "has only \(size) bytes of a qcow2 file: restore it from a copy"
      case .version(let version): "is a qcow2 file of version \(version), known are 2 and 3: convert it"
      case .clusterBits(let bits):
        "has clusters of 2^\(bits) bytes, known are 2^9 to 2^21: restore its header"
      case .headerLength(let length):
        "has a header of \(length) bytes, which cannot be: restore it from a copy"
      case .unknownFeatures(let bits):
        "needs features that are not known here (bits \(hexadecimal(bits))): use a newer program"
      case .extendedL2ClusterBits(let bits):
        "has subclusters in clusters of 2^\(bits) bytes, which cannot be: restore its header"
      case .refcountOrder(let order): "has reference counts of 2^\(order) bits, known are 2^0 to 2^6"
      case .encrypted: "is encrypted: decrypt it with qemu-img convert"
      case .refcountTable(let offset, let clusters):
        "has a refcount table of \(clusters) clusters at \(offset), which cannot be: restore its header"
      case .snapshotTable(let offset, let count):
        "has a table of \(count) snapshots at \(offset), which cannot be: restore it from a copy"
      case .l1Table(let offset, let entries):
        "has an L1 table of \(entries) entries at \(offset), which cannot be: restore its header"
      case .l1TooShort(let entries, let needed):
        "has an L1 table of \(entries) entries and needs \(needed): restore its header"
      case .size(let size): "has a disk of \(size) bytes, more than the format allows: restore its header"
      case .backingPath(let offset, let count):
        "has a backing path of \(count) bytes at \(offset), which cannot be: restore its header"
      case .backingPathNoText: "has a backing path that is not UTF-8: name the backing file yourself"
      case .backingProtocol(let name):
        "names '\(name)' as its backing file, which is no plain path: name the backing file yourself"
      case .backingFormat(let name):
        "has a backing file of the format \(printable(name)), which cannot be opened: convert it"
      case .backingFormatMissing(let backing, let looks):
        "does not say which format '\(backing)' has, and it looks like \(looks): "
          + "run ttblk image rebase --unsafe -F \(looks) if that is right"
      case .headerExtension(let type):
        "has a header extension \(hexadecimal(UInt64(type))) that cannot be, or has two: restore its header"
      case .compressionType(let type): "is compressed by the method \(type), known are 0 and 1"
      case .dataFileMissing:
        "keeps its data in another file, and does not say in which: name it with qemu-img amend"
      case .snapshotUnknown(let name): "has no snapshot '\(printable(name))'"
      case .snapshotAmbiguous(let name): "has several snapshots named '\(printable(name))': use the id"
      case .snapshotUnreadable(let name): "has a snapshot '\(printable(name))' whose table makes no sense"
      case .headerFull: "has no space left in its header for a path that long: use a shorter one"
      case .entry(let table, let index, let value):
        "has the \(table) entry \(index) = \(hexadecimal(value)), which cannot be: run ttblk image check"
      case .subclusters(let index):
        "has the L2 entry \(index) with subclusters both present and zero: run ttblk image check"
      case .compressedCluster(let offset):
        "has a compressed cluster at \(offset) that cannot be read: restore it from a copy"
      case .overlap(let offset):
        "would be written at \(offset), where its own tables are: run ttblk image check"
      case .refcount(let offset): "counts the references to \(offset) wrongly: run ttblk image repair"
      case .full: "has no free cluster within the reach of the format: convert it to larger clusters"
      case .dirty: "was not closed properly: run ttblk image repair, or open it read-only"
      case .corrupt: "is marked as corrupt: run ttblk image repair, or open it read-only"
      case .oldVersion: "is of version 2, which is only read: run ttblk image upgrade, or open it read-only"
      case .notWritable(let what): "has \(what), which is only read: convert it, or open it read-only"
      case .oldSnapshots: "has snapshots without what version 3 needs: run qemu-img amend -o compat=v3"
      case .hasSnapshots: "has snapshots, which must go first: run qemu-img snapshot -d"
      case .checkTooLarge: "is too large or too scattered to be checked"
      }
    }
  }
}

func hexadecimal(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }

/// Text from a file, without what could end a line or move a cursor.
package func printable(_ text: String) -> String {
  String(String.UnicodeScalarView(text.unicodeScalars.map { $0.value < 32 || $0.value == 127 ? "?" : $0 }))
}
