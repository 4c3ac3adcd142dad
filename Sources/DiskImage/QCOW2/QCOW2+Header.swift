// The header of a qcow2 file.
import BlockIO

extension QCOW2 {
  /// One header extension, as it is in the file.
  struct HeaderExtension: Equatable, Sendable {
    let type: UInt32
    let data: [UInt8]
  }

  /// What cluster 0 says.
  package struct Header: Equatable, Sendable {
    var version: UInt32
    var backingOffset: UInt64 = 0
    /// Empty when there is no backing file.
    var backingPath: [UInt8] = []
    var clusterBits: UInt32
    var size: UInt64
    var l1Size: UInt32 = 0
    var l1Offset: UInt64 = 0
    var refcountTableOffset: UInt64 = 0
    var refcountTableClusters: UInt32 = 0
    var snapshotCount: UInt32 = 0
    var snapshotsOffset: UInt64 = 0
    var incompatible: UInt64 = 0
    var compatible: UInt64 = 0
    var autoclear: UInt64 = 0
    var refcountOrder: UInt32 = 4
    var headerLength: UInt32 = Header.ownLength
    var compression: CompressedCluster.Method = .deflate
    /// What follows the fields we know, up to the header's length.
    var tail: [UInt8] = []
    var extensions: [HeaderExtension] = []

    static let v2Length: UInt32 = 72
    static let v3LengthMin: UInt32 = 104
    static let ownLength: UInt32 = 112

    package var clusterSize: UInt64 { 1 << UInt64(clusterBits) }
    var isExtendedL2: Bool { incompatible & Incompatible.extendedL2 != 0 }
    var hasDataFile: Bool { incompatible & Incompatible.dataFile != 0 }
    /// How many L1 entries a disk of this size needs.
    func l1EntriesNeeded(for size: UInt64) -> UInt64 {
      let perEntry = clusterSize / (isExtendedL2 ? 16 : 8) * clusterSize
      return size / perEntry + (size % perEntry == 0 ? 0 : 1)
    }

    func text(of type: UInt32) -> String? {
      guard let found = extensions.first(where: { $0.type == type }) else { return nil }
      // Some writers pad or terminate the text.
      return String(validating: found.data.prefix { $0 != 0 }, as: UTF8.self)
    }
  }
}

extension QCOW2.Header {
  typealias Defect = QCOW2.Defect

  /// Parses what is in the first cluster; fewer bytes are taken for all of the file.
  init(parsing bytes: RawSpan) throws(QCOW2.Defect) {
    guard bytes.byteCount >= 8 else { throw .short(size: UInt64(bytes.byteCount)) }
    guard (0..<4).allSatisfy({ bytes.byte($0) == QCOW2.magic[$0] }) else { throw .noMagic }
    version = bytes.u32(4)
    guard version == 2 || version == 3 else { throw .version(version) }
    guard bytes.byteCount >= Int(version == 2 ? Self.v2Length : Self.v3LengthMin) else {
      throw .short(size: UInt64(bytes.byteCount))
    }
    clusterBits = bytes.u32(20)
    guard (Limits.qcow2ClusterBitsMin...Limits.qcow2ClusterBitsMax).contains(clusterBits) else {
      throw .clusterBits(clusterBits)
    }
    size = bytes.u64(24)
    guard bytes.u32(32) == 0 else { throw .encrypted }
    l1Size = bytes.u32(36)
    l1Offset = bytes.u64(40)
    refcountTableOffset = bytes.u64(48)
    refcountTableClusters = bytes.u32(56)
    snapshotCount = bytes.u32(60)
    snapshotsOffset = bytes.u64(64)
    headerLength = Self.v2Length
    if version == 3 { try parseVersion3(bytes) }
    try requireTables()
    try parseExtensions(bytes)
    try parseBackingPath(bytes)
  }

  private mutating func parseVersion3(_ bytes: RawSpan) throws(Defect) {
    incompatible = bytes.u64(72)
    compatible = bytes.u64(80)
    autoclear = bytes.u64(88)
    refcountOrder = bytes.u32(96)
    headerLength = bytes.u32(100)
    guard headerLength >= Self.v3LengthMin, headerLength % 8 == 0, headerLength <= clusterSize else {
      throw .headerLength(headerLength)
    }
    guard Int(headerLength) <= bytes.byteCount else { throw .short(size: UInt64(bytes.byteCount)) }
    let unknown = incompatible & ~QCOW2.Incompatible.known
    guard unknown == 0 else { throw .unknownFeatures(unknown) }
    guard refcountOrder <= 6 else { throw .refcountOrder(refcountOrder) }
    guard !isExtendedL2 || clusterBits >= 14 else { throw .extendedL2ClusterBits(clusterBits) }
    let type = headerLength > 104 ? bytes.byte(104) : 0
    guard let method = CompressedCluster.Method(rawValue: type),
      (type != 0) == (incompatible & QCOW2.Incompatible.compression != 0)
    else { throw .compressionType(type) }
    compression = method
    if headerLength > 105 { tail = (105..<Int(headerLength)).map { bytes.byte($0) } }
  }

  /// Alignment and caps of everything that the header points to.
  private func requireTables() throws(Defect) {
    let tableBytes = UInt64(refcountTableClusters) * clusterSize
    guard refcountTableClusters > 0, tableBytes <= Limits.qcow2RefcountTableBytesMax,
      isTable(refcountTableOffset, tableBytes)
    else { throw .refcountTable(offset: refcountTableOffset, clusters: refcountTableClusters) }
    guard snapshotCount <= Limits.qcow2SnapshotsMax, snapshotCount == 0 || isTable(snapshotsOffset, 0) else {
      throw .snapshotTable(offset: snapshotsOffset, count: snapshotCount)
    }
    guard size <= UInt64(Int64.max) - 2 * clusterSize else { throw .size(size) }
    let needed = l1EntriesNeeded(for: size)
    guard needed * 8 <= Limits.qcow2L1BytesMax else { throw .size(size) }
    let l1Bytes = UInt64(l1Size) * 8
    guard l1Bytes <= Limits.qcow2L1BytesMax, l1Size == 0 || isTable(l1Offset, l1Bytes) else {
      throw .l1Table(offset: l1Offset, entries: l1Size)
    }
    guard l1Size >= needed else { throw .l1TooShort(entries: l1Size, needed: needed) }
  }

  func isTable(_ offset: UInt64, _ count: UInt64) -> Bool {
    offset != 0 && offset % clusterSize == 0 && offset < Limits.qcow2HostOffsetMax
      && count <= Limits.qcow2HostOffsetMax - offset
  }

  private mutating func parseExtensions(_ bytes: RawSpan) throws(Defect) {
    let cluster = min(Int(clusterSize), bytes.byteCount)
    let path = bytes.u64(8)
    guard path <= clusterSize else { throw .backingPath(offset: path, count: bytes.u32(16)) }
    let end = path > 0 ? min(cluster, Int(path)) : cluster
    var position = Int(headerLength)
    while position + 8 <= end {
      let type = bytes.u32(position)
      let count = bytes.u32(position + 4)
      if type == QCOW2.ExtensionType.end { return }
      position += 8
      guard count <= end - position, !extensions.contains(where: { $0.type == type }) else {
        throw .headerExtension(type: type)
      }
      let data = (position..<position + Int(count)).map { bytes.byte($0) }
      extensions.append(QCOW2.HeaderExtension(type: type, data: data))
      position += (Int(count) + 7) / 8 * 8
    }
  }

  private mutating func parseBackingPath(_ bytes: RawSpan) throws(Defect) {
    let offset = bytes.u64(8)
    let count = bytes.u32(16)
    guard offset != 0 else { return }
    guard count <= Limits.qcow2BackingPathBytesMax, UInt64(count) <= clusterSize - offset,
      Int(offset) + Int(count) <= bytes.byteCount
    else { throw .backingPath(offset: offset, count: count) }
    backingOffset = offset
    backingPath = (Int(offset)..<Int(offset) + Int(count)).map { bytes.byte($0) }
    // QEMU's tools take a path without characters for no path.
    if backingPath.isEmpty { backingOffset = 0 }
  }
}

extension RawSpan {
  func byte(_ offset: Int) -> UInt8 { unsafeLoad(fromByteOffset: offset, as: UInt8.self) }

  func u32(_ offset: Int) -> UInt32 {
    UInt32(bigEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }

  func u64(_ offset: Int) -> UInt64 {
    UInt64(bigEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }

  func u16(_ offset: Int) -> UInt16 {
    UInt16(bigEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: UInt16.self))
  }
}
