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

/// The pending events, the earliest first, in two heaps.
///
/// Nothing that happens in the background (the dies' work for collection, and what is suspended) ends a
/// request, nor does what it starts before `backgroundSlack` has gone by. Whoever drives the model need not
/// wake for each of these: they are most of the events of a drive that collects.
struct SSDEvents: Sendable {
  private var foreground = SSDEventHeap()
  private var background = SSDEventHeap()
  private var order: UInt64 = 0
  private let backgroundSlack: UInt64

  init(backgroundSlack: UInt64) { self.backgroundSlack = backgroundSlack }

  mutating func makeUnique() {
    foreground.makeUnique()
    background.makeUnique()
  }

  var count: Int { foreground.count + background.count }

  /// The host hears of nothing earlier.
  @inline(__always) var nextWake: UInt64? {
    switch (foreground.first?.time, background.first?.time) {
    case (let time?, let hidden?): min(time, hidden + backgroundSlack)
    case (nil, let hidden?): hidden + backgroundSlack
    case (let time, nil): time
    }
  }

  mutating func insert(
    _ kind: SSDEvent.Kind, _ index: UInt32, at time: UInt64, generation: UInt16 = 0,
    inBackground: Bool = false
  ) {
    let event = SSDEvent(time: time, order: order, index: index, generation: generation, kind: kind)
    order &+= 1
    if inBackground { background.insert(event) } else { foreground.insert(event) }
  }

  /// Removes the next event if it is due.
  mutating func pop(until now: UInt64) -> SSDEvent? {
    if let hidden = background.first, foreground.first.map({ hidden < $0 }) ?? true {
      return hidden.time <= now ? background.removeFirst() : nil
    }
    guard let next = foreground.first, next.time <= now else { return nil }
    return foreground.removeFirst()
  }
}

/// A binary heap of plain values.
///
/// `Simulation.EventQueue` would do the same at twice the size: keys of one device need no device.
private struct SSDEventHeap: Sendable {
  private var heap = Table<SSDEvent>()
  private(set) var count = 0

  @inline(__always) var first: SSDEvent? { count == 0 ? nil : heap[0] }

  mutating func makeUnique() { heap.makeUnique() }

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
      if child + 1 < count, heap[child + 1] < heap[child] { child += 1 }
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
      guard event < heap[parent] else { break }
      heap[hole] = heap[parent]
      hole = parent
    }
    heap[hole] = event
  }
}
