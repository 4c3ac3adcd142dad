// For those who move the bytes of a qcow2 disk themselves.
package import BlockIO
package import Glibc

extension QCOW2.Disk {
  package var identicalFrom: UInt64? { nil }
  package var movesBytes: Bool { true }
  /// Its zeros are in its tables.
  package var zeroGranularity: UInt64? { nil }
  /// Its flushes are its own business.
  package var wantsFlush: Bool { false }

  /// Its own tables have a place of a fixed size.
  package func releaseMemory() { backing?.releaseMemory() }

  package func expectOutsideWrites() { durability.expectOutsideWrites() }

  /// Clusters that are ours alone, stored plainly and within the file are written in place. Everything else
  /// changes tables, and takes its time.
  package func planWrite(
    _ range: Range<UInt64>, of data: UnsafeBufferPointer<iovec>, into segments: inout [Segment]
  ) throws(DiskImageError) -> WriteRoute {
    try requireOpen(writing: true)
    let start = segments.count
    let isInPlace = try appendInPlace(range, to: &segments)
    if isInPlace { return .inPlace }
    segments.removeLast(segments.count - start)
    return .blocking(exclusive: changesNeedQuiet)
  }

  package var changesNeedQuiet: Bool { isCrowded || mixesWays }
  package var flushNeedsQuiet: Bool { !pendingFrees.isEmpty || mixesWays }

  /// Half of what makes a request write the tables back, so that one seldom meets that while others are under
  /// way and nothing can be freed.
  private var isCrowded: Bool {
    !pendingFrees.isEmpty && (tables.isCrowded || pendingFrees.count >= Limits.qcow2PendingFreesMax / 2)
  }

  /// Whether what we write ourselves goes through the page cache, and what others write does not.
  ///
  /// Then both must not be under way at once: a direct write that meets dirty memory in the page cache, of
  /// its own bytes or of their neighbours in one large folio, makes the next fdatasync fail (EIO).
  private var mixesWays: Bool { metadata.direct != nil }

  private func appendInPlace(
    _ range: Range<UInt64>, to segments: inout [Segment]
  ) throws(DiskImageError) -> Bool {
    guard isPrepared else { return false }
    let start = segments.count
    var position = range.lowerBound
    while position < range.upperBound {
      // An L2 table that is shared refers to clusters that are shared.
      guard try ownEntry(position) != nil, case .standard(let host, true) = try cluster(position) else {
        return false
      }
      let inCluster = position & geometry.clusterMask
      let end = min(range.upperBound, (position | geometry.clusterMask) + 1)
      let place = host + inCluster
      let count = end - position
      guard host + geometry.clusterSize <= writtenEnd else { return false }
      try requireNoTable(place..<place + count)
      if segments.count > start,
        segments[segments.count - 1].offset + segments[segments.count - 1].count == place
      {
        segments[segments.count - 1].count += count
      } else {
        segments.append(Segment(.file(0), offset: place, count: count))
      }
      position = end
    }
    return true
  }

  package func finishWrite(_ pages: Range<UInt64>) {}

  /// The whole flush, here and now.
  package func beginFlush() throws(DiskImageError) -> FlushPlan {
    try requireOpen()
    try durability.requireTrust(metadata)
    try writeBack()
    return FlushPlan(file: nil, pieces: [])
  }

  package func endFlush(_ result: FlushResult) {}

  /// The header says how long the disk is.
  package func refreshSize() throws(DiskImageError) {}
}
