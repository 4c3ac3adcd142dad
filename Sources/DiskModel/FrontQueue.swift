// How many requests a device takes at once.
package import Simulation

/// Any model behind a queue of limited depth: what is beyond waits here in its order, and its wait is part of
/// its latency, counted apart.
///
/// A place is free from the moment of a completion on, before anything else of that moment.
package struct FrontQueue<Model: DiskModel>: DiskModel {
  private var model: Model
  private let depth: Int
  /// In the device, their ends known or not.
  private var inside = 0
  /// The known ends of those inside.
  private var ends = EventQueue()
  /// Those that wait; the first of them is at `head`.
  private var waiting: [(request: ModelRequest, since: SimulationTime)] = []
  private var head = 0
  /// Ends that the model told last; kept for its memory.
  private var told: [ModelCompletion] = []
  private var waits: UInt64 = 0
  private var waitedTime: UInt64 = 0

  package init(_ model: Model, depth: Int) {
    precondition(depth > 0)
    self.model = model
    self.depth = depth
  }

  package var minimumLatency: SimulationDuration { model.minimumLatency }

  package var nextWake: SimulationTime? {
    let next = head < waiting.count ? ends.nextTime : nil
    guard let wake = model.nextWake else { return next }
    return next.map { min($0, wake) } ?? wake
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
    while true {
      let time: SimulationTime
      switch (ends.nextTime, model.nextWake) {
      case (let end?, let wake?): time = min(end, wake)
      case (let end?, nil): time = end
      case (nil, let wake?): time = wake
      case (nil, nil): return
      }
      guard time <= now else { return }
      while ends.popDue(at: time) != nil { inside -= 1 }
      if let wake = model.nextWake, wake <= time {
        model.advance(to: time, into: &told)
        take(&finished)
      }
      while inside < depth, head < waiting.count {
        let (request, since) = waiting[head]
        head += 1
        waitedTime &+= time.since(since).nanoseconds
        start(request, at: time, into: &finished)
      }
      if head == waiting.count {
        waiting.removeAll(keepingCapacity: true)
        head = 0
      } else if head >= 1024, head >= waiting.count / 2 {
        waiting.removeFirst(head)
        head = 0
      }
    }
  }

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

  private mutating func take(_ finished: inout [ModelCompletion]) {
    for one in told { ends.insert(0, at: EventKey(time: one.time, sequence: one.sequence)) }
    finished.append(contentsOf: told)
    told.removeAll(keepingCapacity: true)
  }
}
