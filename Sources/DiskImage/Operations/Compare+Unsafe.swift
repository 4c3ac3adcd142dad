// Where two disks differ.
import BlockIO
import Glibc

/// Walks over two disks side by side; what both take from the same place of the same file is not read.
///
/// A disk that is shorter is followed by zeros.
package struct Comparison: ~Copyable {
  private let images: (any DiskImage, any DiskImage)
  private let size: UInt64
  private let progress: Progress
  private let buffer = UnsafeMutableRawBufferPointer.allocate(
    byteCount: 2 * Limits.copyBytesPerStep, alignment: 4096)

  package init(_ first: any DiskImage, _ second: any DiskImage, progress: Progress) {
    images = (first, second)
    size = max(first.size, second.size)
    self.progress = progress
  }

  deinit { buffer.deallocate() }

  /// The offset of the first byte that differs; nil if there is none.
  package func firstDifference() throws(DiskImageError) -> UInt64? {
    var found: UInt64?
    try forEachPair { (range, buffers) throws(DiskImageError) in
      guard let buffers else { return true }
      for index in 0..<buffers.0.count where buffers.0[index] != buffers.1[index] {
        found = range.lowerBound + UInt64(index)
        return false
      }
      return true
    }
    return found
  }

  /// Calls `body` with every range, in units of `unit` bytes, in which the disks differ; neighbours are one.
  package func differences(
    unit: Int, _ body: (Range<UInt64>) throws(DiskImageError) -> Void
  ) throws(DiskImageError) {
    var pending: Range<UInt64>?
    try forEachPair { (range, buffers) throws(DiskImageError) in
      guard let buffers else { return true }
      var position = 0
      while position < buffers.0.count {
        let start = range.lowerBound + UInt64(position)
        let end = min(buffers.0.count, position + unit - Int(start % UInt64(unit)))
        if !buffers.0.equals(buffers.1, in: position..<end) {
          let whole = start / UInt64(unit) * UInt64(unit)
          let stop = min(whole + UInt64(unit), size)
          if let before = pending, before.upperBound >= whole {
            pending = before.lowerBound..<stop
          } else {
            if let pending { try body(pending) }
            pending = whole..<stop
          }
        }
        position = end
      }
      return true
    }
    if let pending { try body(pending) }
  }

  /// Calls `body` with ranges and the bytes of both disks, where those may differ; nil for both where they
  /// are known to be the same. Stops when it returns false.
  private func forEachPair(
    _ body: (Range<UInt64>, (UnsafeRawBufferPointer, UnsafeRawBufferPointer)?) throws(DiskImageError) -> Bool
  ) throws(DiskImageError) {
    try progress.begin("comparing", total: size)
    var first = ExtentCursor(images.0, holeSearchMin: Limits.holeSearchMin)
    var second = ExtentCursor(images.1, holeSearchMin: Limits.holeSearchMin)
    var (one, two) = (try first.next(), try second.next())
    var position: UInt64 = 0
    while position < size {
      let end = min(one?.range.upperBound ?? size, two?.range.upperBound ?? size)
      if areSame(one, two, at: position) {
        try progress.advance(by: end - position)
      } else {
        var start = position
        while start < end {
          let stop = min(end, (start / step + 1) * step)
          guard try body(start..<stop, try read(start..<stop)) else { return }
          try progress.advance(by: stop - start)
          start = stop
        }
      }
      position = end
      if one?.range.upperBound == end { one = try first.next() }
      if two?.range.upperBound == end { two = try second.next() }
    }
  }

  private var step: UInt64 { UInt64(Limits.copyBytesPerStep) }

  /// Whether both show the same at `position`, and up to the end of the shorter piece.
  private func areSame(_ one: Extent?, _ two: Extent?, at position: UInt64) -> Bool {
    if one?.isZero ?? true, two?.isZero ?? true { return true }
    guard let one, let two, case .file(let a) = one.segment.source, case .file(let b) = two.segment.source,
      images.0.files[Int(a)] === images.1.files[Int(b)]
    else { return false }
    return one.segment.offset + (position - one.range.lowerBound)
      == two.segment.offset + (position - two.range.lowerBound)
  }

  // SAFETY: each half of the buffer is as long as a step, and outlives the use of what is returned.
  private func read(
    _ range: Range<UInt64>
  ) throws(DiskImageError) -> (UnsafeRawBufferPointer, UnsafeRawBufferPointer) {
    let half = Limits.copyBytesPerStep
    let count = Int(range.upperBound - range.lowerBound)
    let one = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
    let two = UnsafeMutableRawBufferPointer(rebasing: buffer[half..<half + count])
    try fill(one, from: images.0, at: range.lowerBound)
    try fill(two, from: images.1, at: range.lowerBound)
    return (UnsafeRawBufferPointer(one), UnsafeRawBufferPointer(two))
  }

  private func fill(
    _ memory: UnsafeMutableRawBufferPointer, from image: any DiskImage, at offset: UInt64
  ) throws(DiskImageError) {
    let there = Int(min(UInt64(memory.count), image.size - min(offset, image.size)))
    if let base = memory.baseAddress { memset(base + there, 0, memory.count - there) }
    guard there > 0 else { return }
    var part = iovec(iov_base: memory.baseAddress, iov_len: there)
    try withUnsafePointer(to: &part) { (pointer) throws(DiskImageError) in
      try image.read(at: offset, into: UnsafeBufferPointer(start: pointer, count: 1))
    }
  }
}

extension UnsafeRawBufferPointer {
  /// Whether a range of both buffers is the same.
  fileprivate func equals(_ other: UnsafeRawBufferPointer, in range: Range<Int>) -> Bool {
    guard let base = baseAddress, let otherBase = other.baseAddress else { return range.isEmpty }
    return memcmp(base + range.lowerBound, otherBase + range.lowerBound, range.count) == 0
  }
}
