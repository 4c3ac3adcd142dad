// A disk: bytes from an image, times from a model.
package import DiskImage
package import DiskModel
package import Glibc
package import Simulation
package import Telemetry

/// The core state machine of one disk: requests go in, answers come out, now or at the model's time.
///
/// It has no thread, no socket and no clock of its own: whoever owns it says what time it is. The data of a
/// request moves when it is submitted, in the order of submission; a model only decides when the answer may
/// be seen.
package final class Device {
  /// Its name in configurations and reports.
  package let name: String
  /// Its place in the order of events that happen at one time.
  package let identifier: UInt32
  package let image: any DiskImage
  package private(set) var statistics = DeviceStatistics()
  /// Whether a write is durable when it completes, because nobody will ask for a flush.
  package var isWriteThrough = false
  /// Takes one line when the host fails a request.
  package var log: (String) -> Void = { _ in }

  private var model: (any DiskModel)?
  private let completionLog: CompletionLog
  private var nextSequence: UInt64 = 0
  private var pending: [UInt64: Pending] = [:]
  private var due = EventQueue()
  private var finished: [ModelCompletion] = []

  private struct Pending {
    var request: BlockRequest
    var status: BlockStatus
    var submitted: SimulationTime
  }

  /// - Parameter model: nil completes every request when it is made.
  package init(
    name: String, identifier: UInt32, image: any DiskImage, model: (any DiskModel)?, log: CompletionLog
  ) {
    self.name = name
    self.identifier = identifier
    self.image = image
    self.model = model
    completionLog = log
  }

  /// Length in bytes.
  package var size: UInt64 { image.size }

  /// Whether everything but reads and flushes is refused.
  package var isReadOnly: Bool { image.isReadOnly }

  /// When `advance` has something to do; nil for never.
  package var nextWake: SimulationTime? {
    switch (due.nextTime, model?.nextWake) {
    case (let a?, let b?): min(a, b)
    case (let a, let b): a ?? b
    }
  }

  /// Takes a request at `now`, moves its data, and appends its answer if it is complete.
  /// - Parameter data: where a read's bytes go or a write's come from; `request.length` bytes in all.
  package func submit(
    _ request: BlockRequest, data: UnsafeBufferPointer<iovec>, at now: SimulationTime,
    into completions: inout [BlockCompletion]
  ) {
    let sequence = nextSequence
    nextSequence += 1
    let entry = Pending(request: request, status: move(request, data), submitted: now)
    guard model != nil, let operation = ModelRequest.Operation(request.operation) else {
      return complete(entry, sequence, at: now, into: &completions)
    }
    pending[sequence] = entry
    model?.submit(
      ModelRequest(operation: operation, offset: request.offset, length: request.length, sequence: sequence),
      at: now, into: &finished)
    schedule()
  }

  /// Appends the answers that are due at `now`, in their order.
  package func advance(to now: SimulationTime, into completions: inout [BlockCompletion]) {
    if let wake = model?.nextWake, wake <= now {
      model?.advance(to: now, into: &finished)
      schedule()
    }
    while let (key, sequence) = due.popDue(at: now) {
      guard let entry = pending.removeValue(forKey: sequence) else { continue }
      complete(entry, sequence, at: key.time, into: &completions)
    }
  }

  /// Appends the answers of everything that waits, in order, as if it were all due now: its ring stops.
  package func completePending(at now: SimulationTime, into completions: inout [BlockCompletion]) {
    advance(to: now, into: &completions)
    for sequence in pending.keys.sorted() {
      guard let entry = pending.removeValue(forKey: sequence) else { continue }
      complete(entry, sequence, at: now, into: &completions)
    }
    due = EventQueue()
  }

  /// Forgets the requests that wait for their time: their front-end has gone. Their data stays where it is.
  package func forgetPending() {
    pending.removeAll()
    due = EventQueue()
  }

  private func schedule() {
    for one in finished { due.insert(one.sequence, at: EventKey(time: one.time, sequence: one.sequence)) }
    finished.removeAll(keepingCapacity: true)
  }

  private func complete(
    _ entry: Pending, _ sequence: UInt64, at now: SimulationTime, into completions: inout [BlockCompletion]
  ) {
    let request = entry.request
    statistics.record(request, entry.status, latency: now.since(entry.submitted))
    completionLog.append(
      CompletionLog.Record(
        completed: now, submitted: entry.submitted, sequence: sequence, offset: request.offset,
        length: request.length, disk: identifier, operation: UInt16(request.operation.rawValue),
        status: UInt16(entry.status.rawValue)))
    completions.append(BlockCompletion(tag: request.tag, status: entry.status))
  }

  /// Moves the bytes now. A failure is the request's alone.
  private func move(_ request: BlockRequest, _ data: UnsafeBufferPointer<iovec>) -> BlockStatus {
    let end = request.offset.addingReportingOverflow(request.length)
    guard !end.overflow, end.partialValue <= image.size else { return .ioError }
    if image.isReadOnly, request.operation != .read, request.operation != .flush { return .ioError }
    do {
      switch request.operation {
      case .read: try image.read(at: request.offset, into: data)
      case .write:
        try image.write(at: request.offset, from: data)
        if isWriteThrough { try image.flush() }
      case .flush: if !image.isReadOnly { try image.flush() }
      case .discard: try image.discard(request.offset..<end.partialValue)
      case .writeZeroes:
        try image.writeZeroes(request.offset..<end.partialValue, unmap: request.mayUnmap)
      }
      return .ok
    } catch {
      log(
        "disk '\(name)': \(request.operation) of \(request.length) bytes at \(request.offset) failed: "
          + "\(error)"
      )
      return .ioError
    }
  }
}

extension ModelRequest.Operation {
  fileprivate init?(_ operation: BlockRequest.Operation) {
    switch operation {
    case .read: self = .read
    case .write: self = .write
    case .flush: self = .flush
    case .discard: self = .discard
    case .writeZeroes: self = .writeZeroes
    }
  }
}
