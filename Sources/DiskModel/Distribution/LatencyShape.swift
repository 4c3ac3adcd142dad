// How latencies are distributed, as it is written.
package import Simulation

/// A distribution of latencies: its numbers, checked.
package enum LatencyShape: Equatable, Sendable {
  /// Always the same: `latency`.
  case constant(SimulationDuration)
  /// A minimum, and more by an exponential distribution: `minimum` and `mean`, which includes the minimum.
  case exponential(minimum: SimulationDuration, mean: SimulationDuration)
  /// By the median and the 99th percentile: `p50` and `p99`.
  case lognormal(p50: SimulationDuration, p99: SimulationDuration)
  /// What was measured: `table`, an array of `"99.9% 1200us"`.
  case table([QuantilePoint])

  /// Reads whatever form the table has; nil if none.
  init?(_ reader: ParameterReader) throws(DiskModelError) {
    let latency = try reader.duration("latency")
    let minimum = try reader.duration("minimum")
    let mean = try reader.duration("mean")
    let (p50, p99) = (try reader.duration("p50"), try reader.duration("p99"))
    let points = try reader.array("table", of: "\"PERCENT% TIME\" like \"99.9% 1200us\"", QuantilePoint.init)
    let forms = [
      latency.map { _ in "latency" }, mean.map { _ in "mean" } ?? minimum.map { _ in "minimum" },
      p50.map { _ in "p50" } ?? p99.map { _ in "p99" }, points.map { _ in "table" },
    ].compactMap { $0 }
    guard forms.count < 2 else {
      throw reader.error(
        "'\(forms[0])' and '\(forms[1])' are of two distributions: give one of them", key: forms[1])
    }
    if let latency {
      self = .constant(latency)
    } else if mean != nil || minimum != nil {
      let mean = try reader.required("mean", mean)
      let minimum = minimum ?? .zero
      guard minimum <= mean else {
        throw reader.error("'mean' is \(mean), less than 'minimum', \(minimum)", key: "mean")
      }
      self = .exponential(minimum: minimum, mean: mean)
    } else if p50 != nil || p99 != nil {
      let p50 = try reader.required("p50", p50)
      let p99 = try reader.required("p99", p99)
      guard p50 > .zero else { throw reader.error("'p50' is 0: a lognormal latency never is", key: "p50") }
      guard p50 <= p99 else { throw reader.error("'p99' is \(p99), less than 'p50', \(p50)", key: "p99") }
      self = .lognormal(p50: p50, p99: p99)
    } else if let points {
      try Self.check(points, reader)
      self = .table(points)
    } else {
      return nil
    }
  }

  private static func check(_ points: [QuantilePoint], _ reader: ParameterReader) throws(DiskModelError) {
    guard let first = points.first, let last = points.last, first.share == 0, last.share == QuantilePoint.all
    else { throw reader.error("'table' does not go from 0% to 100%", key: "table") }
    guard points.count <= QuantilePoint.countMax else {
      throw reader.error(
        "'table' has \(points.count) entries, more than \(QuantilePoint.countMax)", key: "table")
    }
    for (a, b) in zip(points, points.dropFirst()) where b.share < a.share || b.latency < a.latency {
      throw reader.error(
        "'table' has \"\(b)\" after \"\(a)\": neither percents nor times may go down", key: "table")
    }
  }
}

/// One point of a distribution: so many of all requests took no longer.
package struct QuantilePoint: Equatable, Sendable, CustomStringConvertible {
  /// All requests, as a share.
  package static let all: UInt64 = 10_000_000_000
  static let countMax = 65_536

  /// In units of 10^-8 percent.
  package var share: UInt64
  package var latency: SimulationDuration

  package init(share: UInt64, latency: SimulationDuration) {
    self.share = share
    self.latency = latency
  }

  /// Reads `99.9% 1200us`.
  init?(_ value: ParameterValue) {
    guard case .string(let text) = value else { return nil }
    let parts = text.split(separator: " ")
    guard parts.count == 2, parts[0].last == "%", let share = Self.share(percent: parts[0].dropLast()),
      let latency = SimulationDuration(parsing: parts[1]), latency <= .longest
    else { return nil }
    self.init(share: share, latency: latency)
  }

  /// `99.9` percent as a share; nil for anything but 0 to 100 with at most eight decimals.
  package static func share(percent text: some StringProtocol) -> UInt64? {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard (1...2).contains(parts.count), parts.allSatisfy({ !$0.isEmpty && $0.count <= 8 }),
      parts.allSatisfy({ $0.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) } }),
      let whole = UInt64(parts[0]), whole <= 100
    else { return nil }
    let decimals = parts.count == 2 ? String(parts[1]) : ""
    let padded = decimals + String(repeating: "0", count: 8 - decimals.count)
    guard let fraction = UInt64(padded) else { return nil }
    let share = whole * 100_000_000 + fraction
    return share <= all ? share : nil
  }

  /// As it is written.
  package var description: String {
    var decimals = String(share % 100_000_000 + 100_000_000).dropFirst()
    while decimals.last == "0" { decimals.removeLast() }
    return "\(share / 100_000_000)\(decimals.isEmpty ? "" : ".\(decimals)")% \(latency)"
  }
}
