// Where a copy goes.
import BlockIO
import Glibc

/// What takes the contents of a disk, from its start to its end.
protocol CopySink: AnyObject {
  /// These bytes are at `offset`.
  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(DiskImageError)
  /// There are zeros.
  func zero(_ range: Range<UInt64>) throws(DiskImageError)
  /// Whether it is worth asking `share`.
  var canShare: Bool { get }
  /// These bytes are those of a file, at `offset` in it: true if they need not be copied.
  func share(_ file: ImageFile, at offset: UInt64, as range: Range<UInt64>) -> Bool
}

extension CopySink {
  var canShare: Bool { false }
  func share(_ file: ImageFile, at offset: UInt64, as range: Range<UInt64>) -> Bool { false }
}

/// Takes the contents into a raw file, at the same offsets.
final class RawSink: CopySink {
  private let file: ImageFile
  private let engine: any BlockEngine
  /// Where the file ends; the rest of its last sector is not written.
  private let size: UInt64
  /// Whether the file shows zeros wherever nothing was written yet.
  private let isFresh: Bool
  private(set) var canShare = true
  private var canBeDirect = true
  private var unwritten: Range<UInt64>?

  init(_ file: ImageFile, size: UInt64, isFresh: Bool, engine: any BlockEngine) {
    self.file = file
    self.size = size
    self.isFresh = isFresh
    self.engine = engine
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(DiskImageError) {
    guard offset < size else { return }
    let count = Int(min(UInt64(bytes.count), size - offset))
    let bytes = UnsafeRawBufferPointer(rebasing: bytes[..<count])
    do throws(BlockIOError) {
      if try writeDirectly(bytes, at: offset) { return }
      try engine.write(file, at: offset, from: bytes)
    } catch { throw .file(error) }
    startWriting(offset..<offset + UInt64(count))
  }

  func zero(_ range: Range<UInt64>) throws(DiskImageError) {
    let end = min(range.upperBound, size)
    guard !isFresh, range.lowerBound < end else { return }
    do throws(BlockIOError) { try engine.zero(file, range.lowerBound..<end, unmap: true) } catch {
      throw .file(error)
    }
  }

  func share(_ source: ImageFile, at offset: UInt64, as range: Range<UInt64>) -> Bool {
    guard canShare, range.upperBound <= size, range.upperBound - range.lowerBound >= Limits.shareMin else {
      return false
    }
    // One refusal speaks for all: the file system cannot, or the files lie on two of them.
    canShare = file.share(
      source, at: offset, count: range.upperBound - range.lowerBound, to: range.lowerBound)
    return canShare
  }

  /// Writes a long piece of a new file past the page cache, which would cost a copy and new memory: measured,
  /// this is as fast as the disk. What is not new may be in the cache, and is left to it.
  /// - Returns: whether it is written.
  private func writeDirectly(
    _ bytes: UnsafeRawBufferPointer, at offset: UInt64
  ) throws(BlockIOError) -> Bool {
    guard isFresh, canBeDirect, bytes.count >= Limits.directWriteMin,
      (UInt(bitPattern: bytes.baseAddress) | UInt(bytes.count) | UInt(offset)) % Limits.directWriteUnit == 0
    else { return false }
    do throws(BlockIOError) {
      canBeDirect = try file.withDirectAccess { () throws(BlockIOError) in
        try engine.write(file, at: offset, from: bytes)
      }
    } catch {
      guard case .transfer(_, _, _, _, EINVAL) = error else { throw error }
      canBeDirect = false
    }
    return canBeDirect
  }

  /// Lets the medium begin with what is complete, so that it is not idle while we copy, and less is left for
  /// the end.
  private func startWriting(_ range: Range<UInt64>) {
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
final class ImageSink: CopySink {
  private let image: any DiskImage
  /// Whether the disk shows zeros wherever nothing was written yet.
  private let isFresh: Bool

  init(_ image: any DiskImage, isFresh: Bool) {
    self.image = image
    self.isFresh = isFresh
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(DiskImageError) {
    // SAFETY: iovec has one type for both directions; nothing writes through it here.
    var part = iovec(iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress), iov_len: bytes.count)
    try withUnsafePointer(to: &part) { (pointer) throws(DiskImageError) in
      try image.write(at: offset, from: UnsafeBufferPointer(start: pointer, count: 1))
    }
  }

  func zero(_ range: Range<UInt64>) throws(DiskImageError) {
    if !isFresh { try image.writeZeroes(range, unmap: true) }
  }
}
