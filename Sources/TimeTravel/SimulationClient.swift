// A party of the simulation that gets the turn.
package import Simulation

/// A clock that also gives turns: the seam between whoever has events and whoever decides when they happen.
///
/// Implemented by `Client` (the controller is another process) and `LocalClient` (it is this one).
package protocol SimulationClient: Clock {
  /// Called when it is our turn, at `now`; each call is followed by one `finishTurn`, at once or later.
  var onTurn: (() -> Void)? { get set }

  /// Gives the turn back and asks for the next one at `next`, nil for none. If nobody else is due before
  /// `next`, the next turn may follow at once.
  func finishTurn(next: SimulationTime?)

  /// Time-travel messages that this party itself exchanged.
  var messageCount: UInt64 { get }
}
