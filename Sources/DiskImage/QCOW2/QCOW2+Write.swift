// Writing to a qcow2 disk.
import BlockIO
package import Glibc

extension QCOW2.Disk {
  package func write(at offset: UInt64, from parts: UnsafeBufferPointer<iovec>) throws(DiskImageError) {
    try requireOpen(writing: true)
    let range = try checkedRange(offset: offset, count: parts.byteCount, size: size)
    guard !range.isEmpty else { return }
    try prepareToWrite()
    var cursor = IOVectorCursor()
    var position = range.lowerBound
    while position < range.upperBound {
      try reclaim()
      position = try writeRun(position..<range.upperBound, parts, &cursor)
    }
  }

  /// Writes to the first clusters of a range, as many as are treated alike.
  private func writeRun(
    _ range: Range<UInt64>, _ parts: UnsafeBufferPointer<iovec>, _ cursor: inout IOVectorCursor
  ) throws(DiskImageError) -> UInt64 {
    let offset = range.lowerBound
    // An L2 table that is shared refers to clusters that are shared.
    let place = try ownEntry(offset)
    switch try cluster(offset) {
    case .standard(let host, true) where place != nil:
      return try writeInPlace(range, host, parts, &cursor)
    case .zero(let host?, true) where place != nil:
      let end = min(range.upperBound, (offset | geometry.clusterMask) + 1)
      let cluster = host >> geometry.clusterBits
      try requireNoTable(host..<host + geometry.clusterSize)
      try writeWhole(cluster..<cluster + 1, offset..<end, parts, &cursor)
      try setEntries(offset, to: cluster..<cluster + 1, freeingOld: false)
      return end
    default: return try writeElsewhere(range, parts, &cursor)
    }
  }

  /// Where the entry of an offset is, if the table is ours alone.
  func ownEntry(_ offset: UInt64) throws(DiskImageError) -> UInt64? {
    let index = geometry.l1Index(offset)
    guard try l1Entry(index) & QCOW2.EntryBits.copied != 0, let table = try l2Table(offset) else {
      return nil
    }
    return table + geometry.l2Index(offset) * 8
  }

  /// What the entry of an offset says.
  func cluster(_ offset: UInt64) throws(DiskImageError) -> QCOW2.Cluster {
    guard let table = try l2Table(offset) else { return .unallocated }
    let place = table + geometry.l2Index(offset) * 8
    let slot = try tables.load(place, .l2, from: metadata, engine: engine)
    return try meaning(tables.word(slot, place), offset)
  }

  /// How many clusters from an offset on have their entries in the same page of their table.
  func clustersInPage(_ offset: UInt64) -> UInt64 {
    let perPage = UInt64(tables.pageSize / 8)
    return perPage - geometry.l2Index(offset) % perPage
  }

  private func writeInPlace(
    _ range: Range<UInt64>, _ host: UInt64, _ parts: UnsafeBufferPointer<iovec>,
    _ cursor: inout IOVectorCursor
  ) throws(DiskImageError) -> UInt64 {
    let start = range.lowerBound & ~geometry.clusterMask
    let limit = clustersInPage(start)
    var count: UInt64 = 1
    while count < limit, start + count << geometry.clusterBits < range.upperBound {
      let next = try cluster(start + count << geometry.clusterBits)
      guard next == .standard(host: host + count << geometry.clusterBits, isCopied: true) else { break }
      count += 1
    }
    let end = min(range.upperBound, start + count << geometry.clusterBits)
    let place = host + (range.lowerBound - start)
    try requireNoTable(place..<place + (end - range.lowerBound))
    gathered.removeAll()
    gathered.append(end - range.lowerBound, of: parts, from: &cursor)
    try put(gathered.parts, at: place)
    return end
  }

  /// Writes to clusters that nothing refers to, completes them, and makes the table refer to them.
  private func writeElsewhere(
    _ range: Range<UInt64>, _ parts: UnsafeBufferPointer<iovec>, _ cursor: inout IOVectorCursor
  ) throws(DiskImageError) -> UInt64 {
    _ = try ownTable(range.lowerBound)
    let start = range.lowerBound & ~geometry.clusterMask
    let limit = clustersInPage(start)
    var wanted: UInt64 = 1
    while wanted < limit, start + wanted << geometry.clusterBits < range.upperBound,
      try !hasOwnCluster(start + wanted << geometry.clusterBits)
    { wanted += 1 }
    let clusters = try allocate(upTo: wanted)
    let count = clusters.upperBound - clusters.lowerBound
    let end = min(range.upperBound, start + count << geometry.clusterBits)
    do throws(DiskImageError) {
      try writeWhole(clusters, range.lowerBound..<end, parts, &cursor)
      try setEntries(range.lowerBound, to: clusters, freeingOld: true)
    } catch {
      release(clusters)
      throw error
    }
    return end
  }

  private func hasOwnCluster(_ offset: UInt64) throws(DiskImageError) -> Bool {
    switch try cluster(offset) {
    case .standard(_, let isCopied): isCopied
    case .zero(let host, let isCopied): host != nil && isCopied
    case .unallocated, .compressed: false
    }
  }

  /// Fills host clusters from what is written and, before and behind that, from what the disk has there.
  private func writeWhole(
    _ clusters: Range<UInt64>, _ range: Range<UInt64>, _ parts: UnsafeBufferPointer<iovec>,
    _ cursor: inout IOVectorCursor
  ) throws(DiskImageError) {
    let start = range.lowerBound & ~geometry.clusterMask
    let end = ((range.upperBound - 1) | geometry.clusterMask) + 1
    gathered.removeAll()
    try appendEdge(start..<range.lowerBound, isTail: false)
    gathered.append(range.upperBound - range.lowerBound, of: parts, from: &cursor)
    try appendEdge(range.upperBound..<end, isTail: true)
    try put(gathered.parts, at: clusters.lowerBound << geometry.clusterBits)
  }

  /// What the disk has in a part of a cluster; zeros behind its end, for the day when it grows.
  private func appendEdge(_ range: Range<UInt64>, isTail: Bool) throws(DiskImageError) {
    guard !range.isEmpty else { return }
    let count = range.upperBound - range.lowerBound
    var part = edges.part(isTail, count: count, clusterSize: geometry.clusterSize)
    let inside = range.clamped(to: 0..<size)
    let insideCount = inside.upperBound - inside.lowerBound
    if let base = part.iov_base { memset(base + Int(insideCount), 0, Int(count - insideCount)) }
    if insideCount > 0 {
      part.iov_len = Int(insideCount)
      try withUnsafePointer(to: &part) { (pointer) throws(DiskImageError) in
        try reader.read(
          inside, of: self, into: UnsafeBufferPointer(start: pointer, count: 1), engine: engine)
      }
      part.iov_len = Int(count)
    }
    gathered.append(part)
  }

  /// Lets consecutive entries of one page of a table, which is ours alone, refer to host clusters.
  private func setEntries(
    _ offset: UInt64, to clusters: Range<UInt64>, freeingOld: Bool
  ) throws(DiskImageError) {
    guard let first = try ownEntry(offset) else { throw .qcow2(path: path, .overlap(offset: offset)) }
    let slot = try tables.load(first, .l2, from: metadata, engine: engine)
    for (index, cluster) in clusters.enumerated() {
      let place = first + UInt64(index) * 8
      if freeingOld { free(try meaning(tables.word(slot, place), offset)) }
      tables.setWord(slot, place, cluster << geometry.clusterBits | QCOW2.EntryBits.copied)
    }
  }

  /// The L2 table for an offset, made or copied if it is not ours alone.
  func ownTable(_ offset: UInt64) throws(DiskImageError) -> UInt64 {
    let index = geometry.l1Index(offset)
    let old = try l2Table(offset)
    if let old, try l1Entry(index) & QCOW2.EntryBits.copied != 0 {
      try requireNoTable(old..<old + geometry.clusterSize)
      return old
    }
    let cluster = try allocate(upTo: 1)
    let new = cluster.lowerBound << geometry.clusterBits
    do throws(DiskImageError) {
      if let old { try copyTable(old, to: new) } else { try clear(cluster.lowerBound) }
      let place = l1.offset + index * 8
      let slot = try tables.load(place, .l1, from: metadata, engine: engine)
      tables.setWord(slot, place, new | QCOW2.EntryBits.copied)
    } catch {
      release(cluster)
      throw error
    }
    if let old {
      tables.forget(old..<old + geometry.clusterSize)
      free(old >> geometry.clusterBits..<old >> geometry.clusterBits + 1)
    }
    return new
  }

  /// A table that is shared never changed in memory: what the file has is what it is.
  private func copyTable(_ old: UInt64, to new: UInt64) throws(DiskImageError) {
    var part = edges.part(false, count: geometry.clusterSize, clusterSize: geometry.clusterSize)
    try withUnsafePointer(to: &part) { (pointer) throws(DiskImageError) in
      let parts = UnsafeBufferPointer(start: pointer, count: 1)
      do throws(BlockIOError) { try engine.read(metadata, at: old, into: parts) } catch { throw .file(error) }
      try put(parts, at: new)
    }
  }
}
