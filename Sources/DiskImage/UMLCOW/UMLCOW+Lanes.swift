// For those who move the bytes of a COW disk themselves.
package import BlockIO
package import Glibc

extension UMLCOW.Disk {
  package var identicalFrom: UInt64? { nil }
  /// Each sector has one place in each file, and that is all.
  package var movesBytes: Bool { false }
  package var zeroGranularity: UInt64? { Limits.pageSize }
  package var changesNeedQuiet: Bool { false }
  package var flushNeedsQuiet: Bool { false }

  package func releaseMemory() {
    if bitmap.loadedCount > Limits.bitmapPagesResident { bitmap.releaseClean() }
    backing?.releaseMemory()
  }

  package func expectOutsideWrites() { durability.expectOutsideWrites() }

  /// Whole pages that are here are written in place; so is a part of such a page. A page of which some bits
  /// are missing is touched for the first time.
  package func planWrite(
    _ range: Range<UInt64>, of data: UnsafeBufferPointer<iovec>, into segments: inout [Segment]
  ) throws(DiskImageError) -> WriteRoute {
    try requireOpen(writing: true)
    let pages = wholePages(around: range)
    try nameJournal()
    try load(pages)
    segments.append(
      Segment(
        .file(0), offset: geometry.dataOffset + range.lowerBound, count: range.upperBound - range.lowerBound))
    let sectors = pages.lowerBound / geometry.sectorSize..<pages.upperBound / geometry.sectorSize
    guard !bitmap.allSet(sectors) else { return .inPlace }
    let (head, tail) = edges(of: range, in: pages)
    return .firstTouch(
      pages: pages, head: head.flatMap { $0.isEmpty ? nil : $0 },
      tail: tail.flatMap { $0.isEmpty ? nil : $0 }, room: try room(around: pages))
  }

  /// A block of the file of which nothing counts yet, if these pages are in one.
  ///
  /// With O_DIRECT a file system takes each write into a hole through its journal, one at a time: where a
  /// first write brings zeros along for the whole block, the next ones find space that is there (on ext4
  /// three to five times faster). Through the page cache that is done later, and for many at once.
  private func room(around pages: Range<UInt64>) throws(DiskImageError) -> Range<UInt64>? {
    guard files[0].direct != nil else { return nil }
    let lower = pages.lowerBound / WriteRoute.roomBytes * WriteRoute.roomBytes
    let room = lower..<min(lower + WriteRoute.roomBytes, size / Limits.pageSize * Limits.pageSize)
    guard room.upperBound >= pages.upperBound else { return nil }
    try load(room)
    let last = room.upperBound / geometry.sectorSize
    let run = bitmap.run(from: lower / geometry.sectorSize, to: last)
    return !run.isSet && lower / geometry.sectorSize + run.count == last ? room : nil
  }

  package func finishWrite(_ pages: Range<UInt64>) throws(DiskImageError) {
    try requireOpen(writing: true)
    // Other requests may have made the bitmap let go of them.
    try load(pages)
    setBits(pages)
  }

  package func beginFlush() throws(DiskImageError) -> FlushPlan {
    try requireOpen()
    try durability.requireTrust(files[0])
    var pieces: [FlushPlan.Piece] = []
    bitmap.beginFlush(&pieces)
    return FlushPlan(file: files[0], pieces: pieces)
  }

  package func endFlush(_ result: FlushResult) {
    switch result {
    case .done: bitmap.endFlush(isDurable: true)
    case .writeFailed: bitmap.endFlush(isDurable: false)
    case .synchronizeFailed:
      bitmap.endFlush(isDurable: false)
      durability.lose()
    }
  }

  /// The header says how long the disk is.
  package func refreshSize() throws(DiskImageError) {}
}
