// The seam between devices, which know no controller, and time travel, which knows no disk.

/// Simulated time as a device sees it.
///
/// Names one party of the simulation. Implemented by the controller client (another process decides), by the
/// embedded controller (we decide), and by `StandingClock` where no time is simulated.
package protocol Clock: AnyObject {
  /// The present. Valid while somebody holds the turn; may cost a message to the controller.
  var now: SimulationTime { get }

  /// Asks to be woken at `time`, which is not in the past; an earlier request stays, a later one is replaced.
  func requestWake(at time: SimulationTime)
}

/// No simulated time: the present is always zero, and nobody can be woken.
///
/// For real time and for `inf-cpu`, where requests complete when they are made.
package final class StandingClock: Clock {
  package init() {}
  package var now: SimulationTime { .zero }
  package func requestWake(at time: SimulationTime) {
    preconditionFailure("a standing clock wakes nobody: only a timed device asks, and needs a controller")
  }
}
