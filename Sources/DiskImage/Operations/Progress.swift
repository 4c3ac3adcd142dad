// How far a long operation is, and whether it shall go on.

/// What an operation on whole images tells on its way, and where it asks whether to go on.
///
/// The owner is the operation's caller: it sets `onStep`, which is called for each run of bytes,
/// however short, on the operation's thread.
package final class Progress {
  /// How many bytes there are to look at, as far as is known; 0 for not known yet.
  package private(set) var total: UInt64 = 0
  /// How many of them are done.
  package private(set) var done: UInt64 = 0
  /// What is being done, a word or two.
  package private(set) var phase = ""
  /// Called after each step; false stops the operation at its next safe place.
  package var onStep: ((Progress) -> Bool)?

  /// Progress of nothing yet.
  package init() {}

  /// Begins a part of the operation that has so many bytes to look at.
  package func begin(_ phase: String, total: UInt64) throws(DiskImageError) {
    self.phase = phase
    self.total = total
    done = 0
    try advance(by: 0)
  }

  /// Some more is done.
  package func advance(by count: UInt64) throws(DiskImageError) {
    done = min(done + count, max(total, done))
    if let onStep, !onStep(self) { throw .interrupted }
  }
}
