// Sizes and rates with units.

/// Units of bytes: powers of 1024 with an `i`, of 1000 without.
enum ByteUnit {
  /// Larger ones first, `B` last: every unit ends in that.
  private static let units: [(name: String, scale: UInt64)] = [
    ("TiB", 1 << 40), ("TB", 1_000_000_000_000), ("GiB", 1 << 30), ("GB", 1_000_000_000), ("MiB", 1 << 20),
    ("MB", 1_000_000), ("KiB", 1 << 10), ("kB", 1_000), ("B", 1),
  ]

  /// `4096`, `4096B`, `64KiB`; nil for anything else, and for what does not fit.
  static func bytes(_ text: some StringProtocol) -> UInt64? {
    let (unit, scale) = units.first { text.hasSuffix($0.name) } ?? ("", 1)
    guard let number = UInt64(text.dropLast(unit.count)) else { return nil }
    let (product, overflow) = number.multipliedReportingOverflow(by: scale)
    return overflow ? nil : product
  }

  /// `500MB/s`; nil for anything else, for zero and for what does not fit.
  static func bandwidth(_ text: some StringProtocol) -> UInt64? {
    guard text.hasSuffix("B/s"), let rate = bytes(text.dropLast(2)), rate > 0 else { return nil }
    return rate
  }

  /// In the largest unit that needs no fraction.
  static func describe(bandwidth: UInt64) -> String {
    let (unit, scale) = units.first { bandwidth % $0.scale == 0 } ?? ("B", 1)
    return "\(bandwidth / scale)\(unit)/s"
  }
}
