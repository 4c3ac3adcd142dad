// The requests of a lane.
import BlockIO
import Glibc
import Simulation

/// What a lane knows of a request without an answer.
struct LaneSlot {
  /// What the next event of the engine means.
  enum Step: UInt8 {
    /// Nobody uses the slot.
    case free
    /// It waits for a message.
    case waiting
    /// Bytes move between the files and the guest's memory; nothing is to be done afterwards.
    case moving
    /// The edges of pages that are written for the first time are read.
    case readingEdges
    /// Pages are written for the first time.
    case touching
    /// It leads a flush, whose steps are `FlushFlight`'s.
    case flushing
  }

  var request: BlockRequest
  /// Nobody asked for it: a flush of the lane's own.
  var isInternal = false
  var step = Step.waiting
  var submitted: SimulationTime
  /// It leads the flush under way.
  var isLeading = false
  /// How many operations have no event yet.
  var underWay = 0
  /// What failed first: a value of `errno`.
  var code: CInt = 0
  /// Where in the disk the next piece of zeros begins, and where the one under way ends.
  var zeroed: UInt64
  var pieceEnd: UInt64
  /// What is written for the first time, and where its data goes.
  var pages: Range<UInt64> = 0..<0
  /// Those, and what is written around them to make room: what the gate is closed for.
  var room: Range<UInt64> = 0..<0
  var head: Range<UInt64> = 0..<0
  var tail: Range<UInt64> = 0..<0
  var place: UInt64 = 0
  /// Two pages, for the edges; from the pool while in use.
  var edges: UnsafeMutableRawPointer?
}

/// Slots for requests, and the memory that goes with them: all reused, so that a request allocates nothing.
///
/// SAFETY: slot numbers come from `take` and are below `capacity`; lists and edges belong to the slot that
/// they are asked for, until it is released. Numbers stay, addresses of slots do not: nobody keeps one across
/// a `take`.
final class LaneSlots {
  private(set) var slots: UnsafeMutablePointer<LaneSlot>
  private var lists: UnsafeMutablePointer<IOVectorList>
  private var capacity = 0
  private var free: [Int] = []
  private var freeEdges: [UnsafeMutableRawPointer] = []
  /// How many slots are in use.
  var count: Int { capacity - free.count }

  init() {
    slots = .allocate(capacity: 0)
    lists = .allocate(capacity: 0)
    grow(to: 16)
  }

  deinit {
    slots.deallocate()
    lists.deinitialize(count: capacity)
    lists.deallocate()
    for edges in freeEdges { edges.deallocate() }
  }

  /// A slot for a request.
  func take(_ request: BlockRequest, at now: SimulationTime) -> Int {
    if free.isEmpty { grow(to: 2 * capacity) }
    let index = free.removeLast()
    slots[index] = LaneSlot(
      request: request, submitted: now, zeroed: request.offset, pieceEnd: request.offset)
    return index
  }

  /// The slot is free, and so is what it has.
  func release(_ index: Int) {
    releaseEdges(index)
    lists[index].removeAll()
    slots[index].step = .free
    free.append(index)
  }

  /// The memory of the request, as it was kept.
  func parts(_ index: Int) -> UnsafeBufferPointer<iovec> { lists[index].parts }

  /// Keeps the list of the request's memory for later.
  func keep(_ parts: UnsafeBufferPointer<iovec>, for index: Int) {
    // A request that waits again comes with the list that it has.
    guard lists[index].count == 0 else { return }
    lists[index].append(parts)
  }

  /// Memory for two pages.
  func edges(for index: Int) -> UnsafeMutableRawPointer {
    if let edges = slots[index].edges { return edges }
    let edges =
      freeEdges.popLast() ?? .allocate(byteCount: 2 * LaneSlots.edgeBytes, alignment: LaneSlots.edgeBytes)
    slots[index].edges = edges
    return edges
  }

  func releaseEdges(_ index: Int) {
    guard let edges = slots[index].edges else { return }
    slots[index].edges = nil
    freeEdges.append(edges)
  }

  /// No edge is longer.
  static let edgeBytes = 4096

  private func grow(to wanted: Int) {
    let newSlots = UnsafeMutablePointer<LaneSlot>.allocate(capacity: wanted)
    newSlots.moveInitialize(from: slots, count: capacity)
    slots.deallocate()
    slots = newSlots
    let newLists = UnsafeMutablePointer<IOVectorList>.allocate(capacity: wanted)
    newLists.moveInitialize(from: lists, count: capacity)
    lists.deallocate()
    lists = newLists
    let unused = BlockRequest(operation: .flush, offset: 0, length: 0, tag: 0)
    for index in (capacity..<wanted).reversed() {
      (slots + index).initialize(
        to: LaneSlot(request: unused, step: .free, submitted: .zero, zeroed: 0, pieceEnd: 0))
      (lists + index).initialize(to: IOVectorList(capacity: 4))
      free.append(index)
    }
    capacity = wanted
    free.reserveCapacity(wanted)
  }
}
