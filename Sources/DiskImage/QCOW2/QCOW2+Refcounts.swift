// Which clusters of the file are in use.
import BlockIO

extension QCOW2 {
  /// Clusters of the file that lost a reference.
  struct Freed {
    var clusters: Range<UInt64>
    /// Whether the file system gets the space back.
    let unmap: Bool
  }
}

extension QCOW2.Disk {
  var refcountTableEntries: UInt64 { UInt64(header.refcountTableClusters) << (geometry.clusterBits - 3) }

  /// The refcount block that counts a cluster; nil where nothing is counted yet.
  func refcountBlock(_ cluster: UInt64) throws(DiskImageError) -> UInt64? {
    let index = cluster >> geometry.blockBits
    guard index < refcountTableEntries else { return nil }
    let place = header.refcountTableOffset + index * 8
    let slot = try tables.load(place, .refcountTable, from: metadata, engine: engine)
    let entry = tables.word(slot, place)
    guard entry != 0 else { return nil }
    guard entry & geometry.clusterMask == 0, entry < Limits.qcow2HostOffsetMax else {
      throw .qcow2(path: path, .entry(table: "refcount table", index: index, value: entry))
    }
    return entry
  }

  /// The slot of the page that counts a cluster, and the cluster's place in it.
  private func countSlot(_ cluster: UInt64) throws(DiskImageError) -> (slot: Int, index: Int)? {
    guard let block = try refcountBlock(cluster) else { return nil }
    let (place, index) = countPlace(cluster, inBlock: block)
    return (try tables.load(place, .refcountBlock, from: metadata, engine: engine), index)
  }

  /// Where in the file a cluster is counted, and where in the page around that.
  private func countPlace(_ cluster: UInt64, inBlock block: UInt64) -> (place: UInt64, index: Int) {
    let inBlock = cluster & (1 << geometry.blockBits - 1)
    return (
      block + (inBlock << UInt64(geometry.refcountOrder)) / 8, Int(inBlock & (countsPerPage - 1))
    )
  }

  private var countsPerPage: UInt64 { (UInt64(tables.pageSize) * 8) >> UInt64(geometry.refcountOrder) }

  func refcount(_ cluster: UInt64) throws(DiskImageError) -> UInt64 {
    guard let (slot, index) = try countSlot(cluster) else { return 0 }
    return tables.count(slot, index, order: geometry.refcountOrder)
  }

  func setRefcount(_ cluster: UInt64, _ count: UInt64) throws(DiskImageError) {
    guard let (slot, index) = try countSlot(cluster) else {
      throw .qcow2(path: path, .refcount(offset: cluster << geometry.clusterBits))
    }
    tables.setCount(slot, index, order: geometry.refcountOrder, count)
  }

  /// Takes free clusters that follow each other: at least one, and no more than wanted.
  func allocate(upTo wanted: UInt64) throws(DiskImageError) -> Range<UInt64> {
    while true {
      let from = freeHint
      guard from < Limits.qcow2HostOffsetMax >> geometry.clusterBits else { throw .qcow2(path: path, .full) }
      guard from >> geometry.blockBits < refcountTableEntries else {
        try growRefcountTable()
        continue
      }
      guard let (slot, start) = try countSlot(from) else {
        try addRefcountBlock(at: from)
        continue
      }
      let perPage = Int(countsPerPage)
      let order = geometry.refcountOrder
      var index = start
      while index < perPage, tables.count(slot, index, order: order) != 0 { index += 1 }
      guard index < perPage else {
        freeHint = from - UInt64(start) + UInt64(perPage)
        continue
      }
      let first = from - UInt64(start) + UInt64(index)
      var end = first
      while end - first < wanted, index < perPage, tables.count(slot, index, order: order) == 0 {
        index += 1
        end += 1
      }
      try requireNoTable(first << geometry.clusterBits..<end << geometry.clusterBits)
      for cluster in first..<end {
        tables.setCount(slot, start + Int(cluster) - Int(from), order: order, 1)
      }
      freeHint = end
      neededEnd = max(neededEnd, end << geometry.clusterBits)
      return first..<end
    }
  }

  /// A block that counts itself: it is the first cluster that it counts. It does so before the table names
  /// it, for a journal has either as soon as it changes.
  private func addRefcountBlock(at cluster: UInt64) throws(DiskImageError) {
    let offset = cluster << geometry.clusterBits
    try requireNoTable(offset..<offset + geometry.clusterSize)
    try clear(cluster)
    let counted = countPlace(cluster, inBlock: offset)
    let block = try tables.load(counted.place, .refcountBlock, from: metadata, engine: engine)
    tables.setCount(block, counted.index, order: geometry.refcountOrder, 1)
    let index = cluster >> geometry.blockBits
    let place = header.refcountTableOffset + index * 8
    let slot = try tables.load(place, .refcountTable, from: metadata, engine: engine)
    tables.setWord(slot, place, offset)
    neededEnd = max(neededEnd, offset + geometry.clusterSize)
    freeHint = cluster + 1
  }

  /// Makes a cluster zeros that nothing refers to.
  func clear(_ cluster: UInt64) throws(DiskImageError) {
    let offset = cluster << geometry.clusterBits
    guard offset < touchedEnd else { return }
    durability.willChange()
    do throws(BlockIOError) {
      try engine.zero(metadata, offset..<offset + geometry.clusterSize, unmap: false)
    } catch { throw .file(error) }
  }

  /// Gives clusters back that nothing refers to, neither in memory nor on the medium.
  func release(_ clusters: Range<UInt64>) {
    for cluster in clusters {
      // A count that cannot be read now was not changed, or stays too high: a leak.
      guard let count = try? refcount(cluster), count > 0 else { continue }
      try? setRefcount(cluster, count - 1)
      if count == 1 { freeHint = min(freeHint, cluster) }
    }
  }

  /// Takes a reference from clusters once the tables that dropped it are durable.
  func free(_ clusters: Range<UInt64>, unmap: Bool = false) {
    if let last = pendingFrees.last, last.unmap == unmap {
      if last.clusters.upperBound == clusters.lowerBound {
        pendingFrees[pendingFrees.count - 1].clusters = last.clusters.lowerBound..<clusters.upperBound
        return
      }
    }
    pendingFrees.append(QCOW2.Freed(clusters: clusters, unmap: unmap))
  }

  /// Frees what an entry referred to.
  func free(_ cluster: QCOW2.Cluster, unmap: Bool = false) {
    switch cluster {
    case .unallocated, .zero(nil, _): return
    case .standard(let host, _), .zero(let host?, _):
      let first = host >> geometry.clusterBits
      free(first..<first + 1, unmap: unmap)
    case .compressed(let offset, let count):
      free(offset >> geometry.clusterBits..<(offset + count - 1) >> geometry.clusterBits + 1, unmap: unmap)
    }
  }

  /// Takes the references that were dropped; the tables that had them are durable without.
  ///
  /// Not while others move bytes: what they read or write there would no longer be theirs.
  func applyFrees() throws(DiskImageError) {
    guard !pendingFrees.isEmpty, !isBusy else { return }
    reader.forgetDecompressed()
    for freed in pendingFrees {
      var unused = freed.clusters.lowerBound..<freed.clusters.lowerBound
      for cluster in freed.clusters {
        // A count that is 0 already was wrong before; it gets no worse.
        guard let (slot, index) = try countSlot(cluster) else { continue }
        let count = tables.count(slot, index, order: geometry.refcountOrder)
        guard count > 0 else { continue }
        tables.setCount(slot, index, order: geometry.refcountOrder, count - 1)
        if tables.isCrowded { try writeTables(.refcountBlock) }
        guard count == 1 else { continue }
        freeHint = min(freeHint, cluster)
        if compressedEnd >> geometry.clusterBits == cluster { compressedEnd = 0 }
        guard freed.unmap else { continue }
        if unused.upperBound == cluster {
          unused = unused.lowerBound..<cluster + 1
        } else {
          unmap(unused)
          unused = cluster..<cluster + 1
        }
      }
      unmap(unused)
    }
    pendingFrees.removeAll(keepingCapacity: true)
  }

  /// Gives space back to the file system, which may be unable to take it.
  private func unmap(_ clusters: Range<UInt64>) {
    guard !clusters.isEmpty else { return }
    durability.willChange()
    let range = clusters.lowerBound << geometry.clusterBits..<clusters.upperBound << geometry.clusterBits
    try? engine.zero(metadata, range, unmap: true)
  }

  /// Nothing but tables is written where the header, the L1 table or the refcount table are.
  func requireNoTable(_ range: Range<UInt64>) throws(DiskImageError) {
    let l1End = l1.offset + max(8, l1.count * 8)
    let countsEnd = header.refcountTableOffset + refcountTableEntries * 8
    guard range.lowerBound >= geometry.clusterSize, !range.overlaps(l1.offset..<l1End),
      !range.overlaps(header.refcountTableOffset..<countsEnd)
    else { throw .qcow2(path: path, .overlap(offset: range.lowerBound)) }
  }
}
