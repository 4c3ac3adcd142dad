// Arithmetic that does not overflow and knows no fractions.

/// `value * factor / divisor`, in 128 bits between, rounded down; the result fits by the callers' limits.
func scaled(_ value: UInt64, by factor: UInt64, over divisor: UInt64) -> UInt64 {
  let product = value.multipliedFullWidth(by: factor)
  guard product.high < divisor else { return .max }
  return divisor.dividingFullWidth(product).quotient
}

/// The largest number whose square is at most `value`, by Newton's method from `guess`.
func squareRoot(_ value: UInt64, near guess: UInt64) -> UInt64 {
  guard value > 1 else { return value }
  var root = guess == 0 ? 1 << UInt64((65 - value.leadingZeroBitCount) / 2) : guess
  while true {
    let quotient = value / root
    let next = root > quotient ? root - (root - quotient) / 2 : root + (quotient - root) / 2
    if next == root || next == root + 1 { break }
    root = next
  }
  while value / root < root { root -= 1 }
  while value / (root + 1) >= root + 1 { root += 1 }
  return root
}

/// Division of numbers that are not negative, rounded up.
@inline(__always)
func roundedUp(_ dividend: Int, _ divisor: Int) -> Int { (dividend + divisor - 1) / divisor }
