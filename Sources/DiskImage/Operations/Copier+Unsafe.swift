// From one disk to another.
import BlockIO
import Glibc

/// Copies the contents of a disk, and leaves zeros out: those that nothing has to be read for, and those that
/// are found.
///
/// The buffers are small enough to stay in a processor's cache, so that looking for zeros costs next to
/// nothing, and large enough to keep a disk busy that is written past the page cache.
struct Copier: ~Copyable {
  private let image: any DiskImage
  private let progress: Progress
  private let belt: Belt
  private let buffers: [UnsafeMutableRawBufferPointer]

  /// - Parameter isParallel: read on this thread while the sink writes on another; the sink must have nothing
  ///   in common with the image, its engine least of all.
  init(_ image: any DiskImage, progress: Progress, isParallel: Bool = false) {
    self.image = image
    self.progress = progress
    belt = Belt(isParallel ? Limits.copyStepsUnderWay : 0)
    buffers = (0..<max(1, isParallel ? Limits.copyStepsUnderWay : 1)).map { _ in
      .allocate(byteCount: Limits.copyBytesPerStep, alignment: 4096)
    }
  }

  deinit {
    // The sink may still be at work after a failure to read.
    try? belt.finish()
    for buffer in buffers { buffer.deallocate() }
  }

  /// Copies a range; nil stands for the whole disk.
  func copy(_ range: Range<UInt64>? = nil, to sink: some CopySink) throws(DiskImageError) {
    _ = try copy(range, ownOnly: false, to: sink)
  }

  /// Copies what the image has of its own, not from its backing image.
  /// - Returns: how many bytes of the disk that are.
  func copyOwn(to sink: some CopySink) throws(DiskImageError) -> UInt64 {
    try copy(nil, ownOnly: true, to: sink)
  }

  private func copy(
    _ range: Range<UInt64>?, ownOnly: Bool, to sink: some CopySink
  ) throws(DiskImageError) -> UInt64 {
    var count: UInt64 = 0
    var cursor = ExtentCursor(image, range: range, holeSearchMin: Limits.holeSearchMin)
    // Neighbouring pieces of data are read together, however many files they come from.
    var pending: Range<UInt64>?
    while let extent = try cursor.next() {
      let isOwn = extent.segment.depth == 0 && extent.segment.isAllocated
      if isOwn { count += extent.segment.count }
      let isLeftOut = ownOnly && !isOwn
      if !isLeftOut, !extent.isZero, try !share(extent, with: sink) {
        pending = (pending?.lowerBound ?? extent.range.lowerBound)..<extent.range.upperBound
        continue
      }
      try move(pending, to: sink)
      pending = nil
      if !isLeftOut, extent.isZero {
        let range = extent.range
        _ = try belt.waitForRoom()
        try belt.add { () throws(DiskImageError) in try sink.zero(range) }
      }
      try progress.advance(by: extent.segment.count)
    }
    try move(pending, to: sink)
    try belt.finish()
    return count
  }

  /// Whether the sink takes a piece as it is.
  private func share(_ extent: Extent, with sink: some CopySink) throws(DiskImageError) -> Bool {
    guard case .file(let file) = extent.segment.source, sink.canShare else { return false }
    try belt.finish()
    return sink.share(image.files[Int(file)], at: extent.segment.offset, as: extent.range)
  }

  /// Reads a range, step by step, and hands on what was read: each step ends where a page of the disk does.
  private func move(_ range: Range<UInt64>?, to sink: some CopySink) throws(DiskImageError) {
    guard let range else { return }
    let step = UInt64(Limits.copyBytesPerStep)
    var position = range.lowerBound
    while position < range.upperBound {
      let count = Int(min((position / step + 1) * step, range.upperBound) - position)
      // SAFETY: the belt has room for as many steps as there are buffers, so that nobody reads this one now.
      let buffer = buffers[try belt.waitForRoom() % buffers.count]
      let bytes = try read(at: position, count: count, into: buffer)
      let start = position
      try belt.add { () throws(DiskImageError) in try Copier.hand(bytes, at: start, to: sink) }
      position += UInt64(count)
      try progress.advance(by: UInt64(count))
    }
  }

  private static func hand(
    _ bytes: UnsafeRawBufferPointer, at offset: UInt64, to sink: some CopySink
  ) throws(DiskImageError) {
    var done = 0
    while done < bytes.count {
      let run = bytes.run(from: done, diskOffset: offset)
      let start = offset + UInt64(done)
      if run.isZero {
        try sink.zero(start..<start + UInt64(run.count))
      } else {
        try sink.write(UnsafeRawBufferPointer(rebasing: bytes[done..<done + run.count]), at: start)
      }
      done += run.count
    }
  }

  // SAFETY: the buffer outlives the call, and is as long as a step.
  private func read(
    at offset: UInt64, count: Int, into buffer: UnsafeMutableRawBufferPointer
  ) throws(DiskImageError) -> UnsafeRawBufferPointer {
    var part = iovec(iov_base: buffer.baseAddress, iov_len: count)
    try withUnsafePointer(to: &part) { (pointer) throws(DiskImageError) in
      try image.read(at: offset, into: UnsafeBufferPointer(start: pointer, count: 1))
    }
    return UnsafeRawBufferPointer(rebasing: buffer[..<count])
  }
}
