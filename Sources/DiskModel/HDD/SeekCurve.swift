// How long the arm takes for a distance, in integers.

/// A seek curve: measured, or fitted. Distances in cylinders, times in nanoseconds; no distance takes
/// none.
package enum SeekCurve: Equatable, Sendable {
  /// Measured points in order of distance, linear between them and beyond the last.
  case table(distances: [UInt64], times: [UInt64])
  /// `a + b sqrt(d)` below the knee, `c + e d` from there on (Ruemmler and Wilkes, 1994).
  ///
  /// `slope` is for 1,000 cylinders, in nanoseconds, so that fractions of one for each cylinder count.
  case twoPiece(knee: UInt64, base: UInt64, root: UInt64, farBase: UInt64, slope: UInt64)
  /// From a data sheet's minimum, average and maximum (Lee's three parameters; DiskSim manual, B.5.1).
  case lee(minimum: UInt64, average: UInt64, full: UInt64)
  /// `minimum + (full - minimum) sqrt(d / cylinders)`, with the full stroke that gives the average.
  case root(minimum: UInt64, average: UInt64)

  /// The time for `distance` of a drive with `cylinders`; `guess` speeds up roots, and is kept for the next.
  func travel(_ distance: UInt64, cylinders: UInt64, guess: inout UInt64) -> UInt64 {
    guard distance > 0 else { return 0 }
    let longest = max(1, cylinders - 1)
    switch self {
    case .table(let distances, let times):
      return Self.interpolated(distance, distances, times)
    case .twoPiece(let knee, let base, let root, let farBase, let slope):
      guard distance < knee else { return farBase + scaled(slope, by: distance, over: 1_000) }
      guess = squareRoot(distance << 40, near: guess)
      return base + scaled(root, by: guess, over: 1 << 20)
    case .lee(let minimum, let average, let full):
      let root = (15 * average - 10 * minimum - 5 * full) / 3
      let stroke = max(1, longest - 1)
      guess = Self.root(of: min(distance, longest) - 1, over: stroke, near: guess)
      let curved = minimum + scaled(root, by: guess, over: 1 << 31)
      // The linear part may fall; the curve as a whole does not (`isSound`).
      let (rise, fall) = (7 * minimum + 8 * full, 15 * average)
      let share = scaled(
        rise > fall ? rise - fall : fall - rise, by: min(distance, longest) - 1, over: 3 * stroke)
      return rise > fall ? curved + share : curved - share
    case .root(let minimum, let average):
      guess = Self.root(of: min(distance, longest), over: longest, near: guess)
      return minimum + scaled((average - minimum) * 15 / 8, by: guess, over: 1 << 31)
    }
  }

  /// One time, without a neighbour's root.
  package func travel(_ distance: UInt64, cylinders: UInt64) -> UInt64 {
    var guess: UInt64 = 0
    return travel(distance, cylinders: cylinders, guess: &guess)
  }

  /// Whether a fitted curve rises everywhere; measured ones are taken as they are.
  var isSound: Bool {
    switch self {
    case .table: return true
    case .twoPiece(let knee, let base, let root, let farBase, let slope):
      let before = base + scaled(root, by: squareRoot(knee << 40, near: 0), over: 1 << 20)
      let after = farBase + scaled(slope, by: knee, over: 1_000)
      // Fits of measured curves meet to a few percent.
      return before <= after + after / 32
    case .lee(let minimum, let average, let full):
      guard 15 * average >= 10 * minimum + 5 * full, full >= minimum else { return false }
      // Half the root's coefficient and the linear one: the slope at the far end.
      return 15 * average - 10 * minimum - 5 * full + 14 * minimum + 16 * full >= 30 * average
    case .root(let minimum, let average): return average >= minimum
    }
  }

  private static func interpolated(_ distance: UInt64, _ distances: [UInt64], _ times: [UInt64]) -> UInt64 {
    guard distance > distances[0], distances.count > 1 else { return times[0] }
    // The first point that is not before the distance, or the last one.
    var (low, high) = (1, distances.count - 1)
    while low < high {
      let middle = (low + high) / 2
      if distances[middle] < distance { low = middle + 1 } else { high = middle }
    }
    let (x, y) = (distances[low - 1], times[low - 1])
    let width = distances[low] - x
    if times[low] >= y { return y + scaled(times[low] - y, by: distance - x, over: width) }
    let fall = scaled(y - times[low], by: distance - x, over: width)
    return y - min(y, fall)
  }

  /// `sqrt(part / whole)` in units of 2^-31.
  private static func root(of part: UInt64, over whole: UInt64, near guess: UInt64) -> UInt64 {
    squareRoot(scaled(1 << 62, by: part, over: whole), near: guess)
  }
}
