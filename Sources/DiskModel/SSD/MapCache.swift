// The part of the map that a controller without enough memory holds.

/// Pages of the map, 1024 entries each, the one used longest ago leaving first (DFTL: Gupta, Kim, Urgaonkar,
/// ASPLOS 2009). Reads alone are charged for misses: writing back what writes changed costs nothing here.
struct MapCache: Sendable {
  private let capacity: Int
  private var count = 0
  /// A ring through the cached pages, from the one used last on; `absent` for others.
  private var next: [UInt32]
  private var previous: [UInt32]
  private var newest = noIndex
  private static let absent = UInt32.max

  /// The page of the map with a logical page's entry.
  static func page(of page: UInt32) -> UInt32 { page >> 10 }

  init(bytes: UInt64, logicalPages: Int) {
    let pages = (logicalPages + 1023) / 1024
    capacity = Int(min(bytes / SSDParameters.pageSize, UInt64(pages)))
    next = Array(repeating: Self.absent, count: pages)
    previous = next
  }

  /// Whether it is there; it is the one used last, then.
  mutating func use(_ page: UInt32) -> Bool {
    guard next[Int(page)] != Self.absent else { return false }
    guard page != newest else { return true }
    unlink(page)
    link(page)
    return true
  }

  mutating func insert(_ page: UInt32) {
    guard !use(page) else { return }
    if count == capacity {
      let oldest = previous[Int(newest)]
      unlink(oldest)
      next[Int(oldest)] = Self.absent
      count -= 1
    }
    link(page)
    count += 1
  }

  private mutating func unlink(_ page: UInt32) {
    let (before, after) = (previous[Int(page)], next[Int(page)])
    next[Int(before)] = after
    previous[Int(after)] = before
    if newest == page { newest = after == page ? noIndex : after }
  }

  private mutating func link(_ page: UInt32) {
    if newest == noIndex {
      next[Int(page)] = page
      previous[Int(page)] = page
    } else {
      let oldest = previous[Int(newest)]
      next[Int(page)] = newest
      previous[Int(page)] = oldest
      next[Int(oldest)] = page
      previous[Int(newest)] = page
    }
    newest = page
  }
}
