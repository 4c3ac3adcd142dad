// Who may write where in a file, among the engines that work on it.
import Glibc
import Linux

/// A list of ranges of one file that are being written, shared by all engines: whoever reads a block in order
/// to write it back excludes all others from it; plain writes exclude only such.
///
/// First come, first served: a range is granted when nothing that came before is in its way, so that nobody
/// starves. An operation holds one range, takes it before anything else it waits for, and keeps it to its
/// end: nobody waits in a circle.
final class RangeLocks: Sendable {
  /// Names a range that was taken.
  struct Ticket: Equatable {
    fileprivate let number: UInt64
  }

  private struct Entry {
    let number: UInt64
    let range: Range<UInt64>
    let isExclusive: Bool
    var isGranted: Bool
    let owner: WakeUp

    func isInTheWay(of other: Entry) -> Bool {
      (isExclusive || other.isExclusive) && range.overlaps(other.range)
    }
  }

  private struct State {
    var entries: [Entry] = []
    var lastNumber: UInt64 = 0
    var waiting = 0
  }

  private let state = Guarded(State())
  private let granularity: UInt64

  /// - Parameter block: what may be read and written back; a page of the page cache, at least.
  init(block: Int) { granularity = UInt64(max(block, Limits.pageBytes)) }

  /// Asks for a range, which is held or waited for until `release`.
  /// - Returns: the ticket, and whether the range is held; otherwise `owner` is woken when it is.
  func take(_ range: Range<UInt64>, exclusive: Bool, for owner: WakeUp) -> (Ticket, isGranted: Bool) {
    // Pages, so that one that is written through the page cache is nobody else's either.
    let mask = granularity - 1
    let wide = range.lowerBound & ~mask..<(range.upperBound + mask) & ~mask
    return state.withLock { state in
      state.lastNumber += 1
      var entry = Entry(
        number: state.lastNumber, range: wide, isExclusive: exclusive, isGranted: false, owner: owner)
      entry.isGranted = !state.entries.contains { $0.isInTheWay(of: entry) }
      state.entries.append(entry)
      if !entry.isGranted { state.waiting += 1 }
      return (Ticket(number: entry.number), entry.isGranted)
    }
  }

  /// Whether a range that was waited for is held by now.
  func isGranted(_ ticket: Ticket) -> Bool {
    state.withLock { state in
      state.entries.contains { $0.number == ticket.number && $0.isGranted }
    }
  }

  /// Gives a range back, and wakes those who waited for it.
  func release(_ ticket: Ticket) {
    state.withLock { state in
      guard let released = state.entries.firstIndex(where: { $0.number == ticket.number }) else { return }
      let range = state.entries.remove(at: released).range
      guard state.waiting > 0 else { return }
      for index in released..<state.entries.count {
        let entry = state.entries[index]
        guard !entry.isGranted, entry.range.overlaps(range) else { continue }
        guard !state.entries[..<index].contains(where: { $0.isInTheWay(of: entry) }) else { continue }
        state.entries[index].isGranted = true
        state.waiting -= 1
        entry.owner.wake()
      }
    }
  }
}
