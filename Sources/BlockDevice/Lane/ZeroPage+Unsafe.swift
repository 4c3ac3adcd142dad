// Memory full of zeros.
import DiskImage
import Glibc

/// A page of zeros, to be written to less than a page of a disk.
///
/// SAFETY: nobody writes to it; it lives as long as its lane, which outlives its operations.
final class ZeroPage {
  private let memory = UnsafeMutableRawBufferPointer.allocate(
    byteCount: Int(WriteRoute.roomBytes), alignment: 4096)

  init() { memory.initializeMemory(as: UInt8.self, repeating: 0) }

  deinit { memory.deallocate() }

  /// The first bytes.
  func part(_ count: UInt64) -> iovec {
    precondition(count <= UInt64(memory.count))
    return iovec(iov_base: memory.baseAddress, iov_len: Int(count))
  }
}
