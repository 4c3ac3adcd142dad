// Seek curves: measured points, fits, and what a table of them loses.
import Simulation
import Testing

@testable import DiskModel

@Suite struct HDDSeekTests {
  @Test func rootsAreExact() {
    var random = RandomStream(seed: 1, name: "root")
    var guess: UInt64 = 0
    for index in 0..<5000 {
      let value = index < 200 ? UInt64(index) : random.next() >> (1 + random.below(63))
      let root = squareRoot(value, near: index % 2 == 0 ? 0 : guess)
      guess = root
      #expect(root * root <= value)
      #expect((root + 1).multipliedFullWidth(by: root + 1) > (0, value))
    }
  }

  /// Ruemmler and Wilkes, "An introduction to disk drive modeling" (1994): the HP 97560.
  @Test func theClassicDriveIsAsPublished() {
    let curve = SeekCurve.twoPiece(
      knee: 383, base: 3_240_000, root: 400_000, farBase: 8_000_000, slope: 8_000_000)
    for (distance, expected) in [
      (0, 0), (1, 3_640_000), (4, 4_040_000), (100, 7_240_000), (361, 10_840_000), (383, 11_064_000),
      (400, 11_200_000), (1961, 23_688_000),
    ] as [(UInt64, UInt64)] {
      let time = curve.travel(distance, cylinders: 1962)
      #expect(time <= expected && expected - time <= 1, "\(distance): \(time)")
    }
    #expect(curve.isSound)
  }

  @Test func measuredPointsAreMet() throws {
    for name in ["cheetah9lp", "atlas10k", "barracuda", "hdd-10k-300g"] {
      let model = try Preset.hdd(name)
      guard case .table(let distances, let times) = model.parameters.seek else {
        Issue.record("\(name) is not measured")
        continue
      }
      let cylinders = UInt64(model.parameters.cylinders)
      for (distance, time) in zip(distances, times) {
        #expect(model.parameters.seek.travel(distance, cylinders: cylinders) == time)
        let found = model.seeks[Int(distance)]
        // Drives of more than 16,384 cylinders sample their curve.
        #expect(distance < 1 << 14 ? found == time : found.distance(to: time).magnitude < 20_000)
      }
      #expect(model.seeks[0] == 0)
    }
    let table = SeekCurve.table(distances: [2, 4, 8], times: [100, 200, 400])
    #expect(
      (0...10).map { table.travel($0, cylinders: 11) } == [
        0, 100, 100, 150, 200, 250, 300, 350, 400, 450, 500,
      ])
    // It may fall a little, and never below zero.
    let falling = SeekCurve.table(distances: [1, 3], times: [100, 20])
    #expect((1...5).map { falling.travel($0, cylinders: 6) } == [100, 60, 20, 0, 0])
  }

  /// What a seek takes between two cylinders by chance, to a ten-thousandth.
  private func mean(_ curve: SeekCurve, cylinders: UInt64) -> Double {
    var (sum, guess) = (0.0, UInt64(0))
    for distance in 1..<cylinders {
      sum +=
        2 * Double(cylinders - distance) * Double(curve.travel(distance, cylinders: cylinders, guess: &guess))
    }
    return sum / Double(cylinders) / Double(cylinders)
  }

  @Test func fitsHaveTheAverageThatTheyAreMadeOf() {
    let lee = SeekCurve.lee(minimum: 200_000, average: 3_500_000, full: 7_000_000)
    #expect(abs(mean(lee, cylinders: 20_000) / 3_500_000 - 1) < 0.001)
    #expect(lee.travel(1, cylinders: 20_000) == 200_000)
    #expect((6_999_998...7_000_000).contains(lee.travel(19_999, cylinders: 20_000)))
    let root = SeekCurve.root(minimum: 600_000, average: 8_000_000)
    #expect(abs(mean(root, cylinders: 20_000) / 8_000_000 - 1) < 0.001)
    #expect(root.travel(19_999, cylinders: 20_000) == 600_000 + 7_400_000 * 15 / 8)
  }

  @Test func curvesRiseAndBend() throws {
    var random = RandomStream(seed: 9, name: "curves")
    for _ in 0..<60 {
      func pick(_ range: ClosedRange<UInt64>) -> UInt64 { UInt64.random(in: range, using: &random) }
      let (minimum, average) = (pick(0...2_000_000), pick(2_000_000...15_000_000))
      let curves = [
        SeekCurve.root(minimum: minimum, average: average),
        .lee(minimum: minimum, average: average, full: pick(average...(3 * average))),
        .twoPiece(
          knee: pick(1...400), base: minimum, root: pick(0...200_000), farBase: pick(0...9_000_000),
          slope: pick(0...9_000_000)),
      ]
      for curve in curves where curve.isSound {
        let cylinders = pick(2...900)
        let times = (0..<cylinders).map { curve.travel($0, cylinders: cylinders) }
        #expect(times[0] == 0)
        for distance in 2..<max(2, times.count) {
          // Two pieces meet to a thirty-second; roundings are a few nanoseconds.
          let before = times[distance - 1]
          #expect(times[distance] + 8 >= before - before / 32, "\(curve) at \(distance)")
          guard case .twoPiece = curve else {
            #expect(times[distance] + 8 >= before, "\(curve) at \(distance)")
            continue
          }
        }
      }
    }
    // Measured curves are noisy: these by less than 3 percent. The Atlas 10K's is worse, with two outliers.
    for name in ["cheetah9lp", "barracuda"] {
      guard case .table(_, let times) = try Preset.hdd(name).parameters.seek else { continue }
      for (one, next) in zip(times, times.dropFirst()) { #expect(next * 100 >= one * 97) }
    }
  }

  @Test func aTableOfACurveIsRightToAFewNanoseconds() {
    for curve in [
      SeekCurve.root(minimum: 600_000, average: 8_000_000),
      .lee(minimum: 200_000, average: 3_500_000, full: 7_000_000),
      .twoPiece(knee: 54_000, base: 856_000, root: 26_070, farBase: 1_795_000, slope: 94_200),
    ] {
      let cylinders = 80_512
      var guess: UInt64 = 0
      let table = SeekTable(count: cylinders) {
        curve.travel($0, cylinders: UInt64(cylinders), guess: &guess)
      }
      var distance = 1
      while distance < cylinders {
        let exact = curve.travel(UInt64(distance), cylinders: UInt64(cylinders))
        let difference = table[distance].distance(to: exact).magnitude
        // Only where two pieces meet it is more.
        let isAtKnee = (53_900...54_100).contains(distance)
        #expect(difference <= (distance < 1 << 14 ? 0 : isAtKnee ? 20_000 : 100), "\(curve) at \(distance)")
        distance += 1 + distance / 300
      }
    }
  }

  @Test func presetsSeekAsTheirSourcesSay() throws {
    // Mean of a random seek, in milliseconds: DISK figures of DiskSim's own tables.
    for (name, expected) in [("cheetah9lp", 5.44), ("atlas10k", 5.59), ("barracuda", 9.18)] {
      let parameters = try Preset.hdd(name).parameters
      let mean = mean(parameters.seek, cylinders: UInt64(parameters.cylinders)) / 1e6
      #expect(abs(mean / expected - 1) < 0.02, "\(name): \(mean)")
    }
  }
}
