// The host's clock: NBD knows no other.
import Linux
import Simulation

/// The host's time since some point in the past, as lanes have it.
func hostTime() -> SimulationTime { SimulationTime(nanoseconds: HostClock.nanoseconds) }
