// On which processor we run.
import CLinux
import Glibc

/// Keeps this thread, and what it starts, on one processor; where it was before when the owner goes.
///
/// Where only one of several processes can run at a time, handing the turn to a sleeping processor costs more
/// than anything done with it.
package final class ProcessorAffinity {
  private var former = [UInt64](repeating: 0, count: 16)

  /// - Parameter processor: its number; nil stays where we are.
  /// - Throws: EINVAL for a processor that we may not use.
  package init(processor: Int? = nil) throws(LinuxError) {
    let size = former.count * 8
    _ = try retrying("sched_setaffinity", processor.map(String.init) ?? "") {
      CLinux_pin(CInt(clamping: processor ?? -1), &former, size)
    }
  }

  deinit { _ = CLinux_unpin(former, former.count * 8) }
}
