// Moments when nothing is under way.

/// Counts the requests that move bytes by a plan, and lets one at a time wait until there are none.
///
/// While one waits, or has its moment, new requests are held back: so it waits only for those that were there
/// before.
struct Quiet {
  /// How many requests move bytes by a plan.
  private(set) var busyCount = 0
  private var waiter: Waiter?
  private var held: [Waiter] = []

  /// Whether new requests are held back.
  var holdsBack: Bool { waiter != nil }

  /// A request was planned.
  mutating func begin() { busyCount += 1 }

  /// It is over.
  /// - Returns: whose moment it is now.
  mutating func end() -> Waiter? {
    precondition(busyCount > 0)
    busyCount -= 1
    return busyCount == 0 ? waiter : nil
  }

  /// Somebody waits for the moment; nobody else does.
  mutating func wait(_ waiter: Waiter) {
    precondition(self.waiter == nil && busyCount > 0)
    self.waiter = waiter
  }

  /// A request must wait until the moment is over.
  mutating func hold(_ waiter: Waiter) { held.append(waiter) }

  /// The moment is over; appends those that were held back, in the order in which they came.
  mutating func finish(released: inout [Waiter]) {
    precondition(waiter != nil)
    waiter = nil
    released.append(contentsOf: held)
    held.removeAll(keepingCapacity: true)
  }
}
