// Distribution of latencies.
import Simulation
import Telemetry
import Testing

@Suite struct LatencyHistogramTests {
  @Test func nothingRecordedIsZero() {
    let histogram = LatencyHistogram()
    #expect(histogram.count == 0)
    #expect(histogram.mean == .zero && histogram.minimum == .zero && histogram.maximum == .zero)
    #expect(histogram.percentile(99) == .zero)
  }

  @Test func countExtremesAndMeanAreExactAndPercentilesNearlySo() {
    for seed in 0..<UInt64(20) {
      var random = RandomStream(seed: seed, name: "latencies")
      var histogram = LatencyHistogram()
      let values = (0..<Int.random(in: 1...2000, using: &random)).map { _ in
        // Up to hours.
        random.next() >> UInt64.random(in: 20..<64, using: &random)
      }
      for value in values { histogram.record(SimulationDuration(nanoseconds: value)) }
      let sorted = values.sorted()
      #expect(histogram.count == UInt64(values.count))
      #expect(histogram.minimum.nanoseconds == sorted.first)
      #expect(histogram.maximum.nanoseconds == sorted.last)
      #expect(histogram.mean.nanoseconds == values.reduce(0, +) / UInt64(values.count), "seed \(seed)")
      for percent in [0.0, 50, 90, 99, 99.9, 100] {
        let rank = max(1, Int((percent / 100 * Double(values.count)).rounded(.up)))
        let exact = Double(sorted[rank - 1])
        let told = Double(histogram.percentile(percent).nanoseconds)
        // Small values fall into steps of one; 0 counts as 1 there.
        #expect(abs(told - exact) <= exact / 1000 + 1, "seed \(seed), \(percent) %: \(told), \(exact)")
      }
      #expect(histogram.percentile(100).nanoseconds == sorted.last)
    }
  }

  @Test func oneValueIsEveryPercentile() {
    for value in [0, 1, 2047, 2049, 50_123, 123_456_789_012] as [UInt64] {
      var histogram = LatencyHistogram()
      for _ in 0..<3 { histogram.record(SimulationDuration(nanoseconds: value)) }
      for percent in [0.0, 1, 50, 100] { #expect(histogram.percentile(percent).nanoseconds == value) }
      #expect(histogram.mean.nanoseconds == value)
    }
  }

  @Test func spansOfDecadesFit() {
    var histogram = LatencyHistogram()
    let decades = SimulationDuration(nanoseconds: 1 << 61)
    histogram.record(decades)
    histogram.record(decades)
    #expect(histogram.maximum == decades)
    #expect(histogram.mean == decades)
    #expect(histogram.percentile(50) == decades)
  }
}
