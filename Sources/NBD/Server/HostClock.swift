// The host's clock: NBD knows no other.
import Glibc
import Simulation

enum HostClock {
  /// Since some point in the past (`CLOCK_MONOTONIC`).
  static var now: SimulationTime {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return SimulationTime(nanoseconds: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
  }

  static var milliseconds: UInt64 { now.nanoseconds / 1_000_000 }
}
