// A device some of whose requests go wrong.
package import DiskImage
import DiskModel
import Glibc
package import Simulation

extension Device {
  /// How many decisions its faults have made.
  package var faultCount: UInt64 { faults?.decisions ?? 0 }

  /// Another client has come, for which a disk without power has power again.
  package func attach() { faults?.attach() }

  /// The power goes with that of the node: the fault of this name, at another of its disks or at none, says
  /// so.
  package func cutPower(named fault: String, at now: SimulationTime) {
    faults?.cutPower(named: fault, at: now)
    if faults != nil { forgetPending() }
  }

  /// Closes the image; what is in the disk's cache is written back first, for this is an orderly end.
  package func close(at now: SimulationTime) throws(DiskImageError) {
    if let faults { try faults.close(at: now) } else { try image.close() }
  }

  /// Events of the faults matter for what is under way only; the rest is found out by the next request.
  func nextWake(besides wake: SimulationTime?) -> SimulationTime? {
    guard !pending.isEmpty, let event = faults?.nextWake else { return wake }
    return wake.map { min($0, event) } ?? event
  }

  /// Takes a request through the faults.
  /// - Returns: the request if the model has to say when it completes, or if that is now; nil if it is kept,
  ///   or has been answered.
  func take(
    _ entry: Pending, _ sequence: UInt64, _ data: UnsafeBufferPointer<iovec>, _ faults: FaultyDisk,
    into completions: inout [BlockCompletion]
  ) -> Pending? {
    let now = entry.submitted
    var entry = entry
    follow(faults.pass(to: now), into: &completions)
    guard isAcceptable(entry.request) else {
      entry.status = .ioError
      return entry
    }
    let verdict = faults.take(
      entry.request, data: data, sequence: sequence, at: now, isForced: isForced(entry.request))
    (entry.status, entry.code) = (verdict.status, verdict.code)
    (entry.isHung, entry.slowness) = (verdict.isHung, verdict.slowness)
    follow(verdict.event, into: &completions)
    if verdict.isHung {
      pending[sequence] = entry
      return nil
    }
    if verdict.isImmediate {
      complete(entry, sequence, at: now, into: &completions)
      return nil
    }
    guard model == nil else { return entry }
    var time = verdict.slowness?.completion(now, submitted: now) ?? now
    time = faults.stall(at: time, request: sequence) ?? time
    guard time > now else { return entry }
    pending[sequence] = entry
    due.insert(sequence, at: EventKey(time: time, sequence: sequence))
    return nil
  }

  /// What an event means for what is under way.
  func follow(_ event: FaultyDisk.Event?, into completions: inout [BlockCompletion]) {
    guard let event else { return }
    switch event.kind {
    case .powerCut:
      forgetPending()
      if event.isOfNode { onPowerCut?(event) }
    default:
      for sequence in pending.keys.sorted() {
        guard var entry = pending.removeValue(forKey: sequence) else { continue }
        (entry.status, entry.code) = (.ioError, ENODEV)
        complete(entry, sequence, at: event.time, into: &completions)
      }
      due = EventQueue()
    }
  }

  /// When a request completes of which the model has said when.
  func completionTime(of one: ModelCompletion) -> SimulationTime {
    guard let entry = pending[one.sequence] else { return one.time }
    return entry.slowness?.completion(one.time, submitted: entry.submitted) ?? one.time
  }

  func isForced(_ request: BlockRequest) -> Bool { isWriteThrough || request.isDurable }
}
