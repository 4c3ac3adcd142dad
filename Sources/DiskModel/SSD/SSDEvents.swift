// What happens next inside a drive.

/// A stage of a request or of a flash operation that ends.
struct SSDEvent {
  enum Kind: UInt8 {
    /// The firmware has looked at a read; `index` is the request.
    case readReady
    /// The same of a write.
    case writeReady
    /// A write's bytes are in the buffer.
    case writeArrived
    /// The flash page is in the die's register; `index` is the operation.
    case sensed
    /// A chunk has crossed the channel.
    case transferred
    /// A program or an erase has ended, unless it was suspended: then the `generation` is an old one.
    case dieDone
    /// A die has come to where it can suspend; `index` is the die.
    case suspended
    /// A flush that is not queued begins: all before it is done.
    case flushBegins
    /// It ends: what it held goes on.
    case flushEnds
  }

  var time: UInt64
  /// Equal times: in the order of insertion.
  var order: UInt64
  var index: UInt32
  var generation: UInt16
  var kind: Kind

  @inline(__always) static func < (a: SSDEvent, b: SSDEvent) -> Bool {
    a.time != b.time ? a.time < b.time : a.order < b.order
  }
}

/// The pending events, the earliest first: a binary heap of plain values.
///
/// `Simulation.EventQueue` would do the same at twice the size: keys of one device need no device.
struct SSDEventHeap: Sendable {
  private var heap: [SSDEvent] = []
  private var order: UInt64 = 0

  init() { heap.reserveCapacity(256) }

  var count: Int { heap.count }

  @inline(__always) var nextTime: UInt64? { heap.isEmpty ? nil : heap[0].time }

  mutating func insert(_ kind: SSDEvent.Kind, _ index: UInt32, at time: UInt64, generation: UInt16 = 0) {
    let event = SSDEvent(time: time, order: order, index: index, generation: generation, kind: kind)
    order &+= 1
    var hole = heap.count
    heap.append(event)
    while hole > 0 {
      let parent = (hole - 1) >> 1
      guard event < heap[parent] else { break }
      heap[hole] = heap[parent]
      hole = parent
    }
    heap[hole] = event
  }

  /// Removes the next event if it is due.
  mutating func pop(until now: UInt64) -> SSDEvent? {
    guard let first = heap.first, first.time <= now else { return nil }
    let last = heap.removeLast()
    let count = heap.count
    guard count > 0 else { return first }
    var hole = 0
    while true {
      var child = 2 * hole + 1
      guard child < count else { break }
      if child + 1 < count, heap[child + 1] < heap[child] { child += 1 }
      guard heap[child] < last else { break }
      heap[hole] = heap[child]
      hole = child
    }
    heap[hole] = last
    return first
  }
}
