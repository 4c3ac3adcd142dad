// Discarding and zeroing.
import BlockIO
import Glibc

extension UMLCOW.Disk {
  package func discard(_ range: Range<UInt64>) throws(DiskImageError) {
    try writeZeroes(range, unmap: true)
  }

  /// Whole pages become holes (or stay allocated), with their bits set, so that the backing file does not
  /// show through; what is left at either end is written.
  package func writeZeroes(_ range: Range<UInt64>, unmap: Bool) throws(DiskImageError) {
    try requireOpen(writing: true)
    guard range.upperBound <= size else {
      throw .outOfBounds(
        offset: range.lowerBound, count: range.upperBound - range.lowerBound, size: size)
    }
    var position = range.lowerBound
    while position < range.upperBound {
      let page = wholePages(around: position..<position + 1)
      if position > page.lowerBound || range.upperBound < page.upperBound {
        let end = min(page.upperBound, range.upperBound)
        try writeZeros(position..<end)
        position = end
        continue
      }
      // From here on whole pages, up to the last page boundary or the end of the disk.
      let step = min(range.upperBound, position + Limits.zeroBytesPerStep)
      let end = step == size ? step : step - step % Limits.pageSize
      try reclaimBitmap()
      try makeZero(position..<end, unmap: unmap)
      position = end
    }
  }

  private func makeZero(_ pages: Range<UInt64>, unmap: Bool) throws(DiskImageError) {
    try nameJournal()
    try load(pages)
    durability.willChange()
    let start = geometry.dataOffset + pages.lowerBound
    let end = geometry.dataOffset + pages.upperBound
    do throws(BlockIOError) {
      try engine.zero(files[0], start..<end, unmap: unmap)
    } catch { throw .file(error) }
    setBits(pages)
  }

  /// Writes zeros to less than a page.
  private func writeZeros(_ range: Range<UInt64>) throws(DiskImageError) {
    let count = Int(range.upperBound - range.lowerBound)
    try withUnsafeTemporaryAllocation(byteCount: Int(Limits.pageSize), alignment: 8) {
      (memory) throws(DiskImageError) in
      // SAFETY: an edge is shorter than a page.
      memory.initializeMemory(as: UInt8.self, repeating: 0)
      var part = iovec(iov_base: memory.baseAddress, iov_len: count)
      try withUnsafePointer(to: &part) { (pointer) throws(DiskImageError) in
        try write(at: range.lowerBound, from: UnsafeBufferPointer(start: pointer, count: 1))
      }
    }
  }
}
