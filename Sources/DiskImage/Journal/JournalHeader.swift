// The first page of a journal.
import Linux

/// What a journal is of.
enum JournalKind: UInt32 {
  case umlCOW = 1
  case qcow2 = 2
}

/// How a journal is laid out: a header, a directory of words, pages of metadata; each begins on a page.
struct JournalShape: Equatable, Sendable {
  let kind: JournalKind
  let pageSize: Int
  let pageCount: Int
  let directoryWords: Int
  /// What else must be the same for the pages to mean the same.
  let numbers: [UInt64]

  static let systemPage = 4096
  static let numberCount = 3
  static let directoryOffset = systemPage
  var pagesOffset: Int { Self.directoryOffset + Self.whole(directoryWords * 8) }
  var byteCount: Int { pagesOffset + Self.whole(pageSize * pageCount) }

  private static func whole(_ count: Int) -> Int { (count + systemPage - 1) / systemPage * systemPage }
}

/// Which file an image is, so that neither a copy nor a new file with an old number is taken for it.
struct JournalImage: Equatable, Sendable {
  let device: UInt64
  let inode: UInt64
  /// When the file was made, in seconds since 1970 and nanoseconds; 0 where that is not known.
  let bornSeconds: UInt64
  let bornNanoseconds: UInt32
}

extension JournalImage {
  /// In 28 bytes: u64 device, u64 inode, u64 made at, seconds, u32 and nanoseconds; big-endian.
  init(parsing raw: RawSpan, at offset: Int) {
    device = raw.u64(offset)
    inode = raw.u64(offset + 8)
    bornSeconds = raw.u64(offset + 16)
    bornNanoseconds = raw.u32(offset + 24)
  }

  func append(to bytes: inout [UInt8]) {
    bytes.append(bigEndian: device)
    bytes.append(bigEndian: inode)
    bytes.append(bigEndian: bornSeconds)
    bytes.append(bigEndian: bornNanoseconds)
  }
}

/// What the first page of a journal says.
///
/// ```
/// @0   "ttblkJNL"           @8   u32 version, 1      @12  u32 kind: 1 UML COW, 2 qcow2
/// @16  the image (`JournalImage`)
/// @44  u32 bytes of path    @48  token [16]          @64  u64 bytes in a page     @72 u64 pages
/// @80  u64 words            @88  u64 numbers [3]     @112 u64 image missing since, seconds; 0: it was there
/// @120 path of the image    all numbers are big-endian
/// ```
struct JournalHeader: Equatable {
  var shape: JournalShape
  var image: JournalImage
  var token: [UInt8]
  var path: String
  var missingSince: UInt64 = 0

  static let magic = Array("ttblkJNL".utf8)
  static let version: UInt32 = 1
  static let byteCount = JournalShape.systemPage
  static let missingOffset = 112
  private static let pathOffset = 120

  var encoded: [UInt8] {
    // The path is for messages and for the sweep; of a longer one the sweep finds nothing, and leaves it.
    let path = Array(path.utf8.prefix(Self.byteCount - Self.pathOffset))
    var bytes = Self.magic
    bytes.append(bigEndian: Self.version)
    bytes.append(bigEndian: shape.kind.rawValue)
    image.append(to: &bytes)
    bytes.append(bigEndian: UInt32(path.count))
    bytes += token
    bytes.append(bigEndian: UInt64(shape.pageSize))
    bytes.append(bigEndian: UInt64(shape.pageCount))
    bytes.append(bigEndian: UInt64(shape.directoryWords))
    for number in shape.numbers { bytes.append(bigEndian: number) }
    bytes.append(bigEndian: missingSince)
    bytes += path
    return bytes + [UInt8](repeating: 0, count: Self.byteCount - bytes.count)
  }

  /// Nil for what is no header of this version.
  init?(parsing bytes: [UInt8]) {
    guard bytes.count == Self.byteCount, Array(bytes[..<8]) == Self.magic else { return nil }
    let raw = bytes.span.bytes
    guard raw.u32(8) == Self.version, let kind = JournalKind(rawValue: raw.u32(12)),
      let pageSize = Int(exactly: raw.u64(64)), let pageCount = Int(exactly: raw.u64(72)),
      let words = Int(exactly: raw.u64(80))
    else { return nil }
    let count = Int(raw.u32(44))
    guard count <= Self.byteCount - Self.pathOffset,
      let path = String(validating: bytes[Self.pathOffset..<Self.pathOffset + count], as: UTF8.self),
      !path.utf8.contains(0)
    else { return nil }
    // Compared with the image's own before any of it is used.
    shape = JournalShape(
      kind: kind, pageSize: pageSize, pageCount: pageCount, directoryWords: words,
      numbers: (0..<JournalShape.numberCount).map { raw.u64(88 + 8 * $0) })
    image = JournalImage(parsing: raw, at: 16)
    token = Array(bytes[48..<64])
    missingSince = raw.u64(Self.missingOffset)
    self.path = path
  }

  init(shape: JournalShape, image: JournalImage, token: [UInt8], path: String) {
    precondition(shape.numbers.count == JournalShape.numberCount && token.count == JournalName.tokenBytes)
    self.shape = shape
    self.image = image
    self.token = token
    self.path = path
  }
}
