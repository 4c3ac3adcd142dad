// Making a qcow2 file.
package import BlockIO
import Glibc
import Linux

extension QCOW2 {
  /// What a new file stands on.
  package struct Backing: Equatable, Sendable {
    /// As it is stored; a relative path is relative to the new file's folder.
    package var path: String
    /// Always stored: nobody has to guess.
    package var format: ImageFormat

    package init(path: String, format: ImageFormat) {
      self.path = path
      self.format = format
    }

    /// What a new file at `output` stands on, named as it is from here: the format is looked for unless it is
    /// known, and a relative path is stored as seen from the new file's folder.
    package init(
      _ path: String, format: ImageFormat?, for output: String, registry: FileRegistry,
      engine: any BlockEngine = SynchronousEngine()
    ) throws(DiskImageError) {
      let file = try registry.openFile(path, writable: false, lock: false)
      if let format { self.format = format } else { self.format = try Probe.format(of: file, engine: engine) }
      do throws(LinuxError) {
        let isNear = directoryName(path) == directoryName(output)
        self.path = isNear ? baseName(path) : path.hasPrefix("/") ? path : try absolutePath(path)
      } catch { throw .system(error) }
    }
  }

  /// Makes a file of version 3 that holds nothing yet.
  ///
  /// It appears under its name when it is complete, and never replaces another.
  /// - Parameters:
  ///   - size: of the disk, rounded up to a sector; nil takes the backing image's.
  ///   - compression: what compressed clusters will be compressed by, if there are any.
  package static func create(
    path: String, size: UInt64? = nil, clusterBits: UInt32 = 16, refcountOrder: UInt32 = 4,
    backing: Backing? = nil, compression: CompressedCluster.Method = .deflate, registry: FileRegistry,
    engine: any BlockEngine = SynchronousEngine()
  ) throws(DiskImageError) {
    var output = try OutputFile(path: path)
    try fill(
      output, size: size, clusterBits: clusterBits, refcountOrder: refcountOrder, backing: backing,
      compression: compression, registry: registry, engine: engine)
    try output.publish()
  }

  /// Writes a file that holds nothing yet under its temporary name.
  static func fill(
    _ output: borrowing OutputFile, size: UInt64?, clusterBits: UInt32, refcountOrder: UInt32,
    backing: Backing?, compression: CompressedCluster.Method, like model: ImageFile? = nil,
    registry: FileRegistry, engine: any BlockEngine
  ) throws(DiskImageError) {
    let path = output.path
    guard (Limits.qcow2ClusterBitsMin...Limits.qcow2ClusterBitsMax).contains(clusterBits) else {
      throw .qcow2(path: path, .clusterBits(clusterBits))
    }
    guard refcountOrder <= 6 else { throw .qcow2(path: path, .refcountOrder(refcountOrder)) }
    var diskSize = size ?? 0
    if let backing {
      let image = try openImage(
        path: resolve(backing.path, directoryName(path)),
        options: ImageOptions(format: backing.format, readOnly: true, lock: false), registry: registry,
        engine: engine)
      if size == nil { diskSize = image.size }
    }
    guard let rounded = diskSize.roundedUp(to: Limits.sectorSize) else {
      throw .qcow2(path: path, .size(diskSize))
    }
    var header = Header(version: 3, clusterBits: clusterBits, size: rounded)
    header.refcountOrder = refcountOrder
    header.compression = compression
    header.tail = [UInt8](repeating: 0, count: 7)
    if compression != .deflate { header.incompatible = Incompatible.compression }
    try header.setBacking(backing, path: path)
    let layout = try Layout(&header, path: path)
    try output.fill(like: model) { (file, name) throws(LinuxError) in
      for (offset, bytes) in layout.pieces { try write(bytes, at: offset, to: file, name) }
      _ = try retrying("ftruncate", name) { ftruncate(file.rawValue, off_t(layout.end)) }
    }
  }

  /// Where the parts of a new file are: header, refcount table, refcount blocks, L1 table.
  private struct Layout {
    var pieces: [(offset: UInt64, bytes: [UInt8])] = []
    let end: UInt64

    init(_ header: inout Header, path: String) throws(DiskImageError) {
      guard header.size <= UInt64(Int64.max) - 2 * header.clusterSize else {
        throw .qcow2(path: path, .size(header.size))
      }
      let l1Entries = header.l1EntriesNeeded(for: header.size)
      guard l1Entries * 8 <= Limits.qcow2L1BytesMax else { throw .qcow2(path: path, .size(header.size)) }
      let cluster = header.clusterSize
      let l1Clusters = max(1, (l1Entries * 8 + cluster - 1) / cluster)
      let perBlock = (cluster * 8) >> UInt64(header.refcountOrder)
      var blocks: UInt64 = 1
      var tableClusters: UInt64 = 1
      while blocks * perBlock < 1 + tableClusters + blocks + l1Clusters {
        blocks += 1
        tableClusters = (blocks * 8 + cluster - 1) / cluster
      }
      let total = 1 + tableClusters + blocks + l1Clusters
      header.refcountTableOffset = cluster
      header.refcountTableClusters = UInt32(tableClusters)
      header.l1Offset = (1 + tableClusters + blocks) * cluster
      header.l1Size = UInt32(max(1, l1Entries))
      end = total * cluster

      var first = header.encoded()
      if !header.backingPath.isEmpty {
        header.backingOffset = UInt64(first.count)
        first = header.encoded() + header.backingPath
      }
      guard first.count <= cluster else { throw .qcow2(path: path, .headerFull) }
      var table: [UInt8] = []
      for block in 0..<blocks { table.append(bigEndian: (1 + tableClusters + block) * cluster) }
      let counts = QCOW2.counts(
        ones: Int(total), byteCount: Int(blocks * cluster), order: header.refcountOrder)
      pieces = [(0, first), (cluster, table), ((1 + tableClusters) * cluster, counts)]
    }
  }
}

extension QCOW2.Header {
  init(version: UInt32, clusterBits: UInt32, size: UInt64) {
    self.version = version
    self.clusterBits = clusterBits
    self.size = size
  }

  /// Names a backing file, or none.
  mutating func setBacking(_ backing: QCOW2.Backing?, path: String) throws(DiskImageError) {
    guard let backing, !backing.path.isEmpty else {
      backingPath = []
      backingOffset = 0
      setExtension(QCOW2.ExtensionType.backingFormat, nil)
      return
    }
    guard !backing.path.utf8.contains(0) else { throw .qcow2(path: path, .backingPathNoText) }
    // What is before a colon would be taken for a protocol.
    let needsDot = backing.path.prefix { $0 != "/" }.contains(":")
    backingPath = Array((needsDot ? "./" + backing.path : backing.path).utf8)
    guard backingPath.count <= Limits.qcow2BackingPathBytesMax else {
      throw .qcow2(path: path, .headerFull)
    }
    setExtension(QCOW2.ExtensionType.backingFormat, Array(backing.format.rawValue.utf8))
  }
}
