// Lines about failures, not too many of them.
import Simulation

/// Decides which failures are worth a line: a few in each span of time, and how many were left out.
struct FailureLog {
  private var start = SimulationTime.zero
  private var count: UInt64 = 0
  private var omitted: UInt64 = 0

  static let linesPerSpan: UInt64 = 5
  static let span = SimulationDuration(nanoseconds: 10_000_000_000)

  /// A failure happened.
  /// - Returns: nil for no line; otherwise what to add to the line.
  mutating func admit(at now: SimulationTime) -> String? {
    if now.since(start) >= FailureLog.span || count == 0 {
      start = now
      count = 0
    }
    count += 1
    guard count <= FailureLog.linesPerSpan else {
      omitted += 1
      return nil
    }
    defer { omitted = 0 }
    return omitted == 0 ? "" : " (\(omitted) more failures before it)"
  }
}
