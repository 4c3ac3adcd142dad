// Putting a qcow2 file in order.
package import BlockIO

extension QCOW2 {
  /// What a repair may change.
  package enum RepairScope: Sendable {
    /// Counts that are too high, and the flags that follow from them.
    case leaks
    /// All counts, the flags that follow from them, and the marks "dirty" and "corrupt".
    case all
  }

  /// Puts right what a check finds wrong with the counts; the data and what refers to it stay.
  ///
  /// The references are taken for right, the counts for wrong. Entries that make no sense stay, too, and with
  /// them the mark "corrupt". At every moment the file is no worse than before.
  /// - Returns: what was found, and what is left.
  package static func repair(
    path: String, _ scope: RepairScope, lock: Bool = true, registry: FileRegistry,
    engine: any BlockEngine = SynchronousEngine()
  ) throws(DiskImageError) -> (before: CheckReport, after: CheckReport) {
    try repair(try registry.openFile(path, writable: true, lock: lock, style: .qemu), scope, engine: engine)
  }

  /// As `repair(path:)`, of a file that is open for writing.
  static func repair(
    _ file: ImageFile, _ scope: RepairScope, engine: any BlockEngine
  ) throws(DiskImageError) -> (before: CheckReport, after: CheckReport) {
    var checker = try Checker(file, engine: engine)
    try checker.run()
    let before = checker.report
    if scope == .all, checker.countsAreWrong {
      try checker.rebuildCounts()
    } else {
      try checker.lowerCounts()
    }
    var after = try Checker(file, engine: engine)
    try after.run()
    // Where there was no error before, those that are here now are flags that follow from lowered counts.
    if after.report.errors > 0, scope == .all || before.errors == 0 {
      try after.repairCopied()
      after = try Checker(file, engine: engine)
      try after.run()
    }
    if scope == .all, after.report.errors == 0 { try after.clearMarks() }
    return (before, after.report)
  }
}

extension QCOW2.Checker {
  func write(_ bytes: ArraySlice<UInt8>, at offset: UInt64) throws(DiskImageError) {
    do throws(BlockIOError) { try engine.write(file, at: offset, from: bytes) } catch { throw .file(error) }
  }

  func synchronize() throws(DiskImageError) {
    do throws(BlockIOError) { try engine.synchronize(file) } catch { throw .file(error) }
  }

  /// Corrects the counts that are too high, in place; those that are too low stay, and so do those in a block
  /// that is something else, too: that may be the disk's bytes.
  mutating func lowerCounts() throws(DiskImageError) {
    var bytes = [UInt8](repeating: 0, count: Int(geometry.clusterSize))
    try forEachBlock { (checker, index, block) throws(DiskImageError) in
      guard checker.isBlock(block), checker.census[block >> checker.geometry.clusterBits] == 1 else { return }
      try checker.read(block, into: &bytes)
      let first = index << checker.geometry.blockBits
      let order = checker.geometry.refcountOrder
      var changes = false
      for index in 0..<UInt64(1) << checker.geometry.blockBits {
        let references = checker.census[first + index]
        guard QCOW2.count(in: bytes, Int(index), order: order) > references else { continue }
        QCOW2.setCount(in: &bytes, Int(index), order: order, references)
        changes = true
      }
      if changes { try checker.write(bytes[...], at: block) }
    }
    try synchronize()
  }

  /// Writes a new refcount table and new blocks behind everything else; the header names them when they are
  /// durable. The old ones are then free.
  mutating func rebuildCounts() throws(DiskImageError) {
    // What the old tables are referred to by goes with them.
    var references = QCOW2.Checker(census: try censusWithoutCounts(), of: self)
    let end = (census.fileSize + geometry.clusterMask) >> geometry.clusterBits
    let perBlock: UInt64 = 1 << geometry.blockBits
    // A block for each stretch that has a reference, and for the new tables themselves.
    var used: [UInt64] = []
    try references.census.visit { (cluster, _) throws(DiskImageError) in
      if used.last != cluster >> geometry.blockBits { used.append(cluster >> geometry.blockBits) }
    }
    var blockCount = UInt64(used.count)
    var tableClusters: UInt64 = 1
    // The stretches that the new tables are in.
    var own = end / perBlock...end / perBlock
    while true {
      let last = (end + blockCount + tableClusters) / perBlock
      tableClusters = max(tableClusters, ((last + 1) * 8 + geometry.clusterMask) >> geometry.clusterBits)
      guard tableClusters << geometry.clusterBits <= Limits.qcow2RefcountTableBytesMax else {
        throw .qcow2(path: file.path, .checkTooLarge)
      }
      own = end / perBlock...(end + blockCount + tableClusters - 1) / perBlock
      let shared = used.count(where: own.contains)
      let needed = UInt64(used.count) + UInt64(own.count) - UInt64(shared)
      if needed <= blockCount, own.upperBound <= last { break }
      blockCount = max(needed, blockCount)
    }
    used.removeAll(where: own.contains)
    used.append(contentsOf: own)
    blockCount = UInt64(used.count)
    let total = blockCount + tableClusters
    references.census.extend(by: total << geometry.clusterBits, from: end << geometry.clusterBits)
    try references.add(end << geometry.clusterBits, total << geometry.clusterBits, "new refcount table")
    var table = [UInt8](repeating: 0, count: Int(tableClusters << geometry.clusterBits))
    for (position, index) in used.enumerated() {
      let offset = (end + UInt64(position)) << geometry.clusterBits
      try write(references.block(index)[...], at: offset)
      var entry: [UInt8] = []
      entry.append(bigEndian: offset)
      table.replaceSubrange(Int(index) * 8..<Int(index) * 8 + 8, with: entry)
    }
    let offset = (end + blockCount) << geometry.clusterBits
    try write(table[...], at: offset)
    try synchronize()
    var changed = header
    changed.refcountTableOffset = offset
    changed.refcountTableClusters = UInt32(tableClusters)
    try write(changed.encodedFields()[48..<60], at: 48)
    try synchronize()
  }

  private func censusWithoutCounts() throws(DiskImageError) -> QCOW2.Census {
    var other = try QCOW2.Checker(file, engine: engine)
    try other.countReferences(withCounts: false)
    return other.census
  }

  private init(census: QCOW2.Census, of other: QCOW2.Checker) {
    self = other
    self.census = census
  }

  /// The counts of one stretch; those that the width does not hold stay as high as it goes.
  private func block(_ index: UInt64) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Int(geometry.clusterSize))
    let first = index << geometry.blockBits
    for position in 0..<UInt64(1) << geometry.blockBits {
      let count = min(census[first + position], geometry.refcountMax)
      if count > 0 { QCOW2.setCount(in: &bytes, Int(position), order: geometry.refcountOrder, count) }
    }
    return bytes
  }

  /// Lets the flags "copied" say what the counts say.
  mutating func repairCopied() throws(DiskImageError) {
    var changes: [(place: UInt64, entry: UInt64)] = []
    try forEachCopied { (checker, place, entry, host, _) throws(DiskImageError) in
      let cluster = host >> checker.geometry.clusterBits
      let isOne = (checker.deviations[cluster] ?? checker.census[cluster]) == 1
      let right = isOne ? entry | QCOW2.EntryBits.copied : entry & ~QCOW2.EntryBits.copied
      if right != entry { changes.append((place, right)) }
    }
    for change in changes {
      var bytes: [UInt8] = []
      bytes.append(bigEndian: change.entry)
      try write(bytes[...], at: change.place)
    }
    try synchronize()
  }

  /// The file is in order: it may say so.
  func clearMarks() throws(DiskImageError) {
    var changed = header
    changed.incompatible &= ~(QCOW2.Incompatible.dirty | QCOW2.Incompatible.corrupt)
    guard header.version > 2, changed != header else { return }
    try write(changed.encodedFields()[72..<80], at: 72)
    try synchronize()
  }
}
