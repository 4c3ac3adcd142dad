// What bytes cost.

/// Nanoseconds for `bytes` at `rate` bytes per second, rounded up; `UInt64.max` for centuries.
func transferTime(_ bytes: UInt64, at rate: UInt64) -> UInt64 {
  // Nearly always fits 64 bits.
  if bytes < 1 << 33, rate < 1 << 63 { return (bytes &* 1_000_000_000 &+ rate &- 1) / rate }
  let product = bytes.multipliedFullWidth(by: 1_000_000_000)
  guard product.high < rate else { return .max }
  let (quotient, remainder) = rate.dividingFullWidth(product)
  return remainder == 0 || quotient == .max ? quotient : quotient &+ 1
}
