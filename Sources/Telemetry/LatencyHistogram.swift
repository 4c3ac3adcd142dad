// Distribution of latencies.
internal import Histogram
package import Simulation

/// Latencies in simulated nanoseconds: count, extremes and mean exact, percentiles within 0.1 %.
///
/// Takes memory from the first record on: an idle disk has none.
package struct LatencyHistogram {
  private var histogram: Histogram<UInt32>?
  private var sum: UInt64 = 0
  package private(set) var count: UInt64 = 0
  private var smallest = UInt64.max
  private var largest: UInt64 = 0

  package init() {}

  package mutating func record(_ latency: SimulationDuration) {
    let value = latency.nanoseconds
    if histogram == nil { histogram = Histogram<UInt32>(numberOfSignificantValueDigits: .three) }
    // Beyond any latency that means something the library overflows.
    histogram?.record(min(max(value, 1), 1 << 60))
    sum &+= value
    count += 1
    smallest = min(smallest, value)
    largest = max(largest, value)
  }

  /// Adds what another one has.
  package mutating func add(_ other: LatencyHistogram) {
    guard let more = other.histogram else { return }
    if histogram == nil { histogram = more } else { histogram?.add(more) }
    sum &+= other.sum
    count += other.count
    smallest = min(smallest, other.smallest)
    largest = max(largest, other.largest)
  }

  /// Rounded down to a nanosecond.
  package var mean: SimulationDuration { SimulationDuration(nanoseconds: count == 0 ? 0 : sum / count) }
  package var maximum: SimulationDuration { SimulationDuration(nanoseconds: largest) }
  package var minimum: SimulationDuration { SimulationDuration(nanoseconds: count == 0 ? 0 : smallest) }

  /// The latency that `percent` (0 to 100) of all did not exceed.
  package func percentile(_ percent: Double) -> SimulationDuration {
    guard let histogram else { return .zero }
    return SimulationDuration(
      nanoseconds: min(max(histogram.valueAtPercentile(percent), smallest), largest))
  }
}
