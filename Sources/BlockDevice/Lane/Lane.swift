// One thread's way to a disk.
package import BlockIO
import DiskImage
package import Glibc
import Linux
package import Simulation
import Synchronization

/// The requests that one thread makes to a disk, and the engine that moves their bytes.
///
/// A state machine with one owner, like `Device`, whose requests take their time: they go in by `submit`, and
/// their answers come out of `run`, in any order. It sleeps only in `run`, in its engine.
package final class Lane {
  /// The disk.
  package let device: SharedDevice
  /// What this lane has done; latencies in nanoseconds of the host.
  package private(set) var statistics = DeviceStatistics()

  let engine: any QueuedEngine
  let slots = LaneSlots()
  let number: Int
  private let mailbox: LaneMailbox
  /// The time as it was told last.
  private(set) var now = SimulationTime.zero
  /// The flush that this lane leads, if it leads one.
  var flight: FlushFlight?
  /// Messages of the lane to itself: what goes on at the next `run`.
  var unfinished: [LaneMessage] = []

  // Scratch memory.
  var segments: [Segment] = []
  var slices = IOVectorList()
  var edgeParts = IOVectorList()
  private var events: [IOEvent] = []
  private var messages: [LaneMessage] = []
  private var answered: [(slot: Int, status: BlockStatus)] = []
  /// Zeros to be written to less than a page.
  private(set) lazy var zeros = ZeroPage()

  private static let bellTag: UInt64 = .max
  /// Tags from here on are the lane's own.
  private static let ownTags: UInt64 = 1 << 63

  /// A lane of a disk; the thread that runs it owns it, and the engine.
  package init(_ device: SharedDevice, engine: any QueuedEngine) throws(BlockIOError) {
    self.device = device
    self.engine = engine
    let mailbox: LaneMailbox
    do throws(LinuxError) { mailbox = try LaneMailbox() } catch { throw .cannotOpen(error) }
    self.mailbox = mailbox
    try engine.watch(mailbox.bell.descriptor, tag: Lane.bellTag)
    number = device.lock { device.add(mailbox) }
  }

  deinit {
    precondition(slots.count == 0, "a lane has gone with requests under way")
    engine.unwatch(mailbox.bell.descriptor)
    device.lock { device.remove(lane: number) }
  }

  /// How many requests have no answer yet; the lane's own flush counts, too.
  package var inFlight: Int { slots.count }

  /// Whether the next `run` has something to do at once: requests that come until then need not wake us.
  package var leftWork: Bool { engine.leftWork }

  /// Takes a request. Its answer comes out of a later `run`, even if there is nothing to wait for.
  /// - Parameters:
  ///   - data: where a read's bytes go or a write's come from; `request.length` bytes in all. The list is the
  ///     caller's again after the call; the memory stays valid until the answer.
  ///   - now: what the host's clock says; latencies are counted from here.
  package func submit(
    _ request: BlockRequest, data: UnsafeBufferPointer<iovec>, at now: SimulationTime
  ) {
    self.now = now
    let slot = slots.take(request, at: now)
    if let answer = immediateAnswer(request, data) { return self.answer(slot, answer) }
    start(slot, data)
  }

  /// Reports a descriptor's tag from `run` whenever it is readable.
  /// - Parameter tag: below 2^63.
  package func watch(_ descriptor: CInt, tag: UInt64) throws(BlockIOError) {
    precondition(tag < Lane.ownTags)
    try engine.watch(descriptor, tag: tag)
  }

  /// No longer reports it.
  package func unwatch(_ descriptor: CInt) { engine.unwatch(descriptor) }

  /// Runs the engine once, waits as told if there is nothing to say yet, and appends the answers that have
  /// come and the tags of descriptors that are readable.
  /// - Parameter clock: says what time it is after the wait.
  package func run(
    _ wait: Wait, clock: () -> SimulationTime, completions: inout [BlockCompletion], ready: inout [UInt64]
  ) throws(BlockIOError) {
    goOn()
    events.removeAll(keepingCapacity: true)
    try engine.run(answered.isEmpty && unfinished.isEmpty ? wait : .no, into: &events)
    now = clock()
    for event in events {
      if event.tag < Lane.ownTags {
        ready.append(event.tag)
      } else if event.tag == Lane.bellTag {
        takeMessages()
      } else {
        finished(Int(event.tag & ~Lane.ownTags), code: event.code)
      }
    }
    goOn()
    for (slot, status) in answered {
      let entry = slots.slots[slot]
      slots.release(slot)
      guard !entry.isInternal else { continue }
      statistics.record(entry.request, status, latency: now.since(entry.submitted))
      let code = status == .ok ? 0 : entry.code
      completions.append(BlockCompletion(tag: entry.request.tag, status: status, code: code))
    }
    answered.removeAll(keepingCapacity: true)
  }

  /// What needs neither the image nor the engine.
  private func immediateAnswer(_ request: BlockRequest, _ data: UnsafeBufferPointer<iovec>) -> BlockStatus? {
    switch request.operation {
    case .flush: return nil
    case .read: break
    case .write, .discard, .writeZeroes: if device.isReadOnly { return .ioError }
    }
    let end = request.offset.addingReportingOverflow(request.length)
    guard !end.overflow, end.partialValue <= device.size else { return .ioError }
    if request.operation == .read || request.operation == .write {
      guard data.byteCount == request.length else { return .ioError }
    }
    return request.length == 0 ? .ok : nil
  }

  /// Begins with a request, or begins again.
  func start(_ slot: Int, _ data: UnsafeBufferPointer<iovec>) {
    switch slots.slots[slot].request.operation {
    case .read: startRead(slot, data)
    case .write: startWrite(slot, data)
    case .flush:
      makeDurable(slot, writes: device.completedWrites.load(ordering: .sequentiallyConsistent))
    case .discard, .writeZeroes: startZeroing(slot)
    }
  }

  private func takeMessages() {
    device.lock { mailbox.take(into: &messages) }
    for message in messages { handle(message) }
    messages.removeAll(keepingCapacity: true)
  }

  /// Goes on with what waits for nothing: what has come up by now, and no more, so that the engine has its
  /// turn.
  private func goOn() {
    guard !unfinished.isEmpty else { return }
    swap(&unfinished, &messages)
    for message in messages { handle(message) }
    messages.removeAll(keepingCapacity: true)
  }

  private func handle(_ message: LaneMessage) {
    switch message {
    case .replan(let slot) where slots.slots[slot].isLeading: leadFlush(slot)
    case .replan(let slot): start(slot, slots.parts(slot))
    case .quiet(let slot): useQuiet(slot)
    case .flushed(let slot, let isDurable): answer(slot, isDurable ? .ok : .ioError)
    case .lead(let slot): leadFlush(slot)
    }
  }

  /// An operation of a request is over.
  private func finished(_ slot: Int, code: CInt) {
    if code != 0, slots.slots[slot].code == 0 { slots.slots[slot].code = code }
    slots.slots[slot].underWay -= 1
    guard slots.slots[slot].underWay == 0 else { return }
    switch slots.slots[slot].step {
    case .moving: finishMoving(slot)
    case .readingEdges: finishEdges(slot)
    case .touching: finishTouching(slot)
    case .flushing: goOnFlushing(slot)
    case .free, .waiting: preconditionFailure("an event of a request that has nothing under way")
    }
  }

  /// The request is over.
  func answer(_ slot: Int, _ status: BlockStatus) { answered.append((slot, status)) }

  /// It has failed; somebody should know why.
  func fail(_ slot: Int, _ reason: some CustomStringConvertible) {
    device.report(slots.slots[slot].request, reason, at: now)
    if case .file(let error) = reason as? DiskImageError { slots.slots[slot].code = error.code ?? 0 }
    answer(slot, .ioError)
  }

  /// Gives the engine an operation of a request.
  func enqueue(
    _ kind: IOOperation.Kind, _ slot: Int, _ file: ImageFile, at offset: UInt64 = 0, count: UInt64 = 0,
    _ parts: UnsafeBufferPointer<iovec> = UnsafeBufferPointer(start: nil, count: 0)
  ) {
    slots.slots[slot].underWay += 1
    engine.enqueue(
      IOOperation(kind, file, offset: offset, count: count, tag: Lane.ownTags | UInt64(slot)), parts: parts)
  }
}

/// The text of a value of `errno`.
struct HostError: CustomStringConvertible {
  let code: CInt
  var description: String { String(cString: strerror(code)) }
}
