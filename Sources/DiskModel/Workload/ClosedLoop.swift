// A model at work without a disk.
package import Simulation

/// What is asked of a model: `depth` requests at a time, the next one when one is done.
package struct ModelWorkload: Sendable {
  package enum Pattern: String, CaseIterable, Sendable { case sequential, random }
  package var pattern: Pattern
  package var operation: ModelRequest.Operation
  /// Bytes of each request; offsets are multiples of it.
  package var blockSize: UInt64
  package var depth: Int
  package var count: Int
  /// The bytes of the disk that are used.
  package var range: Range<UInt64>

  package init(
    _ pattern: Pattern, _ operation: ModelRequest.Operation, blockSize: UInt64 = 4096, depth: Int = 1,
    count: Int, range: Range<UInt64>
  ) {
    self.pattern = pattern
    self.operation = operation
    self.blockSize = blockSize
    self.depth = depth
    self.count = count
    self.range = range
  }
}

/// Drives a model by its own times, as a host with `depth` outstanding requests would.
package struct ClosedLoop {
  package private(set) var now: SimulationTime
  private var sequence: UInt64 = 0

  package init(from start: SimulationTime = .zero) { now = start }

  /// Runs a workload to its last completion.
  /// - Parameter each: takes a request, when it was submitted and when it was done, in order of completion.
  package mutating func run(
    _ workload: ModelWorkload, on model: inout some DiskModel, stream: RandomStream,
    each: (ModelRequest, SimulationTime, SimulationTime) -> Void
  ) {
    var stream = stream
    var waiting = RequestsUnderWay(depth: workload.depth)
    var due = EventQueue()
    var finished: [ModelCompletion] = []
    let blocks = (workload.range.upperBound - workload.range.lowerBound) / workload.blockSize
    precondition(blocks > 0, "a workload's range holds one block at least")
    var issued = 0

    func issue(_ model: inout some DiskModel) {
      let index = workload.pattern == .random ? stream.next(upperBound: blocks) : UInt64(issued) % blocks
      let request = ModelRequest(
        operation: workload.operation, offset: workload.range.lowerBound + index * workload.blockSize,
        length: workload.operation == .flush ? 0 : workload.blockSize, sequence: sequence)
      sequence += 1
      issued += 1
      waiting.insert(request, now)
      model.submit(request, at: now, into: &finished)
    }

    func schedule() {
      guard !finished.isEmpty else { return }
      for one in finished { due.insert(one.sequence, at: EventKey(time: one.time, sequence: one.sequence)) }
      finished.removeAll(keepingCapacity: true)
    }

    for _ in 0..<min(workload.depth, workload.count) { issue(&model) }
    schedule()
    while !waiting.isEmpty {
      let wake = model.nextWake
      guard let next = earlier(due.nextTime, wake) else {
        preconditionFailure("the model has requests and no next event")
      }
      now = next
      if let wake, wake <= now {
        model.advance(to: now, into: &finished)
        schedule()
      }
      while let (key, done) = due.popDue(at: now) {
        guard let entry = waiting.remove(done) else {
          preconditionFailure("request \(done) completes twice")
        }
        each(entry.request, entry.submitted, key.time)
        if issued < workload.count { issue(&model) }
      }
      schedule()
    }
  }
}

/// Requests by their sequence numbers, which are nearly consecutive: a table that doubles while two of them
/// meet in one place. A dictionary's hashes would take longer than some models.
private struct RequestsUnderWay {
  private var slots: [(request: ModelRequest, submitted: SimulationTime)?]
  private var count = 0

  init(depth: Int) {
    var size = 64
    while size < 2 * depth { size *= 2 }
    slots = Array(repeating: nil, count: size)
  }

  var isEmpty: Bool { count == 0 }

  private func place(_ sequence: UInt64) -> Int {
    Int(truncatingIfNeeded: sequence & UInt64(slots.count - 1))
  }

  mutating func insert(_ request: ModelRequest, _ submitted: SimulationTime) {
    while slots[place(request.sequence)] != nil {
      let old = slots
      slots = Array(repeating: nil, count: 2 * old.count)
      for case let entry? in old { slots[place(entry.request.sequence)] = entry }
    }
    slots[place(request.sequence)] = (request, submitted)
    count += 1
  }

  mutating func remove(_ sequence: UInt64) -> (request: ModelRequest, submitted: SimulationTime)? {
    guard let entry = slots[place(sequence)], entry.request.sequence == sequence else { return nil }
    slots[place(sequence)] = nil
    count -= 1
    return entry
  }
}
