// Events of which there may be any number.

/// A binary heap of plain values, the earliest first.
///
/// `Simulation.EventQueue` would do the same at twice the size: keys of one device need no device.
struct SSDEventHeap: Sendable {
  private var heap = Table<SSDEvent>()
  private(set) var count = 0

  mutating func makeUnique() { heap.makeUnique() }

  @inline(__always) var first: SSDEvent? { count == 0 ? nil : heap[0] }

  mutating func insert(_ event: SSDEvent) {
    if count == heap.count { heap.grow(by: event) }
    count += 1
    rise(event, from: count - 1)
  }

  /// - Precondition: there is one.
  mutating func removeFirst() -> SSDEvent {
    let first = heap[0]
    count -= 1
    // The last one nearly always belongs near the bottom: the hole goes there without a look at it.
    var (hole, child) = (0, 1)
    while child < count {
      if child + 1 < count, heap[child + 1].key < heap[child].key { child += 1 }
      heap[hole] = heap[child]
      hole = child
      child = 2 * hole + 1
    }
    rise(heap[count], from: hole)
    return first
  }

  @inline(__always) private mutating func rise(_ event: SSDEvent, from index: Int) {
    var hole = index
    while hole > 0 {
      let parent = (hole - 1) >> 1
      guard event.key < heap[parent].key else { break }
      heap[hole] = heap[parent]
      hole = parent
    }
    heap[hole] = event
  }
}
