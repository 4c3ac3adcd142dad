// Distributions as tables.
import DiskModel
import Foundation
import Simulation
import Testing

@Suite struct QuantileTableTests {
  private func ns(_ value: UInt64) -> SimulationDuration { SimulationDuration(nanoseconds: value) }

  /// The largest distance between the distribution of draws and `below`, which says what share is less.
  private func distance(_ table: QuantileTable, count: Int, seed: UInt64, below: (Double) -> Double) -> Double
  {
    var stream = RandomStream(seed: seed, name: "draws")
    let draws = (0..<count).map { _ in table.value(at: stream.next()).nanoseconds }.sorted()
    var largest = 0.0
    for (index, draw) in draws.enumerated() where index % 7 == 0 {
      largest = max(largest, abs(below(Double(draw)) - Double(index) / Double(count)))
    }
    return largest
  }

  @Test func aConstantIsOne() {
    let table = QuantileTable(.constant(ns(777)))
    #expect([0, 1 << 63, .max].allSatisfy { table.value(at: $0) == ns(777) })
    #expect(table.minimum == ns(777) && table.mean == ns(777))
  }

  @Test func exponentialDrawsAreExponential() {
    let table = QuantileTable(.exponential(minimum: ns(100_000), mean: ns(600_000)))
    #expect(table.minimum == ns(100_000))
    #expect(table.value(at: 0) == ns(100_000))
    #expect(abs(Double(table.mean.nanoseconds) - 600_000) < 20)
    // 1 - e^-x.
    for (share, x) in [(0.5, log(2.0)), (0.9, log(10.0)), (0.999, log(1000.0)), (0.99999, log(100_000.0))] {
      let value = Double(table.value(at: UInt64(share * 0x1p64)).nanoseconds)
      #expect(abs(value - 100_000 - 500_000 * x) < 1000 * x, "\(share)")
    }
    #expect(distance(table, count: 120_000, seed: 3) { 1 - exp(-max(0, $0 - 100_000) / 500_000) } < 0.005)
  }

  @Test func lognormalDrawsHaveTheirMedianAndTheir99thPercentile() {
    let table = QuantileTable(.lognormal(p50: ns(600_000), p99: ns(1_500_000)))
    #expect(abs(Int(table.value(at: 1 << 63).nanoseconds) - 600_000) <= 1)
    let p99 = Double(table.value(at: UInt64(0.99 * 0x1p64)).nanoseconds)
    #expect(abs(p99 / 1_500_000 - 1) < 1e-4)
    let sigma = log(2.5) / 2.3263479
    let p999 = Double(table.value(at: UInt64(0.999 * 0x1p64)).nanoseconds)
    #expect(abs(p999 / (600_000 * exp(sigma * 3.0902323)) - 1) < 1e-3)
    let mean = 600_000 * exp(sigma * sigma / 2)
    #expect(abs(Double(table.mean.nanoseconds) / mean - 1) < 1e-4)
    #expect(
      distance(table, count: 120_000, seed: 4) { erfc(-log($0 / 600_000) / sigma / 2.0.squareRoot()) / 2 }
        < 0.005)
    // No spread at all, and the widest that can be written.
    let narrow = QuantileTable(.lognormal(p50: ns(5), p99: ns(5)))
    #expect(narrow.value(at: 0) == ns(5) && narrow.value(at: .max) == ns(5))
    let wide = QuantileTable(.lognormal(p50: ns(1), p99: .longest))
    #expect(wide.value(at: .max) <= .longest && wide.value(at: 1 << 63) == ns(1))
  }

  @Test func tablesKeepTheirPoints() {
    let points = [(0, 10_000), (25, 20_000), (25, 40_000), (50, 80_000), (99, 100_000), (100, 900_000)].map {
      QuantilePoint(share: UInt64($0.0) * 100_000_000, latency: ns(UInt64($0.1)))
    }
    let table = QuantileTable(.table(points))
    #expect(table.minimum == ns(10_000))
    #expect(table.value(at: 1 << 63) == ns(80_000))
    #expect(table.value(at: .max).nanoseconds > 899_000)
    // Nothing between 20 and 40 us: a jump, but for one part in 4,096.
    let parts = (0..<4096).map { table.value(at: UInt64($0) << 52 | 1 << 51).nanoseconds }
    #expect(parts.count { $0 > 20_000 && $0 < 40_000 } <= 1)
    #expect(parts.count { $0 <= 20_000 } == 1024 || parts.count { $0 <= 20_000 } == 1023)
    // Halfway between two points, in the logarithm.
    let middle = Double(table.value(at: UInt64(0.375 * 0x1p64)).nanoseconds)
    #expect(abs(middle - (40_000.0 * 80_000).squareRoot()) < 20)
    // From 0 on there is no logarithm.
    let linear = QuantileTable(
      .table([
        QuantilePoint(share: 0, latency: .zero),
        QuantilePoint(share: QuantilePoint.all, latency: ns(1000)),
      ]))
    #expect(abs(Int(linear.value(at: 1 << 62).nanoseconds) - 250) <= 1)
  }

  @Test func theyNeverGoDown() {
    for shape in [
      .exponential(minimum: .zero, mean: ns(3)), .exponential(minimum: .zero, mean: .longest),
      .lognormal(p50: ns(1), p99: ns(2)), .lognormal(p50: ns(123_456), p99: ns(98_765_432)),
    ] as [LatencyShape] {
      let table = QuantileTable(shape)
      var last: UInt64 = 0
      for step in stride(from: UInt64(0), to: .max - (1 << 50), by: 1 << 50) {
        let value = table.value(at: step).nanoseconds
        #expect(value >= last)
        last = value
      }
      // Across the ends of the body and of both tails.
      for edge in [UInt64.max << 54, .max << 46, .max << 38] {
        let values = [edge - 1, edge, edge + 1].map { table.value(at: $0) }
        #expect(values == values.sorted())
      }
    }
  }

  @Test func theyAreTheSameToTheLastBitEverywhere() {
    let shapes: [LatencyShape] = [
      .exponential(minimum: ns(50_000), mean: ns(90_000)), .lognormal(p50: ns(600_000), p99: ns(1_500_000)),
      .table([
        QuantilePoint(share: 0, latency: ns(57_000)),
        QuantilePoint(share: 9_900_000_000, latency: ns(69_000)),
        QuantilePoint(share: QuantilePoint.all, latency: ns(2_000_000)),
      ]),
    ]
    let hashes = shapes.map { shape in
      let table = QuantileTable(shape)
      var stream = RandomStream(seed: 1, name: "hash")
      return traceHash((0..<4096).map { _ in table.value(at: stream.next()).nanoseconds })
    }
    #expect(
      hashes == [6_255_657_642_613_905_006, 11_669_577_504_733_125_365, 5_144_034_136_555_562_636])
  }

  @Test func pointsAreReadAndWritten() {
    for (text, share) in [("99.9", 9_990_000_000), ("0", 0), ("100", 10_000_000_000), ("0.00000001", 1)] {
      #expect(QuantilePoint.share(percent: text) == UInt64(share))
    }
    for text in ["", "-1", "100.1", "101", "1.000000001", ".5", "1.", "1.5.2", "+1", "1e2", "NaN"] {
      #expect(QuantilePoint.share(percent: text) == nil, "\(text)")
    }
    #expect("\(QuantilePoint(share: 9_990_000_000, latency: ns(1_200_000)))" == "99.9% 1200us")
    #expect("\(QuantilePoint(share: 0, latency: ns(57)))" == "0% 57ns")
  }
}
