// Points and spans of simulated time.

/// A point of simulated time: nanoseconds since the simulation began.
package struct SimulationTime: Hashable, Comparable, Sendable, CustomStringConvertible {
  package let nanoseconds: UInt64

  @inlinable
  package init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

  /// The beginning of the simulation.
  package static let zero = SimulationTime(nanoseconds: 0)

  /// Past every event: what "never" compares as.
  package static let never = SimulationTime(nanoseconds: .max)

  @inlinable
  package static func < (a: SimulationTime, b: SimulationTime) -> Bool { a.nanoseconds < b.nanoseconds }

  // The library's own would call `<` through a table in other modules.
  @inlinable
  package static func <= (a: SimulationTime, b: SimulationTime) -> Bool { a.nanoseconds <= b.nanoseconds }

  /// The point `span` later; `never` if it does not fit.
  @inlinable
  package static func + (time: SimulationTime, span: SimulationDuration) -> SimulationTime {
    let (sum, overflow) = time.nanoseconds.addingReportingOverflow(span.nanoseconds)
    return overflow ? .never : SimulationTime(nanoseconds: sum)
  }

  /// The span since an earlier point; zero if `earlier` is not earlier.
  @inlinable
  package func since(_ earlier: SimulationTime) -> SimulationDuration {
    SimulationDuration(nanoseconds: nanoseconds > earlier.nanoseconds ? nanoseconds - earlier.nanoseconds : 0)
  }

  package var description: String { "\(nanoseconds) ns" }
}

/// A span of simulated time in nanoseconds.
package struct SimulationDuration: Hashable, Comparable, Sendable, CustomStringConvertible {
  package let nanoseconds: UInt64

  @inlinable
  package init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

  package static let zero = SimulationDuration(nanoseconds: 0)

  @inlinable
  package static func < (a: SimulationDuration, b: SimulationDuration) -> Bool {
    a.nanoseconds < b.nanoseconds
  }

  /// Reads `50us`, `1.5ms`, `2s`, `768ns` or `0`: a number of at most nine decimals and a unit; nil for
  /// anything else, for fractions of a nanosecond, and for what does not fit.
  package init?(parsing text: some StringProtocol) {
    guard let digitsEnd = text.firstIndex(where: { $0 != "." && !($0.isASCII && $0.isNumber) }) else {
      guard text == "0" else { return nil }
      self = .zero
      return
    }
    let unit: UInt64
    switch text[digitsEnd...] {
    case "ns": unit = 1
    case "us", "µs": unit = 1_000
    case "ms": unit = 1_000_000
    case "s": unit = 1_000_000_000
    default: return nil
    }
    let parts = text[..<digitsEnd].split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count <= 2, let whole = UInt64(parts[0]) else { return nil }
    let (scaled, overflow) = whole.multipliedReportingOverflow(by: unit)
    guard !overflow else { return nil }
    var fraction: UInt64 = 0
    if parts.count == 2 {
      guard (1...9).contains(parts[1].count), let digits = UInt64(parts[1]) else { return nil }
      var scale: UInt64 = 1
      for _ in 0..<parts[1].count { scale *= 10 }
      let (product, remainder) = (digits * unit).quotientAndRemainder(dividingBy: scale)
      guard remainder == 0 else { return nil }
      fraction = product
    }
    let (sum, tooLarge) = scaled.addingReportingOverflow(fraction)
    guard !tooLarge else { return nil }
    self.init(nanoseconds: sum)
  }

  /// In the largest unit that needs no fraction: `50us`, `1500us`, `2s`.
  package var description: String {
    switch nanoseconds {
    case 0: "0"
    case let n where n % 1_000_000_000 == 0: "\(n / 1_000_000_000)s"
    case let n where n % 1_000_000 == 0: "\(n / 1_000_000)ms"
    case let n where n % 1_000 == 0: "\(n / 1_000)us"
    default: "\(nanoseconds)ns"
    }
  }
}
