// Whether to wait for a write into the page cache.
import Linux

/// Decides whether a write through the page cache is made at once, by a system call, or left to the ring.
///
/// In a ring such a write is handed to a kernel thread, on ext4 for one: 2.3 to 5.3 µs of CPU and half the
/// throughput, where the system call takes 1 µs (4 KiB, measured). But the system call waits when the kernel
/// has too many pages to write back, a fifth of a second at a time, and reads would wait with it. So: at
/// once, until one took long; then a good many through the ring, more each time, before the next try.
struct Patience {
  private var leftToRing = 0
  private var penalty = Limits.ringWritesMin
  private var fastInARow = 0
  private var start: UInt64 = 0

  /// Whether the next write is made at once; if so, `wrote` is called after it.
  mutating func allows() -> Bool {
    guard leftToRing == 0 else {
      leftToRing -= 1
      return false
    }
    start = HostClock.nanoseconds
    return true
  }

  /// A write was made at once.
  mutating func wrote() { wrote(in: HostClock.nanoseconds - start) }

  mutating func wrote(in nanoseconds: UInt64) {
    if nanoseconds > Limits.slowWriteNanoseconds {
      leftToRing = penalty
      penalty = min(2 * penalty, Limits.ringWritesMax)
      fastInARow = 0
    } else {
      fastInARow += 1
      if fastInARow == Limits.ringWritesMin { penalty = Limits.ringWritesMin }
    }
  }
}

extension Limits {
  /// A write into the page cache that takes this long waited for something: 1 MiB is copied in a tenth.
  static let slowWriteNanoseconds: UInt64 = 2_000_000
  /// After a slow write so many go through the ring, at first …
  static let ringWritesMin = 256
  /// … and in the end.
  static let ringWritesMax = 65536
}
