// How many requests a device takes at once.
package import Simulation

/// Any model behind a queue of limited depth: what is beyond waits here in its order, and its wait is part of
/// its latency, counted apart.
///
/// A place is free from the moment of a completion on, before anything else of that moment.
package struct FrontQueue: DiskModel {
  // Not generic: a generic model in an existential is never specialised.
  private var model: any DiskModel
  /// The model's, as it said last: it is looked at several times for each of its events.
  private var wake: SimulationTime?
  private let depth: Int
  /// In the device, their ends known or not.
  private var inside = 0
  /// The known ends of those inside.
  private var ends = EventQueue()
  /// Those that wait, in their order.
  private var waiting = Fifo<(request: ModelRequest, since: SimulationTime)>()
  /// Ends that the model told last; kept for its memory.
  private var told: [ModelCompletion] = []
  private var waits: UInt64 = 0
  private var waitedTime: UInt64 = 0

  package init(_ model: any DiskModel, depth: Int) {
    precondition(depth > 0)
    self.model = model
    self.depth = depth
    wake = model.nextWake
  }

  package var minimumLatency: SimulationDuration { model.minimumLatency }

  package var nextWake: SimulationTime? {
    earlier(waiting.isEmpty ? nil : ends.nextTime, wake)
  }

  package mutating func submit(
    _ request: ModelRequest, at now: SimulationTime, into finished: inout [ModelCompletion]
  ) {
    advance(to: now, into: &finished)
    guard inside < depth else {
      waits += 1
      waiting.append((request, now))
      return
    }
    start(request, at: now, into: &finished)
  }

  package mutating func advance(to now: SimulationTime, into finished: inout [ModelCompletion]) {
    while let time = earlier(ends.nextTime, wake), time <= now {
      while ends.popDue(at: time) != nil { inside -= 1 }
      if let wake, wake <= time {
        model.advance(to: time, into: &told)
        take(&finished)
      }
      while inside < depth, let (request, since) = waiting.popFirst() {
        waitedTime &+= time.since(since).nanoseconds
        start(request, at: time, into: &finished)
      }
    }
  }

  package mutating func catchUp(to now: SimulationTime) { model.catchUp(to: now) }

  package var placement: String? { model.placement }

  package var counters: [ModelCounter] {
    [ModelCounter("queue_waits", waits), ModelCounter("queue_wait_ns", waitedTime)] + model.counters
  }

  private mutating func start(
    _ request: ModelRequest, at time: SimulationTime, into finished: inout [ModelCompletion]
  ) {
    inside += 1
    model.submit(request, at: time, into: &told)
    take(&finished)
  }

  /// After every call of the model.
  private mutating func take(_ finished: inout [ModelCompletion]) {
    wake = model.nextWake
    guard !told.isEmpty else { return }
    for one in told { ends.insert(0, at: EventKey(time: one.time, sequence: one.sequence)) }
    finished.append(contentsOf: told)
    told.removeAll(keepingCapacity: true)
  }
}

/// The earlier of two times that need not be.
@inline(__always)
func earlier(_ a: SimulationTime?, _ b: SimulationTime?) -> SimulationTime? {
  guard let a, let b else { return a ?? b }
  return min(a, b)
}
