// The device's side of a split virtqueue.
import CLinux
import Glibc

/// Takes chains from a split ring and gives them back (virtio 1.2 §2.7).
///
/// | area | layout, little-endian |
/// |-|-|
/// | descriptors | `num` times `u64 address; u32 count; u16 flags; u16 next` |
/// | available | `u16 flags; u16 index; u16 ring[num]; u16 usedEvent` |
/// | used | `u16 flags; u16 index; { u32 head; u32 written }[num]; u16 availableEvent` |
///
/// Rules: the available index is loaded with acquire before the entries that it covers; a descriptor is read
/// once, into registers; used entries are stored before the used index, which is stored with release; then a
/// full fence before the driver's wish to be called is read, and a full fence between our wish to be kicked
/// and the last look at the available index. A bad chain costs that chain (returned with 0 bytes written), a
/// ring that contradicts itself is broken for good. All storage is allocated at the start.
///
/// Who serves a ring from a thread of its own wants no kick while it is awake (`suppressesKicks`): without
/// the event index the flag in the used ring says so, with it an old index does. In band a kick is when a
/// request happens, so that there every kick is wanted.
package struct SplitQueue: ~Copyable {
  /// Number of descriptors, a power of two up to 32768.
  package let size: UInt16
  /// The available index that is taken next.
  package private(set) var nextAvailable: UInt16
  /// The used index that is filled next.
  package internal(set) var nextUsed: UInt16
  /// The used index that the driver sees.
  package internal(set) var publishedUsed: UInt16
  /// Set once, by the first contradiction.
  package private(set) var fault: RingFault?
  /// Chains that were taken and whose used entries are not published yet; never more than `size`.
  package internal(set) var outstanding: Int

  let usesEventIndex: Bool
  /// Whether the driver has been asked to keep its kicks to itself; never with the event index.
  private var isSuppressed = false
  private let suppressesKicks: Bool
  var gatherer: ChainGatherer
  // SAFETY: valid for the lengths of the three areas as long as `memory` lives.
  var descriptors: UnsafeMutableRawPointer
  var available: UnsafeMutableRawPointer
  var used: UnsafeMutableRawPointer
  private var seenAvailable: UInt16
  /// The used index at the last decision about a call; nil: the next one is needed in any case.
  var decidedUsed: UInt16?
  /// One byte per head that the device holds.
  let held: UnsafeMutableBufferPointer<Bool>
  var record: Optional<SplitRecord>
  /// Heads that a predecessor had taken, the oldest last.
  private var inherited: [UInt16]
  private var hasInherited: Bool

  /// Starts a ring.
  /// - Parameters:
  ///   - addresses: in the front-end's address space; checked for containment and alignment.
  ///   - base: the available index to begin with. The used index is the one in memory.
  ///   - suppressesKicks: whether the driver is asked to be silent while the ring is looked at.
  package init(
    size: UInt16, addresses: VringAddress, base: UInt16, features: UInt64, memory: GuestMemory,
    suppressesKicks: Bool = false
  ) throws(VhostUserError) {
    try self.init(
      size: size, addresses: addresses, base: base, features: features, memory: memory,
      suppressesKicks: suppressesKicks, region: nil, log: nil)
  }

  /// - Parameters:
  ///   - region: where to write down what is under way, and where a predecessor may have done so.
  ///   - log: what is told of our writes.
  init(
    size: UInt16, addresses: VringAddress, base: UInt16, features: UInt64, memory: GuestMemory,
    suppressesKicks: Bool, region: InflightRegion?, log: RingLog?
  ) throws(VhostUserError) {
    let areas = try SplitQueue.translate(addresses, size: size, memory: memory)
    let usedIndex = UInt16(littleEndian: CLinux_load16(areas.used + 2))
    var heads: [UInt16]?
    var record: SplitRecord?
    if let region { record = try SplitRecord(region, size: size, used: usedIndex, heads: &heads) }
    self.record = consume record
    self.size = size
    gatherer = ChainGatherer(size: size, features: features, memory: memory, log: log)
    (descriptors, available, used) = areas
    usesEventIndex = features & RingFeatures.eventIndex != 0
    self.suppressesKicks = suppressesKicks && features & RingFeatures.eventIndex == 0
    nextUsed = usedIndex
    publishedUsed = usedIndex
    inherited = heads?.reversed() ?? []
    hasInherited = !inherited.isEmpty
    outstanding = heads?.count ?? 0
    // A region that was in use says where the ring is; what the front-end says of it is older.
    nextAvailable = heads.map { usedIndex &+ UInt16(truncatingIfNeeded: $0.count) } ?? base
    seenAvailable = nextAvailable
    held = .allocate(capacity: Int(size))
    held.initialize(repeating: false)
    CLinux_store16(used, 0)
    log?.place(addresses, isPacked: false, memory: memory)
    log?.wroteRing(0, count: 2)
  }

  deinit { held.deallocate() }

  /// What GET_VRING_BASE answers.
  package var base: UInt32 { UInt32(nextAvailable) }

  /// The memory that chains are translated with.
  package var memory: GuestMemory { gatherer.memory }

  /// The heads that are held.
  var heldHeads: [UInt16] { held.indices.filter { held[$0] }.map { UInt16($0) } }

  /// Where the three areas are in our memory.
  /// - Throws: `queueSize`, `ringAddress` or `ringAlignment`.
  package static func translate(
    _ addresses: VringAddress, size: UInt16, memory: GuestMemory
  ) throws(VhostUserError) -> (
    descriptors: UnsafeMutableRawPointer, available: UnsafeMutableRawPointer, used: UnsafeMutableRawPointer
  ) {
    guard size > 0, size <= Limits.queueSize, size & (size - 1) == 0 else { throw .queueSize(UInt32(size)) }
    let count = Int(size)
    return (
      try memory.ringArea(.descriptors, addresses.descriptors, count: 16 * count, alignment: 16),
      try memory.ringArea(.available, addresses.available, count: 6 + 2 * count, alignment: 2),
      try memory.ringArea(.used, addresses.used, count: 6 + 8 * count, alignment: 4)
    )
  }

  /// Goes on in another memory, or at other addresses, without losing count.
  package mutating func relocate(_ addresses: VringAddress, memory: GuestMemory) throws(VhostUserError) {
    (descriptors, available, used) = try SplitQueue.translate(addresses, size: size, memory: memory)
    gatherer.memory = memory
    gatherer.log?.place(addresses, isPacked: false, memory: memory)
  }

  /// Whether the driver has made something available that has not been taken; asks for no kick.
  package var hasAvailable: Bool {
    fault == nil
      && (hasInherited || UInt16(littleEndian: CLinux_load16(available + 2)) != nextAvailable)
  }

  /// Takes the next chain.
  /// - Parameter asksForKick: when there is none, make sure that the driver kicks when there is one.
  @inline(__always)
  package mutating func next(asksForKick: Bool = true) -> RingStep {
    if let fault { return .broken(fault) }
    if hasInherited { return takeInherited() }
    if seenAvailable == nextAvailable {
      seenAvailable = UInt16(littleEndian: CLinux_load16_acquire(available + 2))
      if seenAvailable == nextAvailable {
        guard asksForKick, askForKick() else { return .empty }
        seenAvailable = UInt16(littleEndian: CLinux_load16_acquire(available + 2))
        if seenAvailable == nextAvailable { return .empty }
      }
      let jump = seenAvailable &- nextAvailable
      if jump > size { return fail(.availableJump(jump)) }
    }
    // A driver that has given us every descriptor has none left to make available.
    if outstanding >= Int(size) { return fail(.availableJump(UInt16(truncatingIfNeeded: outstanding + 1))) }
    if suppressesKicks, !isSuppressed {
      isSuppressed = true
      CLinux_store16(used, UInt16(1).littleEndian)
      gatherer.log?.wroteRing(0, count: 2)
    }
    let slot = Int(nextAvailable & (size - 1))
    let head = UInt16(littleEndian: CLinux_load16(available + 4 + 2 * slot))
    guard head < size else { return fail(.headOutsideTable(head)) }
    nextAvailable &+= 1
    outstanding += 1
    record?.take(head)
    return take(head)
  }

  private mutating func takeInherited() -> RingStep {
    guard let head = inherited.popLast() else { return .empty }
    hasInherited = !inherited.isEmpty
    return take(head)
  }

  @inline(__always)
  private mutating func take(_ head: UInt16) -> RingStep {
    if held[Int(head)] {
      put(head, written: 0)
      return .refused(.headInUse(head), head: head)
    }
    var gathered = Gathering()
    gatherer.log?.begin()
    if let fault = gather(head, into: &gathered) {
      put(head, written: 0)
      return .refused(fault, head: head)
    }
    held[Int(head)] = true
    gatherer.log?.taken(head)
    return .chain(gatherer.chain(head: head, gathered))
  }

  /// Tells the driver that the next chain shall come with a kick; whether one may have come before that.
  private mutating func askForKick() -> Bool {
    if usesEventIndex {
      CLinux_store16(used + 4 + 8 * Int(size), nextAvailable.littleEndian)
      gatherer.log?.wroteRing(4 + 8 * Int(size), count: 2)
    } else {
      guard isSuppressed else { return false }
      isSuppressed = false
      CLinux_store16(used, 0)
      gatherer.log?.wroteRing(0, count: 2)
    }
    CLinux_fence()
    return true
  }

  /// Tells the driver that we look ourselves: until `next` asks for one, no kick is needed.
  package mutating func declineKicks() {
    guard fault == nil else { return }
    if usesEventIndex {
      // An index that was passed already.
      CLinux_store16(used + 4 + 8 * Int(size), (nextAvailable &- 1).littleEndian)
      gatherer.log?.wroteRing(4 + 8 * Int(size), count: 2)
    } else if !isSuppressed {
      isSuppressed = true
      CLinux_store16(used, UInt16(1).littleEndian)
      gatherer.log?.wroteRing(0, count: 2)
    }
  }

  private mutating func fail(_ fault: RingFault) -> RingStep {
    self.fault = fault
    return .broken(fault)
  }
}
