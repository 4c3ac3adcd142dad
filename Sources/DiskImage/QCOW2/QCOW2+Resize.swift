// Disks that change their length, or lose their contents.
import BlockIO

extension QCOW2.Disk {
  /// Changes the length of the disk, rounded up to a sector; what is new reads as zeros.
  /// - Parameter shrinking: whether to drop what is behind the new end; otherwise that is refused.
  package func resize(to wanted: UInt64, shrinking: Bool = false) throws(DiskImageError) {
    try requireOpen(writing: true)
    guard let new = wanted.roundedUp(to: Limits.sectorSize),
      new <= UInt64(Int64.max) - 2 * geometry.clusterSize,
      header.l1EntriesNeeded(for: new) * 8 <= Limits.qcow2L1BytesMax
    else { throw .qcow2(path: path, .size(wanted)) }
    try prepareToWrite()
    if new < size {
      guard shrinking else { throw .outOfBounds(offset: 0, count: size, size: new) }
      try writeBack()
      try setSize(new)
      try dropClusters(from: new)
    } else if new > size {
      try growL1Table(header.l1EntriesNeeded(for: new))
      let old = size
      // Zeros first: the backing image may be longer than the disk was, and its last cluster may have more.
      size = new
      do throws(DiskImageError) {
        let beneath = max(old, backing?.size ?? 0)
        let zeroEnd = min(new, max(beneath, ((old + geometry.clusterMask) & ~geometry.clusterMask)))
        try writeZeroes(old..<zeroEnd, unmap: true)
        try writeBack()
      } catch {
        size = old
        throw error
      }
      try setSize(new)
    }
  }

  private func setSize(_ new: UInt64) throws(DiskImageError) {
    var changed = header
    changed.size = new
    try put(changed.encodedFields()[24..<32], at: 24)
    try synchronize()
    header = changed
    size = new
    exactSize = new
  }

  /// Moves the L1 table to a longer place; the header names it when it is durable.
  private func growL1Table(_ entries: UInt64) throws(DiskImageError) {
    guard entries > l1.count else { return }
    try writeBack()
    let wanted = (entries * 8 + geometry.clusterMask) >> geometry.clusterBits
    let clusters = try allocateContiguous(wanted)
    let offset = clusters.lowerBound << geometry.clusterBits
    let old = l1
    var table = [UInt8](repeating: 0, count: Int(old.count * 8))
    do throws(DiskImageError) {
      do throws(BlockIOError) { try engine.read(metadata, at: old.offset, into: &table) } catch {
        throw .file(error)
      }
      table.append(contentsOf: repeatElement(0, count: Int(wanted << geometry.clusterBits) - table.count))
      try put(table[...], at: offset)
      // Counts, too.
      try writeBack()
      var changed = header
      changed.l1Offset = offset
      changed.l1Size = UInt32(entries)
      try put(changed.encodedFields()[36..<48], at: 36)
      try synchronize()
      header = changed
    } catch {
      release(clusters)
      throw error
    }
    l1 = (offset, entries)
    guard old.count > 0 else { return }
    let end = old.offset + old.count * 8
    tables.forget(old.offset..<end)
    free(old.offset >> geometry.clusterBits..<(end + geometry.clusterMask) >> geometry.clusterBits)
  }

  /// Free clusters that follow each other, as many as wanted; those of attempts that fell short are given
  /// back.
  private func allocateContiguous(_ wanted: UInt64) throws(DiskImageError) -> Range<UInt64> {
    var run = try allocate(upTo: wanted)
    var tooShort: [Range<UInt64>] = []
    defer { for one in tooShort { release(one) } }
    while run.upperBound - run.lowerBound < wanted {
      let more: Range<UInt64>
      do throws(DiskImageError) {
        more = try allocate(upTo: wanted - (run.upperBound - run.lowerBound))
      } catch {
        tooShort.append(run)
        throw error
      }
      if more.lowerBound == run.upperBound {
        run = run.lowerBound..<more.upperBound
      } else {
        tooShort.append(run)
        run = more
      }
    }
    return run
  }

  /// Drops everything that the disk has, so that its backing image shows, or zeros. Snapshots keep theirs.
  package func makeEmpty() throws(DiskImageError) {
    try requireOpen(writing: true)
    try prepareToWrite()
    try dropClusters(from: 0)
    try writeBack()
  }

  /// Drops whole clusters, and the tables that are left without any.
  private func dropClusters(from offset: UInt64) throws(DiskImageError) {
    var position = (offset + geometry.clusterMask) & ~geometry.clusterMask
    let end = l1.count << geometry.l1Shift
    while position < end {
      try reclaim()
      let tableEnd = (position >> geometry.l1Shift + 1) << geometry.l1Shift
      if try l2Table(position) == nil {
        position = try endOfAbsentTables(position, limit: end)
      } else if position & (1 << geometry.l1Shift - 1) == 0 {
        try dropTable(position)
        position = tableEnd
      } else {
        try dropEntries(position..<tableEnd)
        position = tableEnd
      }
    }
  }

  /// Drops an L2 table and what it refers to.
  private func dropTable(_ offset: UInt64) throws(DiskImageError) {
    let index = geometry.l1Index(offset)
    guard let table = try l2Table(offset) else { return }
    var position = offset
    let end = offset + 1 << geometry.l1Shift
    var freed: [QCOW2.Cluster] = []
    while position < end {
      let cluster = try cluster(position)
      if cluster != .unallocated, cluster != .zero(host: nil, isCopied: false) { freed.append(cluster) }
      position += geometry.clusterSize
    }
    // The entry goes before what it leads to, in memory as on the medium.
    let place = l1.offset + index * 8
    let slot = try tables.load(place, .l1, from: metadata, engine: engine)
    tables.setWord(slot, place, 0)
    for cluster in freed { free(cluster, unmap: true) }
    tables.forget(table..<table + geometry.clusterSize)
    free(table >> geometry.clusterBits..<table >> geometry.clusterBits + 1, unmap: true)
  }

  private func dropEntries(_ range: Range<UInt64>) throws(DiskImageError) {
    let table = try ownTable(range.lowerBound)
    var position = range.lowerBound
    while position < range.upperBound {
      let place = table + geometry.l2Index(position) * 8
      let slot = try tables.load(place, .l2, from: metadata, engine: engine)
      let entry = tables.word(slot, place)
      if entry != 0 {
        let old = try meaning(entry, position)
        tables.setWord(slot, place, 0)
        free(old, unmap: true)
      }
      position += geometry.clusterSize
    }
  }
}
