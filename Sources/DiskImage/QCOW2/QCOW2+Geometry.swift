// What follows from a header, and what an entry of a table means.
import BlockIO

extension QCOW2 {
  /// The numbers that turn an offset of the disk into places in the tables.
  struct Geometry: Equatable, Sendable {
    let clusterBits: UInt64
    let isExtendedL2: Bool
    let hasDataFile: Bool
    let isVersion3: Bool
    let compression: CompressedCluster.Method
    let refcountOrder: UInt32

    init(_ header: Header) {
      clusterBits = UInt64(header.clusterBits)
      isExtendedL2 = header.isExtendedL2
      hasDataFile = header.hasDataFile
      isVersion3 = header.version == 3
      compression = header.compression
      refcountOrder = header.refcountOrder
    }

    var clusterSize: UInt64 { 1 << clusterBits }
    var clusterMask: UInt64 { clusterSize - 1 }
    var entrySize: UInt64 { isExtendedL2 ? 16 : 8 }
    /// log2 of the entries of an L2 table.
    var l2Bits: UInt64 { clusterBits - (isExtendedL2 ? 4 : 3) }
    /// log2 of the bytes of the disk that one L1 entry stands for.
    var l1Shift: UInt64 { clusterBits + l2Bits }
    /// log2 of the counts in a refcount block.
    var blockBits: UInt64 { clusterBits + 3 - UInt64(refcountOrder) }
    var refcountMax: UInt64 { refcountOrder == 6 ? .max : 1 << (1 << UInt64(refcountOrder)) - 1 }
    var subclusterSize: UInt64 { clusterSize / 32 }
    /// The file of the image's list that has the data of uncompressed clusters.
    var dataFileNumber: UInt8 { hasDataFile ? 1 : 0 }

    func l1Index(_ offset: UInt64) -> UInt64 { offset >> l1Shift }
    func l2Index(_ offset: UInt64) -> UInt64 { offset >> clusterBits & (1 << l2Bits - 1) }

    /// The table that an L1 entry names; nil when there is none.
    func table(of entry: UInt64) throws(EntryDefect) -> UInt64? {
      let offset = entry & EntryBits.offset
      guard entry & ~(EntryBits.offset | EntryBits.copied) == 0, offset & clusterMask == 0 else {
        throw EntryDefect()
      }
      return offset == 0 ? nil : offset
    }

    /// What an L2 entry means, extended or not.
    func meaning(of entry: UInt64) throws(EntryDefect) -> Cluster {
      if entry & EntryBits.compressed != 0 {
        guard !hasDataFile else { throw EntryDefect() }
        let bits = 62 - (clusterBits - 8)
        let sectors = (entry & ~(EntryBits.copied | EntryBits.compressed)) >> bits
        let offset = entry & (1 << bits - 1)
        guard offset >= clusterSize, offset < Limits.qcow2HostOffsetMax else { throw EntryDefect() }
        return .compressed(offset: offset, count: (sectors + 1) * 512 - offset % 512)
      }
      let offset = entry & EntryBits.offset
      let isZero = entry & EntryBits.zero != 0
      let copied = entry & EntryBits.copied
      guard entry & ~(EntryBits.offset | EntryBits.zero | EntryBits.copied) == 0, offset & clusterMask == 0,
        !isZero || (isVersion3 && !isExtendedL2)
      else { throw EntryDefect() }
      // Cluster 0 of a data file is data; cluster 0 of the file itself is the header.
      let host = offset != 0 || (hasDataFile && copied != 0) ? offset : nil
      // The flag alone means nothing, as to QEMU.
      if isZero { return .zero(host: host, isCopied: copied != 0) }
      guard let host else { return .unallocated }
      return .standard(host: host, isCopied: copied != 0)
    }
  }

  /// An entry whose bits make no sense.
  struct EntryDefect: Error {}

  /// Where the contents of a cluster of the disk are.
  enum Cluster: Equatable {
    /// What the backing image has.
    case unallocated
    /// Zeros; the host cluster is kept for later.
    case zero(host: UInt64?, isCopied: Bool)
    case standard(host: UInt64, isCopied: Bool)
    case compressed(offset: UInt64, count: UInt64)
  }
}
