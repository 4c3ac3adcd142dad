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
    var waiting: [UInt64: (request: ModelRequest, submitted: SimulationTime)] = [:]
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
      waiting[request.sequence] = (request, now)
      model.submit(request, at: now, into: &finished)
    }

    func schedule() {
      for one in finished { due.insert(one.sequence, at: EventKey(time: one.time, sequence: one.sequence)) }
      finished.removeAll(keepingCapacity: true)
    }

    for _ in 0..<min(workload.depth, workload.count) { issue(&model) }
    schedule()
    while !waiting.isEmpty {
      guard let next = [due.nextTime, model.nextWake].compactMap({ $0 }).min() else {
        preconditionFailure("the model has requests and no next event")
      }
      now = next
      if let wake = model.nextWake, wake <= now { model.advance(to: now, into: &finished) }
      schedule()
      while let (key, done) = due.popDue(at: now) {
        guard let entry = waiting.removeValue(forKey: done) else {
          preconditionFailure("request \(done) completes twice")
        }
        each(entry.request, entry.submitted, key.time)
        if issued < workload.count { issue(&model) }
      }
      schedule()
    }
  }
}
