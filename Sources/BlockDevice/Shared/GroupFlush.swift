// One flush for all who wait for one.

/// The flush that is under way, and who waits for it or for the next one.
///
/// Writes are counted as they complete. A flush covers those that were complete before it began to
/// synchronise; whoever asks for more shares the next one.
struct GroupFlush {
  /// What somebody who asks has to do.
  enum Answer: Equatable { case isDurable, wait, lead }

  /// How many completed writes are durable.
  private(set) var durable: UInt64 = 0
  private(set) var isUnderWay = false
  /// How many completed writes the flush under way covers; nil while it has not begun to synchronise.
  private var covered: UInt64?
  private var waiting: [Waiter] = []
  private var waitingForNext: [Waiter] = []

  /// Somebody wants the first `target` completed writes to be durable.
  mutating func join(_ target: UInt64, _ waiter: Waiter) -> Answer {
    if target <= durable { return .isDurable }
    guard isUnderWay else {
      isUnderWay = true
      return .lead
    }
    if let covered, target > covered { waitingForNext.append(waiter) } else { waiting.append(waiter) }
    return .wait
  }

  /// The flush under way begins to synchronise.
  mutating func begin(covering writes: UInt64) { covered = writes }

  /// The flush under way is over; appends who waited for it.
  /// - Returns: who leads the next one, if anybody waits for that.
  mutating func end(isDurable: Bool, waiters: inout [Waiter]) -> Waiter? {
    if isDurable, let covered { durable = max(durable, covered) }
    covered = nil
    waiters.append(contentsOf: waiting)
    waiting.removeAll(keepingCapacity: true)
    swap(&waiting, &waitingForNext)
    isUnderWay = !waiting.isEmpty
    return isUnderWay ? waiting.removeFirst() : nil
  }
}
