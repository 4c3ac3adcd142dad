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
  /// Equal times: in the order of insertion. In steps that leave room for the number of a die.
  var order: UInt64
  var index: UInt32
  var generation: UInt16
  var kind: Kind

  /// As many as there are dies at most.
  static let orderStep: UInt64 = 1 << 16

  @inline(__always) var key: UInt128 { UInt128(time) << 64 | UInt128(order) }
}

/// The pending events, the earliest first.
///
/// Nothing that happens in the background (the dies' work for collection, and what is suspended) ends a
/// request, nor does what it starts before `backgroundSlack` has gone by. Whoever drives the model need not
/// wake for each of these: they are most of the events of a drive that collects.
struct SSDEvents: Sendable {
  private var foreground = SSDEventHeap()
  private var background: DieEvents
  private var order: UInt64 = 0
  private let backgroundSlack: UInt64

  init(dies: Int, backgroundSlack: UInt64) {
    background = DieEvents(dies: dies)
    self.backgroundSlack = backgroundSlack
  }

  mutating func makeUnique() {
    foreground.makeUnique()
    background.makeUnique()
  }

  var count: Int { foreground.count + background.count }
  var isFair: Bool { background.isFair }

  /// The host hears of nothing earlier.
  @inline(__always) var nextWake: UInt64? {
    let hidden = background.firstTime.map { $0 + backgroundSlack }
    guard let first = foreground.first else { return hidden }
    return min(first.time, hidden ?? .max)
  }

  mutating func insert(_ kind: SSDEvent.Kind, _ index: UInt32, at time: UInt64, generation: UInt16 = 0) {
    foreground.insert(event(kind, index, time, generation))
  }

  /// In the background each die has one event, the latest that was inserted.
  mutating func insert(
    _ kind: SSDEvent.Kind, _ index: UInt32, at time: UInt64, generation: UInt16, inBackgroundOf die: Int
  ) {
    background.set(event(kind, index, time, generation), of: die)
  }

  @inline(__always) private mutating func event(
    _ kind: SSDEvent.Kind, _ index: UInt32, _ time: UInt64, _ generation: UInt16
  ) -> SSDEvent {
    order &+= SSDEvent.orderStep
    return SSDEvent(time: time, order: order, index: index, generation: generation, kind: kind)
  }

  /// Removes the next event if it is due.
  @inline(__always) mutating func pop(until now: UInt64) -> SSDEvent? {
    background.settle()
    if let first = foreground.first, first.key < background.first {
      return first.time <= now ? foreground.removeFirst() : nil
    }
    guard let time = background.firstTime, time <= now else { return nil }
    return background.removeFirst()
  }
}
