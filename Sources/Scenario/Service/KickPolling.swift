// Waiting for the next request without going to sleep.
import CLinux
import Glibc
import Simulation
import VhostUser

/// Looks at an idle ring for a moment before its thread sleeps.
///
/// A driver with one request at a time answers a completion with the next request within microseconds; to put
/// a processor to sleep and wake it up takes longer, on both sides: from memory, three times as many
/// requests. Where the medium takes its time, a driver that sleeps shares a processor with us, and a long
/// look is in its way (measured, 4 KiB with O_DIRECT: a sixth fewer). One that polls (SPDK, `poll_queues` of
/// virtio_blk) answers at once all the same: a short look finds that, and spares it the kick (a third more).
/// Where more than half of the looks are in vain, ever more of the next ones are left out: a driver that
/// takes its time costs next to nothing, and one that does nothing, nothing at all.
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

  /// How many nanoseconds to look this time, if at all: requests have been completed.
  mutating func worthwhileTime() -> UInt64? {
    guard isUseful else { return nil }
    guard leftOut == 0 else {
      leftOut -= 1
      return nil
    }
    let isFast = hostTime().since(lastTaken).nanoseconds < Limits.kickPollingNanoseconds
    return isFast ? Limits.kickPollingNanoseconds : Limits.shortKickPollingNanoseconds
  }

  /// Looks at the ring, whose driver does not kick now, until there is a chain or the time is over.
  mutating func look(at queue: Virtqueue, for nanoseconds: UInt64) {
    let end = hostTime().nanoseconds + nanoseconds
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
    misses = max(0, misses - 1)
    leftOut = misses == 0 ? 0 : 1 << misses
  }
}
