// Who must wait until a page is complete.

/// One request of one lane.
struct Waiter: Equatable, Sendable {
  /// Which lane of the disk.
  let lane: Int
  /// Which request of the lane.
  let slot: Int
}

/// The pages that are being written for the first time, and the writes that wait for them.
///
/// Such a write copies what it leaves of a page; another write to the page at the same time would be lost
/// under the copy, or count before its page is complete. Reads need not wait: until the page counts, they
/// read what was there before.
struct Gate {
  /// In bytes of the disk, of whole pages; no two overlap.
  private var touched: [Range<UInt64>] = []
  private var waiting: [(pages: Range<UInt64>, waiter: Waiter)] = []
  /// How many of `touched` are in each block, of those with the same remainder: most questions end here.
  private var counts = [UInt16](repeating: 0, count: Gate.countsLength)

  private static let countsLength = 1024
  private static let blockBits: UInt64 = 16

  /// Whether a write to some of these pages must wait.
  func isClosed(_ pages: Range<UInt64>) -> Bool {
    guard !touched.isEmpty, Gate.places(pages).contains(where: { counts[Gate.index($0)] > 0 }) else {
      return false
    }
    return touched.contains { $0.overlaps(pages) }
  }

  /// A first write to these pages, for which nobody is to wait, is under way.
  mutating func close(_ pages: Range<UInt64>) {
    touched.append(pages)
    for place in Gate.places(pages) { counts[Gate.index(place)] += 1 }
  }

  /// It is over; appends those that waited for it.
  mutating func open(_ pages: Range<UInt64>, woken: inout [Waiter]) {
    guard let index = touched.firstIndex(of: pages) else { preconditionFailure("a gate was not closed") }
    touched.swapAt(index, touched.count - 1)
    touched.removeLast()
    for place in Gate.places(pages) { counts[Gate.index(place)] -= 1 }
    guard !waiting.isEmpty else { return }
    waiting.removeAll { entry in
      guard entry.pages.overlaps(pages) else { return false }
      woken.append(entry.waiter)
      return true
    }
  }

  /// A write waits for one of these pages.
  mutating func wait(_ pages: Range<UInt64>, _ waiter: Waiter) { waiting.append((pages, waiter)) }

  private static func index(_ place: UInt64) -> Int { Int(place & UInt64(countsLength - 1)) }

  private static func places(_ pages: Range<UInt64>) -> ClosedRange<UInt64> {
    let first = pages.lowerBound >> blockBits
    let last = (pages.upperBound - 1) >> blockBits
    return first...min(last, first + UInt64(countsLength) - 1)
  }
}
