// Waking a thread that sleeps in a wait for descriptors.
import Glibc

/// A descriptor that any thread makes readable, and its owner watches: an eventfd.
package final class WakeUp: Sendable {
  /// Readable after `wake`, until `clear`.
  package let descriptor: CInt

  package init() throws(LinuxError) { descriptor = try Descriptor.eventCounter().release() }

  deinit { close(descriptor) }

  /// Makes the descriptor readable. From any thread.
  package func wake() {
    var one: UInt64 = 1
    // It fails only if the counter is full, and then it is readable already.
    _ = write(descriptor, &one, MemoryLayout<UInt64>.size)
  }

  /// Makes it unreadable again. The owner's.
  package func clear() {
    var count: UInt64 = 0
    _ = read(descriptor, &count, MemoryLayout<UInt64>.size)
  }
}
