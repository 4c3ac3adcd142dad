// What happens next: pending events in one total order.
internal import HeapModule

/// The order of events: time, then priority (lower first), then device, then sequence.
///
/// The same in every transport: nothing of it depends on when a message arrived.
package struct EventKey: Hashable, Comparable, Sendable {
  package var time: SimulationTime
  package var priority: UInt8
  package var device: UInt32
  package var sequence: UInt64

  package init(time: SimulationTime, priority: UInt8 = 0, device: UInt32 = 0, sequence: UInt64) {
    self.time = time
    self.priority = priority
    self.device = device
    self.sequence = sequence
  }

  package static func < (a: EventKey, b: EventKey) -> Bool {
    if a.time != b.time { return a.time < b.time }
    if a.priority != b.priority { return a.priority < b.priority }
    if a.device != b.device { return a.device < b.device }
    return a.sequence < b.sequence
  }
}

/// Pending events, the next one first.
///
/// Keys must be distinct: the heap is not stable, the sequence number makes the order total. An event is
/// known by a number of its owner's: a generic queue would not be specialised across modules.
package struct EventQueue {
  private struct Entry: Comparable {
    let key: EventKey
    let payload: UInt64
    static func < (a: Entry, b: Entry) -> Bool { a.key < b.key }
    static func == (a: Entry, b: Entry) -> Bool { a.key == b.key }
  }

  private var heap = Heap<Entry>()
  /// When the next event is due; nil when there is none. Kept: it is asked for more often than it changes.
  package private(set) var nextTime: SimulationTime?

  package init() {}

  package var count: Int { heap.count }
  package var isEmpty: Bool { heap.isEmpty }

  /// Adds an event. - Complexity: O(log n)
  package mutating func insert(_ payload: UInt64, at key: EventKey) {
    heap.insert(Entry(key: key, payload: payload))
    nextTime = min(nextTime ?? .never, key.time)
  }

  /// Removes the next event if it is due at `now` or earlier. - Complexity: O(log n)
  package mutating func popDue(at now: SimulationTime) -> (key: EventKey, payload: UInt64)? {
    guard let nextTime, nextTime <= now else { return nil }
    let next = heap.removeMin()
    self.nextTime = heap.min?.key.time
    return (next.key, next.payload)
  }
}
