// Division by a number that stays the same.

/// Divides numbers below 2³² by a fixed divisor with one multiplication.
///
/// Every page that moves is taken apart into line, unit, stripe and die: half a dozen divisions, of which the
/// processor's own would take most of the time of a request.
struct Divider: Sendable {
  let divisor: UInt32
  /// ⌈2⁶⁴ / divisor⌉; exact for dividends below 2³² (Granlund, Montgomery: "Division by Invariant Integers
  /// using Multiplication", 1994). Zero for one, whose reciprocal does not fit.
  private let reciprocal: UInt64

  init(_ divisor: Int) {
    precondition(divisor > 0 && divisor <= UInt32.max)
    self.divisor = UInt32(divisor)
    reciprocal = divisor == 1 ? 0 : UInt64.max / UInt64(divisor) + 1
  }

  @inline(__always) func quotient(_ value: UInt32) -> UInt32 {
    reciprocal == 0
      ? value : UInt32(truncatingIfNeeded: UInt64(value).multipliedFullWidth(by: reciprocal).high)
  }

  @inline(__always) func split(_ value: UInt32) -> (quotient: UInt32, remainder: UInt32) {
    let quotient = quotient(value)
    return (quotient, value &- quotient &* divisor)
  }

  @inline(__always) func remainder(_ value: UInt32) -> UInt32 { split(value).remainder }
}
