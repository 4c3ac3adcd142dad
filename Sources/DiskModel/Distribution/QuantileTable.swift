// From a uniform random number to a latency.
package import Simulation

/// A distribution as an integer quantile function: 4,096 parts of equal probability, of which the last
/// 1/1,024 is cut into 256 again, and the last of these into 256 again; between their ends it is linear.
///
/// Built once per disk without floating point, so the same numbers give the same table everywhere.
package struct QuantileTable: Sendable {
  /// The ends of all parts, ns: 4,097, then 257, then 257. One alone: a constant.
  private let knots: [UInt64]

  private static let bodyCount = 4096
  private static let tailCount = 256

  package init(_ shape: LatencyShape) {
    if case .constant(let latency) = shape {
      knots = [latency.nanoseconds]
      return
    }
    var quantiles = Quantiles(shape)
    var knots: [UInt64] = []
    knots.reserveCapacity(Self.bodyCount + 2 * Self.tailCount + 3)
    // Probabilities in units of 2^-26.
    for (first, step, count) in [
      (0, 1 << 14, Self.bodyCount), ((1 << 26) - (1 << 16), 1 << 8, Self.tailCount),
      ((1 << 26) - (1 << 8), 1, Self.tailCount),
    ] {
      quantiles.restart()
      for index in 0...count {
        let value = min(quantiles[UInt64(first + index * step)], SimulationDuration.longest.nanoseconds)
        // Rounding must not turn two of them round.
        knots.append(index == 0 ? value : max(value, knots[knots.count - 1]))
      }
    }
    self.knots = knots
  }

  /// The latency below which a share of `number / 2^64` lies. - Complexity: O(1)
  package func value(at number: UInt64) -> SimulationDuration {
    guard knots.count > 1 else { return SimulationDuration(nanoseconds: knots[0]) }
    var first = 0
    var index = number >> 52
    var rest = number << 12
    if number >> 54 == 0x3ff {
      let tail = number << 10
      (first, index, rest) = (Self.bodyCount + 1, tail >> 56, tail << 8)
      if index == 255 {
        (first, index, rest) = (Self.bodyCount + Self.tailCount + 2, rest >> 56, rest << 8)
      }
    }
    let (a, b) = (knots[first + Int(index)], knots[first + Int(index) + 1])
    return SimulationDuration(nanoseconds: a &+ (b &- a).multipliedFullWidth(by: rest).high)
  }

  /// No draw is less.
  package var minimum: SimulationDuration { SimulationDuration(nanoseconds: knots[0]) }

  /// Of all draws, rounded down to a nanosecond.
  package var mean: SimulationDuration {
    guard knots.count > 1 else { return minimum }
    // Twice the sum over all parts, weighted in units of 2^-26.
    var sum: UInt128 = 0
    func add(_ first: Int, _ count: Int, _ weight: UInt128) {
      for index in first..<first + count {
        sum += (UInt128(knots[index]) + UInt128(knots[index + 1])) * weight
      }
    }
    add(0, Self.bodyCount - 4, 1 << 14)
    add(Self.bodyCount + 1, Self.tailCount - 1, 1 << 8)
    add(Self.bodyCount + Self.tailCount + 2, Self.tailCount, 1)
    return SimulationDuration(nanoseconds: UInt64(sum >> 27))
  }
}

/// The exact quantiles of a shape, asked for in ascending order.
private struct Quantiles {
  private let shape: LatencyShape
  /// Of a table: the point at or before what was asked for last.
  private var position = 0
  private let logarithms: [FixedPoint]
  /// Of a lognormal: of the median, and the standard deviation.
  private var parameters = (location: FixedPoint(0), scale: FixedPoint(0))

  private static let bits = 26
  private static let one: UInt64 = 1 << 26

  init(_ shape: LatencyShape) {
    self.shape = shape
    var logarithms: [FixedPoint] = []
    switch shape {
    case .table(let points):
      logarithms = points.map { FixedPoint.logarithm(of: $0.latency.nanoseconds) }
    case .lognormal(let p50, let p99):
      let location = FixedPoint.logarithm(of: p50.nanoseconds)
      let spread = FixedPoint.logarithm(of: p99.nanoseconds) - location
      // 2.3263479: the 99th percentile of the normal distribution.
      parameters = (location, spread / FixedPoint(23_263_478_740, over: 10_000_000_000))
    case .constant, .exponential: break
    }
    self.logarithms = logarithms
  }

  mutating func restart() { position = 0 }

  /// At `probability / 2^26`, in nanoseconds.
  subscript(probability: UInt64) -> UInt64 {
    mutating get {
      switch shape {
      case .constant(let latency): latency.nanoseconds
      case .exponential(let minimum, let mean): Self.exponential(probability, minimum, mean)
      case .lognormal: lognormal(probability)
      case .table(let points): interpolated(probability, points)
      }
    }
  }

  private static func exponential(
    _ probability: UInt64, _ minimum: SimulationDuration, _ mean: SimulationDuration
  ) -> UInt64 {
    // The last part has the mean of everything beyond its beginning: its end is two means further on.
    let isEnd = probability == one
    let rest = isEnd ? 1 : one - probability
    var factor = FixedPoint.logarithm(of: one) - FixedPoint.logarithm(of: rest)
    if isEnd { factor = factor + FixedPoint(2) }
    let product = UInt64(factor.raw).multipliedFullWidth(by: mean.nanoseconds - minimum.nanoseconds)
    let rounded = product.low.addingReportingOverflow(1 << 47)
    let high = product.high + (rounded.overflow ? 1 : 0)
    return minimum.nanoseconds + (high << 16 | rounded.partialValue >> 48)
  }

  /// The first and the last part end where their middles are, and no further: at infinity there is nothing.
  private func lognormal(_ probability: UInt64) -> UInt64 {
    let numerator: UInt64 =
      switch probability {
      case 0: 1 << 14
      case Self.one: (1 << 28) - 1
      default: probability << 2
      }
    let z = FixedPoint.normalQuantile(numerator, bits: 28)
    return (parameters.location + parameters.scale * z).exponential
  }

  /// Linear in the logarithm between two points; where one of them is 0, in the latency.
  private mutating func interpolated(_ probability: UInt64, _ points: [QuantilePoint]) -> UInt64 {
    let wanted = probability * QuantilePoint.all
    while position + 1 < points.count, points[position + 1].share << 26 <= wanted { position += 1 }
    let a = points[position]
    guard position + 1 < points.count else { return a.latency.nanoseconds }
    let b = points[position + 1]
    let fraction = FixedPoint(
      Int64(wanted - a.share << 26), over: Int64((b.share - a.share) << 26))
    let (low, high) = (a.latency.nanoseconds, b.latency.nanoseconds)
    guard low > 0 else {
      let product = UInt64(fraction.raw).multipliedFullWidth(by: high)
      return product.high << 16 | product.low >> 48
    }
    let logarithm = logarithms[position] + (logarithms[position + 1] - logarithms[position]) * fraction
    return min(max(logarithm.exponential, low), high)
  }
}
