// The host's clock, for what is not simulated.
import Glibc

/// Time since some point in the past (`CLOCK_MONOTONIC`). Nothing simulated sees it.
package enum HostClock {
  package static var nanoseconds: UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  package static var microseconds: UInt64 { nanoseconds / 1000 }

  package static var milliseconds: UInt64 { nanoseconds / 1_000_000 }
}
