// One event for each die.

/// A tournament of the dies for the earliest event: when a die has another one, the matches on its way to the
/// final are played again.
///
/// A heap takes fewer steps, but in each of them the processor has to guess who comes first. Here it has
/// nothing to guess.
struct DieEvents: Sendable {
  /// By die, up to a power of two.
  private var events: Table<SSDEvent>
  /// The winners' keys with their dies in the bits that `order` leaves; `max` for none. Match n is between
  /// the winners of 2n and 2n + 1, and the last half are the dies themselves.
  private var winners: Table<UInt128>
  /// The die whose event was removed: nearly always it gets another one, and plays but once.
  private var removed = noIndex

  init(dies: Int) {
    var size = 2
    while size < dies { size *= 2 }
    let none = SSDEvent(time: .max, order: .max, index: noIndex, generation: 0, kind: .dieDone)
    events = Table(repeating: none, count: size)
    winners = Table(repeating: .max, count: 2 * size)
  }

  mutating func makeUnique() {
    events.makeUnique()
    winners.makeUnique()
  }

  // MARK: After `settle`

  var count: Int { winners.suffix(events.count).count { $0 != .max } }

  /// Whether the earlier one won each match; for tests.
  var isFair: Bool {
    (1..<events.count).allSatisfy { winners[$0] == min(winners[2 * $0], winners[2 * $0 + 1]) }
  }

  /// The key of the first event; `max` for none.
  @inline(__always) var first: UInt128 { winners[1] }
  @inline(__always) var firstTime: UInt64? {
    first == .max ? nil : UInt64(truncatingIfNeeded: first >> 64)
  }

  /// - Precondition: there is one.
  @inline(__always) mutating func removeFirst() -> SSDEvent {
    removed = UInt32(truncatingIfNeeded: first & UInt128(SSDEvent.orderStep - 1))
    return events[Int(removed)]
  }

  // MARK: At any time

  @inline(__always) mutating func settle() {
    if removed != noIndex { play(.max, Int(removed)) }
  }

  @inline(__always) mutating func set(_ event: SSDEvent, of die: Int) {
    events[die] = event
    play(event.key | UInt128(die), die)
  }

  private mutating func play(_ key: UInt128, _ die: Int) {
    if removed == UInt32(die) { removed = noIndex }
    var (match, winner) = (events.count + die, key)
    winners[match] = winner
    while match > 1 {
      // The lesser of the two, written so that the compiler makes no branch of it.
      let (difference, isLess) = winners[match ^ 1].subtractingReportingOverflow(winner)
      let mask: UInt64 = 0 &- (isLess ? 1 : 0)
      winner &+= difference & (UInt128(mask) << 64 | UInt128(mask))
      match >>= 1
      winners[match] = winner
    }
  }
}
