// So much per second, and some of it saved.
package import Simulation

/// A bucket of tokens, in whole billionths of one: `rate` per second flow in, up to `capacity`.
///
/// A request that costs more than the bucket holds is let through when it is full, and leaves a debt:
/// otherwise it would wait for ever.
package struct TokenBucket: Sendable {
  /// Tokens per second, that is billionths per nanosecond.
  package let rate: UInt64
  /// In billionths, not less than 0.
  package let capacity: Int128
  /// In billionths; less than 0 is a debt.
  package private(set) var level: Int128

  /// A full bucket.
  package init(rate: UInt64, capacity: Int128) {
    precondition(rate > 0 && capacity >= 0)
    self.rate = rate
    self.capacity = capacity
    level = capacity
  }

  /// Lets `span` pass, during which `percent` of the rate flow in.
  ///
  /// What flows in within a nanosecond may stay on top: waits are rounded up, and the rest of the last
  /// nanosecond counts for the next request, so that no rate is ever lower than it should be.
  package mutating func fill(for span: SimulationDuration, percent: UInt64 = 100) {
    let rate = Int128(rate(at: percent))
    level = min(capacity + rate - 1, level + rate * Int128(span.nanoseconds))
  }

  /// How long it is until `cost` tokens may be taken, rounded up to a nanosecond.
  package func wait(for cost: UInt64, percent: UInt64 = 100) -> SimulationDuration {
    let missing = min(Int128(cost) * 1_000_000_000, capacity) - level
    guard missing > 0 else { return .zero }
    let rate = rate(at: percent)
    if let missing = UInt64(exactly: missing) {
      let (quotient, remainder) = missing.quotientAndRemainder(dividingBy: rate)
      return SimulationDuration(nanoseconds: remainder == 0 ? quotient : quotient + 1)
    }
    let wait = (missing + Int128(rate) - 1) / Int128(rate)
    return SimulationDuration(nanoseconds: UInt64(clamping: wait))
  }

  package mutating func take(_ cost: UInt64) { level -= Int128(cost) * 1_000_000_000 }

  private func rate(at percent: UInt64) -> UInt64 {
    percent == 100 ? rate : max(1, UInt64(UInt128(rate) * UInt128(percent) / 100))
  }
}
