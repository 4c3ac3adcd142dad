// Our own logarithm, exponential, square root and normal quantile.
import DiskModel
import Foundation
import Simulation
import Testing

@Suite struct FixedPointTests {
  private func double(_ value: FixedPoint) -> Double { Double(value.raw) / 0x1p48 }

  @Test func logarithmsOfWholeNumbersAreRight() {
    #expect(FixedPoint.logarithm(of: 0).raw == 0 && FixedPoint.logarithm(of: 1).raw == 0)
    var random = RandomStream(seed: 5, name: "logarithm")
    for shift in 0..<4000 {
      let number = max(1, random.next() >> UInt64(shift % 64))
      #expect(abs(double(.logarithm(of: number)) - log(Double(number))) < 0x1p-42)
    }
    #expect(abs(double(.logarithm(of: .max)) - 44.361419555836499) < 1e-12)
  }

  @Test func exponentialsUndoLogarithms() {
    for number in (1...2000).map(UInt64.init) + (1...40).map({ UInt64(1) << $0 | 12345 }) {
      let back = FixedPoint.logarithm(of: number).exponential
      let difference = back > number ? back - number : number - back
      #expect(difference <= number >> 40, "\(number) became \(back)")
    }
    #expect(FixedPoint(0).exponential == 1 && FixedPoint(1).exponential == 3)
    #expect(FixedPoint(-1, over: 2).exponential == 1 && FixedPoint(-1).exponential == 0)
    #expect(FixedPoint(-30_000).exponential == 0 && FixedPoint(44).exponential == .max)
    #expect(FixedPoint(20).exponential == 485_165_195)
  }

  @Test func squareRootsAreRoundedDown() {
    #expect(FixedPoint(0).squareRoot.raw == 0)
    #expect(FixedPoint(4).squareRoot == FixedPoint(2))
    for raw in [1, 2, 3, 1 << 20, 1 << 48, (1 << 48) + 1, Int64.max] as [Int64] {
      let root = UInt128(FixedPoint(raw: raw).squareRoot.raw)
      #expect(root * root <= UInt128(raw) << 48 && (root + 1) * (root + 1) > UInt128(raw) << 48)
    }
  }

  @Test func normalQuantilesAreThoseOfTheTables() {
    for (numerator, z) in [
      (1 << 19, 0), (UInt64(0.975 * 0x1p20), 1.959964), (UInt64(0.99 * 0x1p20), 2.326348),
      (UInt64(0.999 * 0x1p20), 3.090232), ((1 << 20) - 1, 4.763001), (UInt64(0.9 * 0x1p20), 1.281552),
      (UInt64(0.6 * 0x1p20), 0.253347),
    ] as [(UInt64, Double)] {
      // The probability is rounded to 2^-20, which moves the quantile by that over the density.
      let tolerance =
        2e-6 + 0x1p-20 / (exp(-z * z / 2) / sqrt(2 * .pi)) * (numerator == (1 << 20) - 1 ? 0 : 1)
      #expect(abs(double(.normalQuantile(numerator, bits: 20)) - z) < tolerance, "\(z)")
      #expect(abs(double(.normalQuantile((1 << 20) - numerator, bits: 20)) + z) < tolerance, "-\(z)")
    }
    // Beyond six standard deviations another polynomial begins.
    #expect(abs(double(.normalQuantile((1 << 36) - 1, bits: 36)) - 6.651035) < 1e-4)
  }

  @Test func theyAreTheSameToTheLastBitEverywhere() {
    var raw: [UInt64] = []
    for number in 1...500 as ClosedRange<UInt64> {
      raw.append(UInt64(bitPattern: FixedPoint.logarithm(of: number * number * 977).raw))
      raw.append(FixedPoint(raw: Int64(number) << 46).exponential)
      raw.append(UInt64(bitPattern: FixedPoint.normalQuantile(number << 11, bits: 20).raw))
      raw.append(UInt64(bitPattern: FixedPoint(raw: Int64(number) << 40).squareRoot.raw))
    }
    #expect(traceHash(raw) == 17_999_195_494_354_116_364)
  }
}
