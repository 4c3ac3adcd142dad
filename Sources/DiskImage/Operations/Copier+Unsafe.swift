// From one disk to another.
import BlockIO
import Glibc

/// What takes the contents of a disk, from its start to its end.
protocol CopySink {
  /// These bytes are at `offset`.
  mutating func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(DiskImageError)
  /// There are zeros.
  mutating func zero(_ range: Range<UInt64>) throws(DiskImageError)
  /// These bytes are those of a file, at `offset` in it: true if they need not be copied.
  mutating func share(_ file: ImageFile, at offset: UInt64, as range: Range<UInt64>) -> Bool
}

extension CopySink {
  mutating func share(_ file: ImageFile, at offset: UInt64, as range: Range<UInt64>) -> Bool { false }
}

/// Copies the contents of a disk, and leaves zeros out: those that nothing has to be read for, and those that
/// are found.
///
/// The buffer is small enough to stay in a processor's cache, so that looking for zeros costs next to
/// nothing: measured, this is as fast as `copy_file_range(2)`, which cannot look.
struct Copier: ~Copyable {
  private let image: any DiskImage
  private let progress: Progress
  private let buffer = UnsafeMutableRawBufferPointer.allocate(
    byteCount: Limits.copyBytesPerStep, alignment: 4096)

  init(_ image: any DiskImage, progress: Progress) {
    self.image = image
    self.progress = progress
  }

  deinit { buffer.deallocate() }

  /// Copies a range; nil stands for the whole disk.
  func copy(_ range: Range<UInt64>? = nil, to sink: inout some CopySink) throws(DiskImageError) {
    _ = try copy(range, ownOnly: false, to: &sink)
  }

  /// Copies what the image has of its own, not from its backing image.
  /// - Returns: how many bytes of the disk that are.
  func copyOwn(to sink: inout some CopySink) throws(DiskImageError) -> UInt64 {
    try copy(nil, ownOnly: true, to: &sink)
  }

  private func copy(
    _ range: Range<UInt64>?, ownOnly: Bool, to sink: inout some CopySink
  ) throws(DiskImageError) -> UInt64 {
    var count: UInt64 = 0
    var cursor = ExtentCursor(image, range: range, holeSearchMin: Limits.holeSearchMin)
    // Neighbouring pieces of data are read together, however many files they come from.
    var pending: Range<UInt64>?
    while let extent = try cursor.next() {
      let isOwn = extent.segment.depth == 0 && extent.segment.isAllocated
      if isOwn { count += extent.segment.count }
      if ownOnly, !isOwn {
        try move(pending, to: &sink)
        pending = nil
        try progress.advance(by: extent.segment.count)
      } else if extent.isZero {
        try move(pending, to: &sink)
        pending = nil
        try sink.zero(extent.range)
        try progress.advance(by: extent.segment.count)
      } else if case .file(let file) = extent.segment.source,
        sink.share(image.files[Int(file)], at: extent.segment.offset, as: extent.range)
      {
        try move(pending, to: &sink)
        pending = nil
        try progress.advance(by: extent.segment.count)
      } else {
        pending = (pending?.lowerBound ?? extent.range.lowerBound)..<extent.range.upperBound
      }
    }
    try move(pending, to: &sink)
    return count
  }

  private func move(_ range: Range<UInt64>?, to sink: inout some CopySink) throws(DiskImageError) {
    guard let range else { return }
    var position = range.lowerBound
    while position < range.upperBound {
      // Steps end where a page of the disk does.
      let aligned = position / UInt64(buffer.count) * UInt64(buffer.count) + UInt64(buffer.count)
      let count = Int(min(aligned, range.upperBound) - position)
      let bytes = try read(at: position, count: count)
      var done = 0
      while done < count {
        let run = bytes.run(from: done, diskOffset: position)
        let start = position + UInt64(done)
        if run.isZero {
          try sink.zero(start..<start + UInt64(run.count))
        } else {
          try sink.write(UnsafeRawBufferPointer(rebasing: bytes[done..<done + run.count]), at: start)
        }
        done += run.count
      }
      position += UInt64(count)
      try progress.advance(by: UInt64(count))
    }
  }

  // SAFETY: the buffer outlives the call, and is as long as a step.
  private func read(at offset: UInt64, count: Int) throws(DiskImageError) -> UnsafeRawBufferPointer {
    var part = iovec(iov_base: buffer.baseAddress, iov_len: count)
    try withUnsafePointer(to: &part) { (pointer) throws(DiskImageError) in
      try image.read(at: offset, into: UnsafeBufferPointer(start: pointer, count: 1))
    }
    return UnsafeRawBufferPointer(rebasing: buffer[..<count])
  }
}

/// Takes the contents into a raw file, at the same offsets.
struct RawSink: CopySink {
  private let file: ImageFile
  private let engine: any BlockEngine
  /// Where the file ends; the rest of its last sector is not written.
  private let size: UInt64
  /// Whether the file shows zeros wherever nothing was written yet.
  private let isFresh: Bool
  private var canShare = true
  private var unwritten: Range<UInt64>?

  init(_ file: ImageFile, size: UInt64, isFresh: Bool, engine: any BlockEngine) {
    self.file = file
    self.size = size
    self.isFresh = isFresh
    self.engine = engine
  }

  mutating func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(DiskImageError) {
    guard offset < size else { return }
    let count = Int(min(UInt64(bytes.count), size - offset))
    do throws(BlockIOError) {
      try engine.write(file, at: offset, from: UnsafeRawBufferPointer(rebasing: bytes[..<count]))
    } catch { throw .file(error) }
    startWriting(offset..<offset + UInt64(count))
  }

  mutating func zero(_ range: Range<UInt64>) throws(DiskImageError) {
    let end = min(range.upperBound, size)
    guard !isFresh, range.lowerBound < end else { return }
    do throws(BlockIOError) { try engine.zero(file, range.lowerBound..<end, unmap: true) } catch {
      throw .file(error)
    }
  }

  mutating func share(_ source: ImageFile, at offset: UInt64, as range: Range<UInt64>) -> Bool {
    guard canShare, range.upperBound <= size, range.upperBound - range.lowerBound >= Limits.shareMin else {
      return false
    }
    // One refusal speaks for all: the file system cannot, or the files lie on two of them.
    canShare = file.share(
      source, at: offset, count: range.upperBound - range.lowerBound, to: range.lowerBound)
    return canShare
  }

  /// Lets the medium begin with what is complete, so that it is not idle while we copy, and less is left for
  /// the end.
  private mutating func startWriting(_ range: Range<UInt64>) {
    guard let before = unwritten, before.upperBound <= range.lowerBound else {
      unwritten = range
      return
    }
    unwritten = before.lowerBound..<range.upperBound
    if range.upperBound - before.lowerBound >= Limits.writeBackStep {
      file.startWriteBack(before.lowerBound..<range.upperBound)
      unwritten = nil
    }
  }
}

/// Takes the contents into any disk.
struct ImageSink: CopySink {
  private let image: any DiskImage
  /// Whether the disk shows zeros wherever nothing was written yet.
  private let isFresh: Bool

  init(_ image: any DiskImage, isFresh: Bool) {
    self.image = image
    self.isFresh = isFresh
  }

  mutating func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(DiskImageError) {
    // SAFETY: iovec has one type for both directions; nothing writes through it here.
    var part = iovec(iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress), iov_len: bytes.count)
    try withUnsafePointer(to: &part) { (pointer) throws(DiskImageError) in
      try image.write(at: offset, from: UnsafeBufferPointer(start: pointer, count: 1))
    }
  }

  mutating func zero(_ range: Range<UInt64>) throws(DiskImageError) {
    if !isFresh { try image.writeZeroes(range, unmap: true) }
  }
}
