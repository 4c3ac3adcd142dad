// Waiting for the next request without going to sleep.
import CLinux
import Glibc
import Simulation
import VhostUser

/// Looks at an idle ring for a moment before its thread sleeps.
///
/// A driver with one request at a time answers a completion with the next request within microseconds; to put
/// a processor to sleep and wake it up takes longer, on both sides: from memory, three times as many
/// requests. Where the medium takes its time, everything happens on one processor, and one that looks is in
/// the way (measured, 4 KiB with O_DIRECT: a sixth fewer). Where nothing comes in time, the next looks are
/// left out, more and more of them: a driver that takes its time costs next to nothing, and one that does
/// nothing, nothing at all.
struct KickPolling {
  /// When requests were last taken from the ring.
  var lastTaken = SimulationTime.zero
  private var misses = 0
  private var leftOut = 0
  private let isUseful: Bool

  init() {
    // With a single processor the driver would wait for us.
    isUseful = sysconf(CInt(_SC_NPROCESSORS_ONLN)) > 1
  }

  /// Whether to look this time: requests have been completed.
  mutating func isWorthwhile() -> Bool {
    guard isUseful else { return false }
    guard leftOut == 0 else {
      leftOut -= 1
      return false
    }
    return hostTime().since(lastTaken).nanoseconds < Limits.kickPollingNanoseconds
  }

  /// Looks at the ring, whose driver does not kick now, until there is a chain or the time is over.
  mutating func look(at queue: Virtqueue) {
    let end = hostTime().nanoseconds + Limits.kickPollingNanoseconds
    var turns = 0
    while !queue.hasAvailable {
      turns += 1
      if turns & 15 == 0, hostTime().nanoseconds >= end {
        misses = min(misses + 1, Limits.kickPollingMissesMax)
        leftOut = 1 << misses
        return
      }
      CLinux_relax()
    }
    misses = 0
  }
}
