// The part of the map that a controller without enough memory holds.

/// Pieces of the map, as large as what a miss fetches, the one used longest ago leaving first (DFTL: Gupta,
/// Kim, Urgaonkar, ASPLOS 2009). Reads alone are charged for misses: writing back what writes changed costs
/// nothing here.
struct MapCache: Sendable {
  private let capacity: Int
  /// A piece has `1 << shift` entries.
  private let shift: UInt32
  private var count = 0
  /// A ring through the cached pieces, from the one used last on; `absent` for others.
  private var next: [UInt32]
  private var previous: [UInt32]
  private var newest = noIndex
  private static let absent = UInt32.max

  /// - Parameter fetch: bytes of a piece, a power of two; an entry takes four.
  init(bytes: UInt64, fetch: UInt64, logicalPages: Int) {
    shift = UInt32((fetch / 4).trailingZeroBitCount)
    let pieces = (logicalPages + Int(fetch / 4) - 1) >> Int(shift)
    capacity = Int(min(bytes / fetch, UInt64(pieces)))
    next = Array(repeating: Self.absent, count: pieces)
    previous = next
  }

  /// The pieces of the map with the entries of logical pages.
  func pieces(of pages: ClosedRange<UInt32>) -> ClosedRange<UInt32> {
    pages.lowerBound >> shift...pages.upperBound >> shift
  }

  /// Whether it is there; it is the one used last, then.
  mutating func use(_ piece: UInt32) -> Bool {
    guard next[Int(piece)] != Self.absent else { return false }
    guard piece != newest else { return true }
    unlink(piece)
    link(piece)
    return true
  }

  mutating func insert(_ piece: UInt32) {
    guard !use(piece) else { return }
    if count == capacity {
      let oldest = previous[Int(newest)]
      unlink(oldest)
      next[Int(oldest)] = Self.absent
      count -= 1
    }
    link(piece)
    count += 1
  }

  private mutating func unlink(_ piece: UInt32) {
    let (before, after) = (previous[Int(piece)], next[Int(piece)])
    next[Int(before)] = after
    previous[Int(after)] = before
    if newest == piece { newest = after == piece ? noIndex : after }
  }

  private mutating func link(_ piece: UInt32) {
    if newest == noIndex {
      next[Int(piece)] = piece
      previous[Int(piece)] = piece
    } else {
      let oldest = previous[Int(newest)]
      next[Int(piece)] = newest
      previous[Int(piece)] = oldest
      next[Int(oldest)] = piece
      previous[Int(newest)] = piece
    }
    newest = piece
  }
}
