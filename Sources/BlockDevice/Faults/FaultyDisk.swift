// A disk with faults: what stands between a device and its image.
import BlockIO
package import DiskImage
import Glibc
package import Simulation

/// Takes the requests of one device to its image, with what goes wrong on the way.
///
/// A state machine like the device: told the time, never asking for it. Without a power cut among the faults,
/// changes reach the image when they are submitted, as they do without faults. With one there is a write
/// cache in memory, and the image holds what is durable: writes that a flush covered which has completed,
/// those that were durable when they completed, and what the cache had no room for.
///
/// Files: this one holds the state and its events in time, `+Requests` decides and moves bytes, `+Cache` is
/// about what is durable when.
package final class FaultyDisk {
  /// What happened to the disk as a whole.
  package struct Event: Equatable {
    package let time: SimulationTime
    package let fault: String
    package let kind: FaultKind
    /// Whether the node's machine loses its power with the disk.
    package let isOfNode: Bool
  }

  enum State: Equatable {
    case works
    /// No power; with what requests are answered until there is a new client.
    case off(Fault.Answer)
    case removed
  }

  package let name: String
  let image: any DiskImage
  /// Takes each decision.
  package var log: (FaultRecord) -> Void = { _ in }
  /// Takes one line when the host fails a request.
  package var report: (String) -> Void = { _ in }
  /// How many decisions were made.
  package private(set) var decisions: UInt64 = 0

  var faults: [ArmedFault]
  var replay: FaultReplay?
  var state = State.works
  /// There is a new client: the power comes back with its first request.
  private var hasNewClient = false

  /// nil without a power cut in the plan.
  var cache: VolatileCache?
  /// Counts what completes, so that a flush knows what was complete before it.
  var completions: UInt64 = 0
  /// By the sequence of a flush under way: which completions were before it; nil for one that lies.
  var covers: [UInt64: UInt64?] = [:]
  var cannotPersist = false

  var history: PageHistory?
  /// Pages that use space; nil without `no-space` in the plan.
  var usedPages: SectorBitmap?
  var usedPageCount: UInt64 = 0
  /// By fault: the window of the last stall that was logged.
  private var loggedStalls: [String: SimulationTime] = [:]

  /// - Parameters:
  ///   - name: the disk's, with its node's: random numbers are derived from it.
  ///   - replay: decisions of an earlier run, which are then not made but repeated.
  package init(
    _ plan: FaultPlan, name: String, image: any DiskImage, seed: UInt64, replay: FaultReplay? = nil
  ) throws(FaultError) {
    try plan.validate()
    try plan.validate(size: image.size)
    self.name = name
    self.image = image
    self.replay = replay
    faults = plan.faults.map { ArmedFault($0, disk: name, seed: seed, size: image.size) }
    if let cut = plan.faults.first(where: { $0.kind == .powerCut }) {
      cache = VolatileCache(costMax: cut.cache)
    }
    if let stale = plan.faults.filter({ $0.kind == .staleRead }).map(\.history).max() {
      history = PageHistory(bytesMax: stale)
    }
    if plan.faults.contains(where: { $0.kind == .noSpace }) {
      usedPages = SectorBitmap(unitCount: (image.size + Limits.faultPage - 1) / Limits.faultPage)
    }
  }

  // MARK: - The disk as a whole

  /// Lets happen what was due by `now` without a request.
  package func pass(to now: SimulationTime) -> Event? {
    guard state == .works, let (time, index) = nextDue, time <= now else { return nil }
    return happen(index, at: time, request: nil)
  }

  /// When `pass` has something to do.
  package var nextWake: SimulationTime? { state == .works ? nextDue?.time : nil }

  private var nextDue: (time: SimulationTime, index: Int)? {
    var next: (time: SimulationTime, index: Int)?
    for (index, armed) in faults.enumerated() {
      // The power of a node goes when somebody says so; what only follows from another disk's event, too.
      guard !armed.fault.isOfNode, armed.fault.isTimed else { continue }
      let due = replay.map { $0.nextTime(of: armed.fault) } ?? armed.due
      if let due, next.map({ due < $0.time }) ?? true { next = (due, index) }
    }
    return next
  }

  /// The power goes with that of the node: the fault of this name, at another disk, says so.
  package func cutPower(named name: String, at now: SimulationTime) {
    guard state == .works, let index = faults.firstIndex(where: { $0.fault.name == name }) else { return }
    _ = happen(index, at: now, request: nil)
  }

  /// A power cut or a removal.
  func happen(_ index: Int, at now: SimulationTime, request: FaultRecord?) -> Event {
    let fault = faults[index].fault
    var record =
      request ?? FaultRecord(time: now, disk: name, request: nil, fault: fault.name, kind: fault.kind)
    let replayed =
      request == nil ? replay?.takeTimed(fault.name) : replay?.decision(fault.name, record.request)
    if request == nil { faults[index].spend() }
    if fault.kind == .powerCut {
      record.parameters = losePower(faults[index], replaying: replay == nil ? nil : .some(replayed))
      state = .off(fault.answer)
    } else {
      state = .removed
    }
    note(record)
    return Event(time: now, fault: fault.name, kind: fault.kind, isOfNode: fault.isOfNode)
  }

  /// Another client has come: if the power was off, it is back for it.
  package func attach() {
    hasNewClient = true
    // What the last one did not wait for is done all the same.
    completions += 1
    cache?.completeAll(completion: completions)
    covers.removeAll()
  }

  /// The first request of a client.
  func welcome() {
    guard hasNewClient else { return }
    hasNewClient = false
    if case .off = state { state = .works }
  }

  /// The end of a stall that keeps a request from completing at `time`; nil if none does.
  package func stall(at time: SimulationTime, request sequence: UInt64) -> SimulationTime? {
    var end: SimulationTime?
    for armed in faults where armed.fault.kind == .stall {
      let found = replay.map { $0.stall(of: armed.fault, at: time) } ?? armed.activeWindow(at: time)
      guard let window = found else { continue }
      end = max(end ?? .zero, window.upperBound)
      guard loggedStalls.updateValue(window.lowerBound, forKey: armed.fault.name) != window.lowerBound else {
        continue
      }
      var record = FaultRecord(
        time: window.lowerBound, disk: name, request: sequence, fault: armed.fault.name, kind: .stall)
      record.parameters = [.init("until", [window.upperBound.nanoseconds])]
      note(record)
    }
    return end
  }

  func note(_ record: FaultRecord) {
    decisions += 1
    log(record)
  }

  /// Writes back what is in the cache, and closes the image.
  package func close(at now: SimulationTime) throws(DiskImageError) {
    _ = pass(to: now)
    if state == .works || state == .removed { writeBack() }
    try image.close()
  }
}
