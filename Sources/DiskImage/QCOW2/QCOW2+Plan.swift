// Where the bytes of a range are.
package import BlockIO

extension QCOW2.Disk {
  package func plan(_ range: Range<UInt64>, into segments: inout [Segment]) throws(DiskImageError) {
    try requireOpen()
    var plan = Plan(first: segments.count, ownFiles: UInt8(ownFileCount))
    var position = range.lowerBound
    while position < range.upperBound {
      guard let table = try l2Table(position) else {
        let end = try endOfAbsentTables(position, limit: range.upperBound)
        plan.unallocated(position..<end)
        position = end
        continue
      }
      position = try planPage(table, position..<range.upperBound, &plan, &segments)
    }
    try plan.finish(self, &segments)
  }

  /// The L2 table for an offset of the disk.
  func l2Table(_ offset: UInt64) throws(DiskImageError) -> UInt64? {
    let index = geometry.l1Index(offset)
    let entry = try l1Entry(index)
    do throws(QCOW2.EntryDefect) { return try geometry.table(of: entry) } catch {
      throw .qcow2(path: path, .entry(table: "L1", index: index, value: entry))
    }
  }

  func l1Entry(_ index: UInt64) throws(DiskImageError) -> UInt64 {
    precondition(index < l1.count)
    let place = l1.offset + index * 8
    let slot = try tables.load(place, .l1, from: metadata, engine: engine)
    return tables.word(slot, place)
  }

  /// Where the run of missing L2 tables ends that begins at an offset, as far as one page of the L1 table
  /// tells.
  func endOfAbsentTables(_ offset: UInt64, limit: UInt64) throws(DiskImageError) -> UInt64 {
    var index = geometry.l1Index(offset)
    let last = geometry.l1Index(limit - 1)
    let place = l1.offset + index * 8
    let slot = try tables.load(place, .l1, from: metadata, engine: engine)
    let pageEnd = (place | UInt64(tables.pageSize - 1)) + 1
    repeat {
      index += 1
    } while index <= last && l1.offset + index * 8 < pageEnd && tables.word(slot, l1.offset + index * 8) == 0
    return index > last ? limit : index << geometry.l1Shift
  }

  /// Plans as much as one page of an L2 table tells.
  private func planPage(
    _ table: UInt64, _ range: Range<UInt64>, _ plan: inout Plan, _ segments: inout [Segment]
  ) throws(DiskImageError) -> UInt64 {
    var position = range.lowerBound
    let first = table + geometry.l2Index(position) * geometry.entrySize
    let slot = try tables.load(first, .l2, from: metadata, engine: engine)
    let pageEnd = (first | UInt64(tables.pageSize - 1)) + 1
    var place = first
    while place < pageEnd, position < range.upperBound {
      let end = min(range.upperBound, (position | geometry.clusterMask) + 1)
      let entry = tables.word(slot, place)
      if geometry.isExtendedL2 {
        try planSubclusters(entry, tables.word(slot, place + 8), position..<end, &plan, &segments)
      } else {
        try planCluster(entry, position..<end, &plan, &segments)
      }
      position = end
      place += geometry.entrySize
    }
    return position
  }

  private func planCluster(
    _ entry: UInt64, _ range: Range<UInt64>, _ plan: inout Plan, _ segments: inout [Segment]
  ) throws(DiskImageError) {
    // The two that are met most often.
    if entry == 0 { return plan.unallocated(range) }
    let inCluster = range.lowerBound & geometry.clusterMask
    switch try meaning(entry, range.lowerBound) {
    case .unallocated: plan.unallocated(range)
    case .zero: try plan.append(.zeroes, 0, range, self, &segments)
    case .standard(let host, _):
      try plan.append(.file(geometry.dataFileNumber), host + inCluster, range, self, &segments)
    case .compressed(let offset, let count):
      let cluster = CompressedCluster(
        file: 0, method: geometry.compression, storedCount: UInt32(count),
        count: UInt32(geometry.clusterSize),
        skip: UInt32(inCluster))
      try plan.append(.compressed(cluster), offset, range, self, &segments)
    }
  }

  /// What an L2 entry means; `offset` is where in the disk.
  func meaning(_ entry: UInt64, _ offset: UInt64) throws(DiskImageError) -> QCOW2.Cluster {
    do throws(QCOW2.EntryDefect) { return try geometry.meaning(of: entry) } catch {
      throw .qcow2(path: path, .entry(table: "L2", index: offset >> geometry.clusterBits, value: entry))
    }
  }

  private func planSubclusters(
    _ entry: UInt64, _ bitmap: UInt64, _ range: Range<UInt64>, _ plan: inout Plan, _ segments: inout [Segment]
  ) throws(DiskImageError) {
    let meaning = try meaning(entry, range.lowerBound)
    var host: UInt64?
    switch meaning {
    case .compressed:
      return try planCluster(entry, range, &plan, &segments)
    case .standard(let offset, _): host = offset
    case .unallocated, .zero: break
    }
    let index = range.lowerBound >> geometry.clusterBits
    let allocated = UInt32(truncatingIfNeeded: bitmap)
    let zero = UInt32(truncatingIfNeeded: bitmap >> 32)
    guard allocated & zero == 0, host != nil || allocated == 0 else {
      throw .qcow2(path: path, .subclusters(index: index))
    }
    var position = range.lowerBound
    while position < range.upperBound {
      let inCluster = position & geometry.clusterMask
      let bit = UInt32(1) << UInt32(inCluster / geometry.subclusterSize)
      let end = min(range.upperBound, (position | (geometry.subclusterSize - 1)) + 1)
      if zero & bit != 0 {
        try plan.append(.zeroes, 0, position..<end, self, &segments)
      } else if allocated & bit != 0, let host {
        try plan.append(.file(geometry.dataFileNumber), host + inCluster, position..<end, self, &segments)
      } else {
        plan.unallocated(position..<end)
      }
      position = end
    }
  }

  /// Segments as they come, joined where they continue each other.
  struct Plan {
    /// Where in the list our segments begin.
    let first: Int
    let ownFiles: UInt8
    /// What is to be asked of the backing image, in one question.
    private var pending: Range<UInt64> = 0..<0

    init(first: Int, ownFiles: UInt8) {
      self.first = first
      self.ownFiles = ownFiles
    }

    mutating func unallocated(_ range: Range<UInt64>) {
      pending = pending.isEmpty ? range : pending.lowerBound..<range.upperBound
    }

    mutating func append(
      _ source: Segment.Source, _ offset: UInt64, _ range: Range<UInt64>, _ disk: QCOW2.Disk,
      _ segments: inout [Segment]
    ) throws(DiskImageError) {
      try finish(disk, &segments)
      let count = range.upperBound - range.lowerBound
      if segments.count > first {
        let last = segments[segments.count - 1]
        if last.depth == 0, last.isAllocated, last.source == source {
          switch source {
          case .zeroes:
            segments[segments.count - 1].count += count
            return
          case .file where last.offset + last.count == offset:
            segments[segments.count - 1].count += count
            return
          default: break
          }
        }
      }
      segments.append(Segment(source, offset: offset, count: count))
    }

    /// Asks the backing image what it was to be asked.
    mutating func finish(_ disk: QCOW2.Disk, _ segments: inout [Segment]) throws(DiskImageError) {
      guard !pending.isEmpty else { return }
      let range = pending
      pending = 0..<0
      try disk.planBacking(range, ownFiles: ownFiles, into: &segments)
    }
  }
}
