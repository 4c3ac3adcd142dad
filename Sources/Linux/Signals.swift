// Signals as readable events.
import CLinux
import Glibc

/// Owns a `signalfd(2)`; the signals are blocked for the process, and arrive only here.
package struct Signals: ~Copyable {
  package let descriptor: Descriptor

  /// Call it before any thread is started.
  package init(_ signals: [CInt]) throws(LinuxError) {
    descriptor = Descriptor(
      owning: try retrying("signalfd", "") { CLinux_signal_descriptor(signals, signals.count) })
  }

  /// The next signal that has arrived, or nil.
  package func next() -> CInt? {
    let number = CLinux_read_signal(descriptor.rawValue)
    return number > 0 ? number : nil
  }
}
