// One system call's worth of an operation.
import CLinux
import Glibc

/// What the kernel is asked for next on behalf of an operation: one system call, or its like in a ring.
///
/// SAFETY: `parts` points into the operation's own list, which stays where it is until the step's result is
/// in; the memory that the parts name is kept by who enqueued the operation, or is the operation's buffer.
struct Step {
  enum Kind: UInt8, Sendable { case read, write, synchronize, unmap, zero }

  var kind: Kind
  var descriptor: CInt
  var parts: UnsafeMutablePointer<iovec>
  var partCount: Int = 0
  var offset: UInt64 = 0
  var count: UInt64 = 0

  /// Carries the step out within the call.
  /// - Returns: how many bytes were moved, or the negative value of `errno`.
  func execute() -> Int {
    let result: Int
    switch kind {
    case .read:
      result =
        partCount == 1
        ? pread(descriptor, parts.pointee.iov_base, parts.pointee.iov_len, off_t(offset))
        : preadv(descriptor, parts, CInt(partCount), off_t(offset))
    case .write:
      result =
        partCount == 1
        ? pwrite(descriptor, parts.pointee.iov_base, parts.pointee.iov_len, off_t(offset))
        : pwritev(descriptor, parts, CInt(partCount), off_t(offset))
    case .synchronize: result = Int(fdatasync(descriptor))
    case .unmap: result = Int(CLinux_fallocate_punch_hole(descriptor, Int64(offset), Int64(count)))
    case .zero: result = Int(CLinux_fallocate_zero_range(descriptor, Int64(offset), Int64(count)))
    }
    return result >= 0 ? result : -Int(errno)
  }
}

/// A double inside every engine: the kernel moves less than it was asked for, or is interrupted, now and
/// then.
struct Mischief {
  private var state: UInt64

  init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

  /// The bound for the next transfer; a multiple of `unit`.
  mutating func byteLimit(unit: Int) -> UInt64 {
    let limits = [1, 3, 8, 100, 1 << 20]
    return UInt64(limits[Int(next() % 5)] * unit)
  }

  /// What the kernel says instead of what it did.
  mutating func result(_ result: Int) -> Int {
    switch next() % 16 {
    case 0: -Int(EINTR)
    case 1: -Int(EAGAIN)
    default: result
    }
  }

  private mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state
  }
}
