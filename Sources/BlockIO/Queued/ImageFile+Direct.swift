// Past the page cache.
import CLinux
import Glibc
import Linux
import Synchronization

/// How a file is reached with O_DIRECT.
package struct DirectAccess {
  /// The descriptor that was opened with O_DIRECT; as long-lived as the file object.
  package let descriptor: CInt
  /// Addresses of memory are multiples of this.
  package let memoryAlignment: Int
  /// Offsets and lengths are multiples of this.
  package let alignment: Int
  /// Where requests may be smaller than the alignment: keeps those that change part of a block away from
  /// all others that write there.
  let locks: RangeLocks?

  /// Whether the file takes a transfer of these bytes as it is.
  @inline(__always)
  func accepts(offset: UInt64, count: UInt64) -> Bool { (offset | count) & UInt64(alignment - 1) == 0 }
}

extension ImageFile {
  /// Lets queued engines go past the page cache for reads and writes of this file. Before any engine works
  /// on it; a second call changes nothing.
  ///
  /// Whatever the alignment of memory and requests, the bytes arrive; what is not as the file wants it goes
  /// through a buffer. A request that changes a block of the file in part reads it first; meanwhile nothing
  /// else that writes to that block is under way, in any engine. That costs every write of such a file a look
  /// at a list, so files whose blocks are no larger than `unit` do without, and there a smaller request fails
  /// with EINVAL.
  ///
  /// The same page must not be written both ways at once: blocking engines go through the page cache.
  /// - Parameters:
  ///   - unit: offsets and lengths of all requests are multiples of this: a sector, as a rule.
  ///   - alignment: larger than what the file needs; for tests.
  package func useDirect(unit: Int = 512, alignment: Int? = nil) throws(BlockIOError) {
    guard direct == nil else { return }
    var memory: UInt32 = 0
    var offset: UInt32 = 0
    let isKnown = CLinux_direct_alignment(descriptor.rawValue, &memory, &offset) == 1
    if isKnown, memory == 0 || offset == 0 { throw .notDirect(path: path, code: EINVAL) }
    if directDescriptor < 0 {
      do throws(LinuxError) {
        directDescriptor = try retrying("open", path) {
          CLinux_open_direct("/proc/self/fd/\(descriptor.rawValue)", isReadOnly)
        }
      } catch { throw .notDirect(path: path, code: error.code) }
      try divideLock()
    }
    let found = isKnown ? Int(max(offset, 512)) : try probedAlignment()
    let block = max(found, alignment ?? 0)
    guard block & (block - 1) == 0, block <= Limits.directAlignmentMax else {
      throw .notDirect(path: path, code: EINVAL)
    }
    // The last block of a file that ends within it is always changed in part.
    let isSafe = block <= unit && size % UInt64(block) == 0
    direct = DirectAccess(
      descriptor: directDescriptor, memoryAlignment: isKnown ? Int(memory) : found, alignment: block,
      locks: isSafe ? nil : RangeLocks(block: block))
  }

  /// Kernels before 6.1 do not tell: the smaller alignment with which a read is not refused.
  private func probedAlignment() throws(BlockIOError) -> Int {
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: 8192, alignment: 8192)
    defer { buffer.deallocate() }
    // With nothing to read nothing is refused.
    if size < 4096 { return 4096 }
    var code: CInt = 0
    for alignment in [512, 4096] {
      if pread(directDescriptor, buffer + alignment, alignment, 0) >= 0 { return alignment }
      code = errno
      guard code == EINVAL else { break }
    }
    throw .notDirect(path: path, code: code)
  }

  /// Whether the file system was found unable to give space back: `zeroAndUnmap` writes zeros.
  package var refusesToUnmap: Bool { refusals.unmap.load(ordering: .relaxed) }
  /// Whether the file system was found unable to make zeros that keep their space: `zero` writes them.
  package var refusesToZero: Bool { refusals.zero.load(ordering: .relaxed) }
}

/// What a file system was found to refuse.
final class Refusals: Sendable {
  let unmap = Atomic(false)
  let zero = Atomic(false)
}
