// A hard disk: one arm over turning platters, a queue, and two caches.
package import Simulation

/// A hard disk as a state machine of its own events.
///
/// The arm serves one thing at a time; what is next is decided when it becomes free, never earlier, so that
/// every request that has arrived by then is considered. The platter's angle is a pure function of time: it
/// is right after any idle time. Write-back and read-ahead go on by themselves and are worked out when
/// somebody looks; only requests that wait ask for a wake-up.
///
/// Limits: the bus serves cache hits and cached writes one after another, but the transfers of media accesses
/// go beside them. Sectors lie in their place: no defects, no spares within a zone.
package struct HDDModel: DiskModel {
  package let parameters: HDDParameters
  /// Which drive this is, and where the disk lies on it.
  package let placement: String?
  package let minimumLatency: SimulationDuration

  let geometry: HDDGeometry
  let seeks: SeekTable
  private let firstSector: UInt64
  /// The platter's angle at time zero, as a time within a revolution.
  let phase: UInt64
  let turning: Turning

  // The arm.
  /// When `operation` ends.
  var armFreeAt: UInt64 = 0
  var operation = Operation.none
  var armCylinder: Int32 = 0
  var armHead: Int32 = 0
  /// The sector after the last one that passed.
  var armSector: UInt64 = 0
  var stream: HDDStream?
  /// Of when the arm last read or wrote, or was to stop reading on.
  var lastFooting = HDDFooting(known: 0, free: 0)
  /// The arm's own present: when it last became free, or the last arrival while it was.
  var time: UInt64 = 0

  // The queue.
  var window: [Pending] = []
  var overflow = Fifo<Pending>()
  var nextOrder: UInt64 = 0

  // Caches and the bus.
  var segments: SegmentCache
  var dirty: DirtyExtents
  var candidates: [DirtyExtents.Cursor] = []
  /// Sectors of the cache that are on their way to the medium.
  var inWriteBack: UInt64 = 0
  /// Writes that wait for space in the cache.
  var stalled = Fifo<Arrived>()
  /// Whether a request of the queue is next before another forced write-back.
  var owesTurn = false
  var busFreeAt: UInt64 = 0

  // The flush that holds everything else.
  var flush: (sequence: UInt64, readyAt: UInt64)?
  var held = Fifo<Arrived>()

  var counts = HDDCounts()

  /// What the arm does until `armFreeAt`.
  enum Operation: Sendable {
    case none
    /// A read of `start` to `armSector`, the last of which passes at `end`; then the head may read on.
    case read(start: UInt64, end: UInt64)
    case write
    case writeBack
    /// Reading on for a request that continues the stream.
    case stream
  }

  /// A request in whole sectors of the drive.
  struct Arrived: Sendable {
    var operation: ModelRequest.Operation
    var isForced: Bool
    var sequence: UInt64
    var start: UInt64
    var end: UInt64
    /// The bytes that the guest named.
    var length: UInt64
  }

  /// A request that waits for the arm.
  struct Pending: Sendable {
    var sequence: UInt64
    var order: UInt64
    var arrival: UInt64
    var start: UInt64
    var end: UInt64
    var place: HDDPlace
    /// Of its first sector; a time within a revolution.
    var angle: Int32
    var isRead: Bool
    /// From arrival, or from the decision, to the start of the seek.
    var overhead: UInt64
    /// The same, to the earliest start of writing.
    var loaded: UInt64
  }

  package init(_ parameters: HDDParameters, for context: ModelContext) throws(DiskModelError) {
    let layout = try HDDLayout(parameters, diskSize: context.diskSize)
    self.parameters = parameters
    placement = layout.description
    geometry = layout.geometry
    seeks = layout.seeks
    firstSector = layout.firstSector
    turning = Turning(revolution: parameters.revolution)
    var stream = context.stream("phase")
    phase = parameters.isPhaseRandom ? stream.next(upperBound: parameters.revolution) : 0
    segments = SegmentCache(capacity: parameters.segments, length: parameters.segmentSectors)
    dirty = DirtyExtents(keepsAges: parameters.writeBackWindow > 0)
    window.reserveCapacity(parameters.depth)
    minimumLatency = SimulationDuration(nanoseconds: Self.leastLatency(parameters))
  }

  /// What the cheapest request costs.
  private static func leastLatency(_ parameters: HDDParameters) -> UInt64 {
    let most = parameters.zones.reduce(1) { max($0, $1.sectorsPerTrack) }
    let medium = parameters.revolution / UInt64(most)
    let hit = parameters.hitOverhead + parameters.bus(1)
    let read = min(hit, parameters.readOverhead + medium)
    let write = min(hit, parameters.writeOverhead + medium)
    return min(read, write, parameters.flushOverhead, parameters.discardOverhead)
  }

  package var nextWake: SimulationTime? {
    guard let wake = wakeTime else { return nil }
    return SimulationTime(nanoseconds: wake)
  }

  var isArmFree: Bool { if case .none = operation { true } else { false } }

  private var wakeTime: UInt64? {
    if isArmFree {
      // Only a flush's own time is left.
      guard let flush else { return nil }
      return max(time, flush.readyAt)
    }
    let waits = !window.isEmpty || !stalled.isEmpty || flush != nil
    return waits ? armFreeAt : nil
  }

  package mutating func submit(
    _ request: ModelRequest, at now: SimulationTime, into finished: inout [ModelCompletion]
  ) {
    catchUp(to: now.nanoseconds, into: &finished)
    time = max(time, now.nanoseconds)
    let arrived = arrival(of: request)
    if flush != nil {
      counts.held += 1
      held.append(arrived)
      return
    }
    admit(arrived, at: now.nanoseconds, into: &finished)
    catchUp(to: now.nanoseconds, into: &finished)
  }

  package mutating func advance(to now: SimulationTime, into finished: inout [ModelCompletion]) {
    catchUp(to: now.nanoseconds, into: &finished)
  }

  /// In sectors, at least one, all of them on the drive: whoever sends worse gets an error elsewhere.
  private func arrival(of request: ModelRequest) -> Arrived {
    let last = geometry.sectors - 1
    let start = min(firstSector &+ request.offset / 512, last)
    let (byteEnd, overflow) = request.offset.addingReportingOverflow(request.length)
    let rounded = byteEnd / 512 + (byteEnd % 512 == 0 ? 0 : 1)
    let end = overflow ? geometry.sectors : min(firstSector &+ rounded, geometry.sectors)
    return Arrived(
      operation: request.operation, isForced: request.isForced, sequence: request.sequence, start: start,
      end: max(start + 1, end), length: request.length)
  }

  /// Everything that happens until `now`, in order of time.
  private mutating func catchUp(to now: UInt64, into finished: inout [ModelCompletion]) {
    while true {
      if !isArmFree {
        guard armFreeAt <= now else { return }
        time = armFreeAt
        finishOperation()
      }
      if !stalled.isEmpty { admitStalled(into: &finished) }
      if startOperation(into: &finished) { continue }
      guard let flush, max(time, flush.readyAt) <= now else { return }
      time = max(time, flush.readyAt)
      finishFlush(flush.sequence, into: &finished)
    }
  }

  /// Does what is next at `time`, when the arm is free; false if there is nothing.
  private mutating func startOperation(into finished: inout [ModelCompletion]) -> Bool {
    if !window.isEmpty {
      if !owesTurn, !dirty.isEmpty, isCacheTight {
        writeBack()
        owesTurn = true
      } else {
        owesTurn = false
        let next = takeNext()
        serve(next, into: &finished)
      }
      return true
    }
    guard !dirty.isEmpty else { return false }
    writeBack()
    owesTurn = true
    return true
  }

  /// Whether the cache must be written back though somebody waits for the arm.
  private var isCacheTight: Bool {
    !stalled.isEmpty || (dirty.sectors + inWriteBack) * 4 > parameters.writeCacheSectors * 3
  }

  private mutating func finishFlush(_ sequence: UInt64, into finished: inout [ModelCompletion]) {
    finished.append(ModelCompletion(sequence: sequence, time: SimulationTime(nanoseconds: time)))
    flush = nil
    // What was held comes now, in order, until the next flush holds the rest.
    while flush == nil, let next = held.popFirst() { admit(next, at: time, into: &finished) }
  }

  package var counters: [ModelCounter] { counts.list }
}
