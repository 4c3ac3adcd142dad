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
  /// Called when the power has gone of the node that the disk belongs to.
  package var onPowerCut: ((FaultyDisk.Event) -> Void)?

  var model: (any DiskModel)?
  /// What goes wrong; nil, and without any cost, if nothing does.
  let faults: FaultyDisk?
  private let completionLog: CompletionLog
  private var nextSequence: UInt64 = 0
  var pending: [UInt64: Pending] = [:]
  var due = EventQueue()
  private var finished: [ModelCompletion] = []

  struct Pending {
    var request: BlockRequest
    var status: BlockStatus
    var submitted: SimulationTime
    /// What faults made of it: why it fails, whether it ever completes, how late.
    var code: CInt = 0
    var isHung = false
    var slowness: Slowness?
  }

  /// - Parameters:
  ///   - model: nil completes every request when it is made.
  ///   - faults: over the same image.
  package init(
    name: String, identifier: UInt32, image: any DiskImage, model: (any DiskModel)?, log: CompletionLog,
    faults: FaultyDisk? = nil
  ) {
    self.name = name
    self.identifier = identifier
    self.image = image
    self.model = model
    self.faults = faults
    completionLog = log
  }

  /// Length in bytes.
  package var size: UInt64 { image.size }

  /// What its model has counted of its own up to `now`; nothing without a model.
  package func modelCounters(at now: SimulationTime) -> [ModelCounter] {
    model?.catchUp(to: now)
    return model?.counters ?? []
  }

  /// Whether everything but reads and flushes is refused.
  package var isReadOnly: Bool { image.isReadOnly }

  /// When `advance` has something to do; nil for never.
  package var nextWake: SimulationTime? {
    let wake: SimulationTime? =
      switch (due.nextTime, model?.nextWake) {
      case (let a?, let b?): min(a, b)
      case (let a, let b): a ?? b
      }
    return faults == nil ? wake : nextWake(besides: wake)
  }

  /// Takes a request at `now`, moves its data, and appends its answer if it is complete.
  /// - Parameter data: where a read's bytes go or a write's come from; `request.length` bytes in all.
  package func submit(
    _ request: BlockRequest, data: UnsafeBufferPointer<iovec>, at now: SimulationTime,
    into completions: inout [BlockCompletion]
  ) {
    let sequence = nextSequence
    nextSequence += 1
    var entry = Pending(request: request, status: .ok, submitted: now)
    if let faults {
      guard let taken = take(entry, sequence, data, faults, into: &completions) else { return }
      entry = taken
    } else {
      entry.status = move(request, data)
    }
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
    if let faults { follow(faults.pass(to: now), into: &completions) }
    if let wake = model?.nextWake, wake <= now {
      model?.advance(to: now, into: &finished)
      schedule()
    }
    while let (key, sequence) = due.popDue(at: now) {
      if let faults, let end = faults.stall(at: key.time, request: sequence) {
        due.insert(sequence, at: EventKey(time: end, sequence: sequence))
        continue
      }
      guard let entry = pending.removeValue(forKey: sequence) else { continue }
      complete(entry, sequence, at: key.time, into: &completions)
    }
  }

  /// Appends the answers of everything that waits, in order, as if it were all due now: its ring stops.
  package func completePending(at now: SimulationTime, into completions: inout [BlockCompletion]) {
    advance(to: now, into: &completions)
    for sequence in pending.keys.sorted() {
      guard let entry = pending.removeValue(forKey: sequence), !entry.isHung else { continue }
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
    for one in finished {
      let time = faults == nil ? one.time : completionTime(of: one)
      due.insert(one.sequence, at: EventKey(time: time, sequence: one.sequence))
    }
    finished.removeAll(keepingCapacity: true)
  }

  func complete(
    _ entry: Pending, _ sequence: UInt64, at now: SimulationTime, into completions: inout [BlockCompletion]
  ) {
    var entry = entry
    let request = entry.request
    if let faults {
      entry.status = faults.complete(
        request, sequence: sequence, status: entry.status, isForced: isForced(request))
    }
    statistics.record(request, entry.status, latency: now.since(entry.submitted))
    completionLog.append(
      CompletionLog.Record(
        completed: now, submitted: entry.submitted, sequence: sequence, offset: request.offset,
        length: request.length, disk: identifier, operation: UInt16(request.operation.rawValue),
        status: UInt16(entry.status.rawValue)))
    completions.append(BlockCompletion(tag: request.tag, status: entry.status, code: entry.code))
  }

  /// Whether a request lies within the disk, and changes nothing that may not be changed.
  func isAcceptable(_ request: BlockRequest) -> Bool {
    let end = request.offset.addingReportingOverflow(request.length)
    guard !end.overflow, end.partialValue <= image.size else { return false }
    return !image.isReadOnly || request.operation == .read || request.operation == .flush
  }

  /// Moves the bytes now. A failure is the request's alone.
  private func move(_ request: BlockRequest, _ data: UnsafeBufferPointer<iovec>) -> BlockStatus {
    guard isAcceptable(request) else { return .ioError }
    let end = request.offset + request.length
    do {
      switch request.operation {
      case .read: try image.read(at: request.offset, into: data)
      case .write:
        try image.write(at: request.offset, from: data)
        if isWriteThrough { try image.flush() }
      case .flush: if !image.isReadOnly { try image.flush() }
      case .discard: try image.discard(request.offset..<end)
      case .writeZeroes:
        try image.writeZeroes(request.offset..<end, unmap: request.mayUnmap)
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
