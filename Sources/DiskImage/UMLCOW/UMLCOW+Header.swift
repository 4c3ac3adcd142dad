// Reading and writing the header.

extension UMLCOW {
  /// What the header of a COW file says.
  package struct Header: Equatable, Sendable {
    /// The layout that it was read in.
    package var version: Version
    /// The path of the backing file, without its NUL; not always UTF-8.
    package var backingPath: [UInt8]
    /// The time of the backing file's last change, in seconds since 1970.
    package var backingModified: UInt32
    /// The length of the backing file, in bytes.
    package var backingSize: UInt64
    /// What a bit stands for, in bytes.
    package var sectorSize: UInt32
    /// What bitmap and data are aligned to; in versions 1 and 2 the sector size.
    package var alignment: UInt32

    /// A header as we write it: version 3, sectors of 512 bytes, aligned to `Limits.cowAlignment`, and just
    /// below 8 TiB to pages, as UML could not reach the data otherwise.
    package init(backingPath: [UInt8], backingModified: UInt32, backingSize: UInt64) {
      version = .v3
      self.backingPath = backingPath
      self.backingModified = backingModified
      self.backingSize = backingSize
      sectorSize = 512
      alignment = Limits.cowAlignment
      if (try? geometry()) == nil { alignment = UInt32(Limits.pageSize) }
    }

    /// How many bytes of a file the parser wants to see, if the file has them.
    package static let byteCountMax = 4136

    /// Whether a file that begins like this calls itself a COW file.
    static func looksLikeOne(_ bytes: [UInt8]) -> Bool {
      let span = bytes.span.bytes
      guard span.byteCount >= 8 else { return false }
      switch span.integer(UInt32.self, at: 0, bigEndian: true) {
      case magic: return (1...3).contains(span.integer(UInt32.self, at: 4, bigEndian: true))
      case magic.byteSwapped: return span.integer(UInt32.self, at: 4, bigEndian: false) == 1
      default: return false
      }
    }

    /// Reads a header from the first bytes of a file.
    package init(parsing bytes: RawSpan) throws(HeaderDefect) {
      guard bytes.byteCount >= 8 else { throw .noMagic }
      let big: Bool
      switch bytes.integer(UInt32.self, at: 0, bigEndian: true) {
      case Header.magic: big = true
      case Header.magic.byteSwapped: big = false
      default: throw .noMagic
      }
      let number = bytes.integer(UInt32.self, at: 4, bigEndian: big)
      // Only a writer of version 1 ever wrote little-endian.
      guard (1...3).contains(number), big || number == 1 else { throw .unknownVersion(number) }
      version = try Header.version(of: bytes, number: number, bigEndian: big)
      let layout = Layout(version)
      guard bytes.byteCount >= layout.byteCount else {
        throw .short(version: number, size: bytes.byteCount, needed: layout.byteCount)
      }
      backingPath = try Header.path(in: bytes, at: layout.path, capacity: layout.pathCapacity)
      backingModified = bytes.integer(UInt32.self, at: layout.modified, bigEndian: big)
      backingSize = bytes.integer(UInt64.self, at: layout.size, bigEndian: big)
      sectorSize = bytes.integer(UInt32.self, at: layout.sectorSize, bigEndian: big)
      alignment = sectorSize
      if let offset = layout.alignment { alignment = bytes.integer(UInt32.self, at: offset, bigEndian: big) }
      if let offset = layout.dataFormat {
        let format = bytes.integer(UInt32.self, at: offset, bigEndian: big)
        guard format == 0 else { throw .unknownFormat(format) }
      }
      guard Header.isPlausible(sectorSize: sectorSize) else { throw .sectorSize(sectorSize) }
      guard alignment > 0, alignment % 512 == 0, alignment <= Limits.cowAlignmentMax else {
        throw .alignment(alignment)
      }
      _ = try geometry()
    }

    /// The bytes of a version 3 header; what follows the path is zeros.
    package func encoded() -> [UInt8] {
      precondition(version == .v3 && backingPath.count <= Limits.backingPathBytesMax)
      let layout = Layout(.v3)
      var bytes: [UInt8] = []
      bytes.reserveCapacity(layout.byteCount)
      bytes.append(bigEndian: Header.magic)
      bytes.append(bigEndian: UInt32(3))
      bytes.append(bigEndian: backingModified)
      bytes.append(bigEndian: backingSize)
      bytes.append(bigEndian: sectorSize)
      bytes.append(bigEndian: alignment)
      bytes.append(bigEndian: UInt32(0))
      bytes.append(contentsOf: backingPath)
      bytes.append(contentsOf: repeatElement(0, count: layout.byteCount - bytes.count))
      return bytes
    }

    static let magic: UInt32 = 0x4f4f_4f4d

    private static func isPlausible(sectorSize: UInt32) -> Bool {
      (512...65536).contains(sectorSize) && sectorSize.nonzeroBitCount == 1
    }

    private static func version(
      of bytes: RawSpan, number: UInt32, bigEndian big: Bool
    ) throws(HeaderDefect) -> Version {
      switch number {
      case 1:
        return isUnpacked(bytes, .v1(bigEndian: big), .v1Unpacked) && !big ? .v1Unpacked : .v1(bigEndian: big)
      case 2: return isUnpacked(bytes, .v2, .v2Unpacked) ? .v2Unpacked : .v2
      default:
        // Where the correct layout has the path, the broken one has cow_format, which is 0; no path begins
        // with NUL.
        guard bytes.byteCount >= 36 else {
          throw .short(version: 3, size: bytes.byteCount, needed: Layout(.v3).byteCount)
        }
        return bytes.integer(UInt32.self, at: 32, bigEndian: true) == 0 ? .v3Broken : .v3
      }
    }

    /// Whether a header of version 1 or 2 makes sense with an 8-byte time only.
    private static func isUnpacked(_ bytes: RawSpan, _ packed: Version, _ unpacked: Version) -> Bool {
      let (normal, wide) = (Layout(packed), Layout(unpacked))
      guard bytes.byteCount >= wide.byteCount else { return false }
      let big = packed != .v1(bigEndian: false)
      let asPacked = Header(raw: bytes, normal, packed, bigEndian: big)
      let asUnpacked = Header(raw: bytes, wide, unpacked, bigEndian: big)
      return !asPacked.makesSense && asUnpacked.makesSense
    }

    /// The fields as they are, for a guess only.
    private init(raw bytes: RawSpan, _ layout: Layout, _ version: Version, bigEndian big: Bool) {
      self.version = version
      backingPath = []
      backingModified = bytes.integer(UInt32.self, at: layout.modified, bigEndian: big)
      backingSize = bytes.integer(UInt64.self, at: layout.size, bigEndian: big)
      sectorSize = bytes.integer(UInt32.self, at: layout.sectorSize, bigEndian: big)
      alignment = sectorSize
    }

    private var makesSense: Bool { Header.isPlausible(sectorSize: sectorSize) && (try? geometry()) != nil }

    private static func path(in bytes: RawSpan, at offset: Int, capacity: Int) throws(HeaderDefect) -> [UInt8]
    {
      var path: [UInt8] = []
      for index in 0..<capacity {
        let byte = bytes.integer(UInt8.self, at: offset + index, bigEndian: true)
        if byte == 0 {
          if path.isEmpty { throw .emptyPath }
          return path
        }
        path.append(byte)
      }
      throw .endlessPath
    }
  }

  /// Where the fields of a header are.
  struct Layout {
    let path: Int
    let pathCapacity: Int
    let modified: Int
    let size: Int
    let sectorSize: Int
    let alignment: Int?
    let dataFormat: Int?
    let byteCount: Int

    init(_ version: Version) {
      switch version {
      case .v1: self.init(8, 256, 264, 268, 276, nil, nil, 280)
      // The low half of the 8-byte time comes first in the one byte order, and last in the other.
      case .v1Unpacked: self.init(8, 256, 264, 272, 280, nil, nil, 288)
      case .v2: self.init(8, 4096, 4104, 4108, 4116, nil, nil, 4120)
      case .v2Unpacked: self.init(8, 4096, 4108, 4112, 4120, nil, nil, 4128)
      case .v3: self.init(32, 4096, 8, 12, 20, 24, 28, 4128)
      case .v3Broken: self.init(36, 4096, 8, 16, 24, 28, 32, 4136)
      }
    }

    private init(
      _ path: Int, _ pathCapacity: Int, _ modified: Int, _ size: Int, _ sectorSize: Int, _ alignment: Int?,
      _ dataFormat: Int?, _ byteCount: Int
    ) {
      self.path = path
      self.pathCapacity = pathCapacity
      self.modified = modified
      self.size = size
      self.sectorSize = sectorSize
      self.alignment = alignment
      self.dataFormat = dataFormat
      self.byteCount = byteCount
    }
  }
}

extension RawSpan {
  /// An integer at any offset.
  func integer<Integer: FixedWidthInteger & BitwiseCopyable>(
    _ type: Integer.Type, at offset: Int, bigEndian: Bool
  ) -> Integer {
    // Bounds are checked by the span; any bytes are a valid integer.
    let value = unsafeLoadUnaligned(fromByteOffset: offset, as: type)
    return bigEndian ? Integer(bigEndian: value) : Integer(littleEndian: value)
  }
}

extension [UInt8] {
  mutating func append(bigEndian value: some FixedWidthInteger) {
    Swift.withUnsafeBytes(of: value.bigEndian) { append(contentsOf: $0) }
  }
}
