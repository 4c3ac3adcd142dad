// Logarithms and their like without floating point: the same on every machine, to the last bit.

/// A number from -32,768 to 32,768 with 48 binary places; the arithmetic rounds to nearest and does not trap,
/// so whoever uses it stays within that range.
///
/// The C library's `exp` and `log` differ in the last bit from one version to the next.
package struct FixedPoint: Equatable, Comparable, Sendable {
  package let raw: Int64

  package init(raw: Int64) { self.raw = raw }

  package init(_ whole: Int) { raw = Int64(whole) << 48 }

  /// - Parameter denominator: not zero.
  package init(_ numerator: Int64, over denominator: Int64) {
    raw = Int64(truncatingIfNeeded: (Int128(numerator) << 48) / Int128(denominator))
  }

  package static func < (a: FixedPoint, b: FixedPoint) -> Bool { a.raw < b.raw }

  package static func + (a: FixedPoint, b: FixedPoint) -> FixedPoint { FixedPoint(raw: a.raw &+ b.raw) }

  package static func - (a: FixedPoint, b: FixedPoint) -> FixedPoint { FixedPoint(raw: a.raw &- b.raw) }

  package static prefix func - (a: FixedPoint) -> FixedPoint { FixedPoint(raw: 0 &- a.raw) }

  package static func * (a: FixedPoint, b: FixedPoint) -> FixedPoint {
    let (high, low) = a.raw.multipliedFullWidth(by: b.raw)
    return FixedPoint(raw: (high << 16 | Int64(low >> 48)) &+ Int64(low >> 47 & 1))
  }

  package static func / (a: FixedPoint, b: FixedPoint) -> FixedPoint { FixedPoint(a.raw, over: b.raw) }

  /// ln 2.
  private static let ln2 = FixedPoint(raw: 195_103_586_505_167)

  /// The natural logarithm of a whole number, of 0 as of 1. Within 2^-42.
  ///
  /// ln m = 2 artanh((m - 1) / (m + 1)), for the number scaled by a power of two to lie about 1.
  package static func logarithm(of number: UInt64) -> FixedPoint {
    guard number > 1 else { return FixedPoint(0) }
    var exponent = 63 - number.leadingZeroBitCount
    var mantissa = FixedPoint(raw: Int64((number << UInt64(63 - exponent)) >> 15))
    // More than the square root of two.
    if mantissa.raw > 398_065_729_532_861 {
      mantissa = FixedPoint(raw: mantissa.raw >> 1)
      exponent += 1
    }
    let one = FixedPoint(1)
    let s = (mantissa - one) / (mantissa + one)
    let square = s * s
    var sum = one
    var power = square
    var odd: Int64 = 3
    while power.raw != 0 {
      sum = sum + FixedPoint(raw: power.raw / odd)
      power = power * square
      odd += 2
    }
    let fraction = s * sum
    return FixedPoint(raw: Int64(exponent) &* ln2.raw &+ 2 &* fraction.raw)
  }

  /// e to this power, rounded to a whole number; what does not fit is `UInt64.max`. Within 2^-40 of itself.
  package var exponential: UInt64 {
    // Rounded down, also below zero.
    let exponent = raw >= 0 ? raw / Self.ln2.raw : -((Self.ln2.raw - 1 - raw) / Self.ln2.raw)
    guard exponent >= -1 else { return 0 }
    guard exponent < 63 else { return .max }
    let rest = FixedPoint(raw: raw - exponent * Self.ln2.raw)
    var sum = FixedPoint(1)
    // Horner's scheme: 1 + r (1 + r/2 (1 + r/3 (…))).
    for n in stride(from: Int64(18), through: 1, by: -1) {
      sum = FixedPoint(1) + FixedPoint(raw: (rest * sum).raw / n)
    }
    let mantissa = UInt64(sum.raw)
    let shift = 48 - exponent
    return shift > 0 ? (mantissa + 1 << UInt64(shift - 1)) >> UInt64(shift) : mantissa << UInt64(-shift)
  }

  /// Of a number that is not negative; rounded down.
  package var squareRoot: FixedPoint {
    guard raw > 0 else { return FixedPoint(0) }
    let square = UInt128(raw) << 48
    var root = UInt128(1) << UInt128((128 - square.leadingZeroBitCount + 1) / 2)
    while true {
      let next = (root + square / root) >> 1
      guard next < root else { return FixedPoint(raw: Int64(root)) }
      root = next
    }
  }

  /// How many standard deviations from the mean a normal variable stays below, with the probability
  /// `numerator / 2^bits`, which is neither 0 nor 1. Within 10^-6.
  ///
  /// Algorithm AS 241, PPND7 (Wichura, Applied Statistics 37, 1988).
  package static func normalQuantile(_ numerator: UInt64, bits: Int) -> FixedPoint {
    let one = UInt64(1) << UInt64(bits)
    let p = FixedPoint(raw: Int64(numerator << UInt64(48 - bits)))
    let q = p - FixedPoint(1, over: 2)
    if abs(q.raw) <= FixedPoint(425, over: 1000).raw {
      let r = FixedPoint(180_625, over: 1_000_000) - q * q
      return q * polynomial(r, center.above) / polynomial(r, center.below)
    }
    let tail = min(numerator, one - numerator)
    var r = (logarithm(of: one) - logarithm(of: tail)).squareRoot
    let value: FixedPoint
    if r <= FixedPoint(5) {
      r = r - FixedPoint(16, over: 10)
      value = polynomial(r, near.above) / polynomial(r, near.below)
    } else {
      r = r - FixedPoint(5)
      value = polynomial(r, far.above) / polynomial(r, far.below)
    }
    return q.raw < 0 ? -value : value
  }

  private typealias Ratio = (above: [FixedPoint], below: [FixedPoint])

  private static let center: Ratio = (
    billionths([3_387_132_718, 50_434_271_938, 159_291_132_020, 59_109_374_720]),
    billionths([1_000_000_000, 17_895_169_469, 78_757_757_664, 67_187_563_600])
  )
  private static let near: Ratio = (
    billionths([1_423_437_278, 2_756_815_390, 1_306_728_482, 170_238_211]),
    billionths([1_000_000_000, 737_001_643, 120_211_330])
  )
  private static let far: Ratio = (
    billionths([6_657_905_115, 3_081_226_386, 428_682_943, 17_337_204]),
    billionths([1_000_000_000, 241_978_942, 12_258_203])
  )

  private static func billionths(_ numbers: [Int64]) -> [FixedPoint] {
    numbers.map { FixedPoint($0, over: 1_000_000_000) }
  }

  /// Coefficients from the constant on.
  private static func polynomial(_ x: FixedPoint, _ coefficients: [FixedPoint]) -> FixedPoint {
    var sum = FixedPoint(0)
    for coefficient in coefficients.reversed() { sum = sum * x + coefficient }
    return sum
  }
}
