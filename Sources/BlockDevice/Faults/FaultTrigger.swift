// When a fault happens.
package import Simulation

/// A chance in billionths, so that no rounding of a machine decides anything.
package struct Probability: Equatable, Sendable {
  package static let certain: UInt32 = 1_000_000_000
  package let billionths: UInt32

  /// nil for more than 1, and for never.
  package init?(billionths: UInt32) {
    guard (1...Self.certain).contains(billionths) else { return nil }
    self.billionths = billionths
  }

  /// Whether a random number falls on it.
  func strikes(_ number: UInt64) -> Bool {
    number.multipliedFullWidth(by: UInt64(Self.certain)).high < UInt64(billionths)
  }
}

/// What a fault happens again after.
package enum FaultPeriod: Equatable, Sendable {
  /// So much time from beginning to beginning.
  case span(SimulationDuration)
  /// So many requests that match.
  case requests(UInt64)
}

/// When a fault happens: from a time on or after a number of requests, for a while, again and again, by
/// chance, so many times.
package struct FaultTrigger: Equatable, Sendable {
  /// Not before this time. Nothing and `after` nothing: from the beginning on.
  package var at: SimulationTime?
  /// Not before so many matching requests were taken.
  package var after: UInt64?
  /// Not at this time, nor later.
  package var until: SimulationTime?
  /// For so long, each time.
  package var duration: SimulationDuration?
  package var period: FaultPeriod?
  /// Of each request that is struck otherwise.
  package var probability: Probability?
  /// At most so many times.
  package var count: UInt64?

  package init(at: SimulationTime? = nil, after: UInt64? = nil) {
    self.at = at
    self.after = after
  }

  /// Whether it needs simulated time.
  package var needsTime: Bool {
    if case .span = period { return true }
    return at != nil || until != nil || duration != nil
  }

  /// The window in which it is at work at `now`, half-open; nil outside of all.
  /// - Parameter begin: when the first one begins.
  func window(at now: SimulationTime, begin: SimulationTime) -> Range<SimulationTime>? {
    guard begin <= now, until.map({ now < $0 }) ?? true else { return nil }
    var start = begin
    if case .span(let period) = period {
      let past = now.since(begin).nanoseconds
      start = begin + SimulationDuration(nanoseconds: past - past % period.nanoseconds)
    }
    let end = min(duration.map { start + $0 } ?? .never, until ?? .never)
    return now < end ? start..<end : nil
  }

  /// What is wrong with it, and which key says so.
  func validate() throws(FaultError) {
    if at != nil, after != nil {
      throw FaultError("'at' and 'after' both say when it begins: give one of them", key: "after")
    }
    if let until, until <= at ?? .zero {
      throw FaultError("'until' \(until) is not later than 'at' \(at ?? .zero)", key: "until")
    }
    if duration == .zero { throw FaultError("'for' is no time at all", key: "for") }
    switch period {
    case .span(.zero), .requests(0): throw FaultError("'every' is 0: leave it out", key: "every")
    case .span(let period):
      guard let duration else {
        throw FaultError("'every' \(period) needs 'for': how long each time", key: "every")
      }
      guard duration < period else {
        throw FaultError("'for' \(duration) is not shorter than 'every' \(period)", key: "for")
      }
    case .requests, nil: break
    }
    if count == 0 { throw FaultError("'count' is 0: leave the fault out", key: "count") }
  }
}
