// Numbers for people.

/// A number with so many decimals, without a locale.
package func fixed(_ value: Double, _ decimals: Int) -> String {
  var scale = 1.0
  for _ in 0..<decimals { scale *= 10 }
  let scaled = UInt64((value.magnitude * scale).rounded())
  let sign = value < 0 && scaled != 0 ? "-" : ""
  guard decimals > 0 else { return "\(sign)\(scaled)" }
  let digits = String(scaled % UInt64(scale))
  return "\(sign)\(scaled / UInt64(scale))." + String(repeating: "0", count: decimals - digits.count) + digits
}
