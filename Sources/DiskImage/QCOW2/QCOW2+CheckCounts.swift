// The counts of a file against its references.
import BlockIO

extension QCOW2.Checker {
  /// Calls `body` for each entry of the refcount table that is not 0.
  mutating func forEachBlock(
    _ body: (inout QCOW2.Checker, _ index: UInt64, _ block: UInt64) throws(DiskImageError) -> Void
  ) throws(DiskImageError) {
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = UInt64(header.refcountTableClusters) << (geometry.clusterBits - 3)
    var first: UInt64 = 0
    while first < count, header.refcountTableOffset + first * 8 < census.fileSize {
      try spend(4096)
      try read(header.refcountTableOffset + first * 8, into: &bytes)
      for index in 0..<min(512, count - first) {
        let entry = bytes.span.bytes.u64(Int(index) * 8)
        if entry != 0 { try body(&self, first + index, entry) }
      }
      first += 512
    }
  }

  mutating func countRefcountTables() throws(DiskImageError) {
    let bytes = UInt64(header.refcountTableClusters) << geometry.clusterBits
    try add(header.refcountTableOffset, bytes, "refcount table")
    try forEachBlock { (checker, index, block) throws(DiskImageError) in
      guard checker.isBlock(block) else {
        checker.report.error("refcount table entry \(index) is \(hexadecimal(block))")
        checker.countsAreWrong = true
        return
      }
      try checker.add(block, checker.geometry.clusterSize, "refcount block")
      if checker.census[block >> checker.geometry.clusterBits] != 1 {
        checker.report.error("refcount block \(index) at \(block) is something else, too")
        checker.countsAreWrong = true
      }
    }
  }

  func isBlock(_ offset: UInt64) -> Bool {
    offset & geometry.clusterMask == 0 && offset < census.fileSize && offset < Limits.qcow2HostOffsetMax
  }

  /// Compares each count with the census; what has no block has the count 0.
  mutating func compareCounts() throws(DiskImageError) {
    var counted = census
    let end = (census.fileSize + geometry.clusterMask) >> geometry.clusterBits
    try forEachCount { (checker, cluster, count) throws(DiskImageError) in
      // What is counted behind the end of the file takes no space.
      guard cluster < end || checker.census[cluster] > 0 else { return }
      checker.compare(cluster, count, checker.census[cluster])
      counted.clear(cluster)
    }
    var missing: [(UInt64, UInt64)] = []
    try counted.visit { (cluster, references) throws(DiskImageError) in
      missing.append((cluster, references))
    }
    for (cluster, references) in missing { compare(cluster, 0, references) }
  }

  private mutating func compare(_ cluster: UInt64, _ count: UInt64, _ references: UInt64) {
    if count != references, deviations.count < Self.deviationsMax { deviations[cluster] = count }
    if count < references {
      report.error("cluster \(cluster) has the count \(count) and \(references) references")
      countsAreWrong = true
    } else if count > references {
      report.leak("cluster \(cluster) has the count \(count) and \(references) references")
    }
  }

  /// Calls `body` for each count that is not 0.
  mutating func forEachCount(
    _ body: (inout QCOW2.Checker, _ cluster: UInt64, _ count: UInt64) throws(DiskImageError) -> Void
  ) throws(DiskImageError) {
    var bytes = [UInt8](repeating: 0, count: Int(geometry.clusterSize))
    try forEachBlock { (checker, index, block) throws(DiskImageError) in
      guard checker.isBlock(block) else { return }
      try checker.spend(checker.geometry.clusterSize)
      try checker.read(block, into: &bytes)
      let first = index << checker.geometry.blockBits
      for index in 0..<UInt64(1) << checker.geometry.blockBits {
        let count = QCOW2.count(in: bytes, Int(index), order: checker.geometry.refcountOrder)
        if count > 0 { try body(&checker, first + index, count) }
      }
    }
  }

  private static let deviationsMax = 1 << 20

  /// The flag "copied" of the disk itself must say whether a count is 1; those of snapshots mean nothing.
  mutating func checkCopied() throws(DiskImageError) {
    try forEachCopied { (checker, _, entry, host, what) throws(DiskImageError) in
      let cluster = host >> checker.geometry.clusterBits
      let isOne = (checker.deviations[cluster] ?? checker.census[cluster]) == 1
      if isOne != (entry & QCOW2.EntryBits.copied != 0) {
        checker.report.error(
          "the \(what) at \(host) \(isOne ? "has one user" : "is shared"), and its entry says otherwise")
      }
    }
  }

  /// Calls `body` for each entry of the disk itself that has the flag "copied", or could: where the entry is,
  /// what it is, and where it leads.
  mutating func forEachCopied(
    _ body: (
      inout QCOW2.Checker, _ place: UInt64, _ entry: UInt64, _ host: UInt64, _ what: String
    ) throws(DiskImageError) -> Void
  ) throws(DiskImageError) {
    try forEachTable(header.l1Offset, UInt64(header.l1Size)) {
      (checker, index, entry, table) throws(DiskImageError) in
      guard let table else { return }
      try body(&checker, checker.header.l1Offset + index * 8, entry, table, "L2 table")
      guard !checker.geometry.hasDataFile else { return }
      try checker.forEachEntry(table) { (checker, index, entry, _) throws(DiskImageError) in
        switch try? checker.geometry.meaning(of: entry) {
        case .standard(let host, _), .zero(let host?, _):
          try body(&checker, table + index * checker.geometry.entrySize, entry, host, "cluster")
        default: return
        }
      }
    }
  }
}
