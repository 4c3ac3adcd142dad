// The device's side of a packed virtqueue.
import CLinux

/// Takes chains from a packed ring and gives them back (virtio 1.2 §2.8).
///
/// | area | layout, little-endian |
/// |-|-|
/// | descriptors | `num` times `u64 address; u32 count; u16 identifier; u16 flags` |
/// | driver's event | `u16 offset (bits 0-14), wrap (bit 15); u16 flags` |
/// | device's event | the same, written by us |
///
/// Both sides go round the one table, with a counter that changes sign at its end. A descriptor is available
/// when its bit 7 is the counter and its bit 15 is not, used when both are. A chain lies in consecutive
/// descriptors; its identifier is in the last.
///
/// Rules: flags are loaded with acquire before what they cover, and each descriptor is read once; of what is
/// published together the first flags are stored last, with release, because a driver looks at them one after
/// the other. The fences are those of `SplitQueue`. A chain of which the end cannot be found breaks the ring;
/// any other bad chain costs that chain. All storage is allocated at the start.
package struct PackedQueue: ~Copyable {
  /// Number of descriptors, 1 to 32768.
  package let size: UInt16
  /// Where the next chain is.
  package internal(set) var available: PackedPosition
  /// Where the driver looks for the next used descriptor.
  package internal(set) var used: PackedPosition
  /// Set once, by the first contradiction.
  package private(set) var fault: RingFault?
  /// Descriptors that were taken and are not published yet; never more than `size`.
  package internal(set) var outstanding = 0

  let usesEventIndex: Bool
  private let suppressesKicks: Bool
  private var isSuppressed = false
  var gatherer: ChainGatherer
  // SAFETY: valid for the lengths of the three areas as long as the gatherer's memory lives.
  var descriptors: UnsafeMutableRawPointer
  var driverEvent: UnsafeMutableRawPointer
  var deviceEvent: UnsafeMutableRawPointer
  /// Whether a call was decided upon before; the first is needed in any case.
  var hasDecided = false

  /// What is remembered of a chain, by its head, which is an index into this table of ours: identifiers are
  /// the driver's, and may be anything.
  struct Entry {
    var identifier: UInt16 = 0
    /// Descriptors that it takes in the ring.
    var count: UInt16 = 0
    var isHeld = false
    /// The last of the entries that the chain has.
    var last: UInt16 = 0
    /// The next in the list of free entries, or of those of a chain.
    var next: UInt16 = 0
  }
  /// A chain has one entry, or, where they are written down, as many as descriptors.
  let entries: UnsafeMutableBufferPointer<Entry>
  var firstFree: UInt16 = 0
  var record: Optional<PackedRecord>
  /// Heads of chains that a predecessor had taken, the oldest last.
  var inherited: [UInt16]
  var hasInherited = false

  /// What was completed and is not published: at most one for each descriptor.
  struct Completion {
    var head: UInt16
    var written: UInt32
  }
  let completions: UnsafeMutableBufferPointer<Completion>
  var completionCount = 0

  /// Starts a ring.
  /// - Parameters:
  ///   - addresses: in the front-end's address space; `available` is the driver's event, `used` the device's.
  ///   - base: two positions, as in SET_VRING_BASE.
  ///   - suppressesKicks: whether the driver is asked to be silent while the ring is looked at.
  package init(
    size: UInt16, addresses: VringAddress, base: UInt32, features: UInt64, memory: GuestMemory,
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
    size: UInt16, addresses: VringAddress, base: UInt32, features: UInt64, memory: GuestMemory,
    suppressesKicks: Bool, region: InflightRegion?, log: RingLog?
  ) throws(VhostUserError) {
    let areas = try PackedQueue.translate(addresses, size: size, memory: memory)
    let positions = try PackedQueue.positions(base: base, size: size, descriptors: areas.descriptors)
    let legacy = try region.map { region throws(VhostUserError) in
      try PackedQueue.inherit(region, size: size, used: positions.1, descriptors: areas.descriptors)
    }
    (available, used) = positions
    record = legacy?.record
    inherited = []
    self.size = size
    gatherer = ChainGatherer(size: size, features: features, memory: memory, log: log)
    (descriptors, driverEvent, deviceEvent) = areas
    usesEventIndex = features & RingFeatures.eventIndex != 0
    self.suppressesKicks = suppressesKicks && !usesEventIndex
    entries = .allocate(capacity: Int(size))
    for index in 0..<Int(size) {
      entries.initializeElement(at: index, to: Entry(next: UInt16(truncatingIfNeeded: index + 1)))
    }
    completions = .allocate(capacity: Int(size))
    completions.initialize(repeating: Completion(head: 0, written: 0))
    CLinux_store32(deviceEvent, 0)
    log?.place(addresses, isPacked: true, memory: memory)
    log?.wroteEvent()
    if let legacy { takeOver(legacy) }
  }

  deinit {
    entries.deallocate()
    completions.deallocate()
  }

  /// Where the three areas are in our memory.
  /// - Throws: `queueSize`, `ringAddress` or `ringAlignment`.
  package static func translate(
    _ addresses: VringAddress, size: UInt16, memory: GuestMemory
  ) throws(VhostUserError) -> (
    descriptors: UnsafeMutableRawPointer, available: UnsafeMutableRawPointer, used: UnsafeMutableRawPointer
  ) {
    guard size > 0, size <= Limits.queueSize else { throw .queueSize(UInt32(size)) }
    let count = RingDescriptor.byteCount * Int(size)
    return (
      try memory.ringArea(.descriptors, addresses.descriptors, count: count, alignment: 16),
      try memory.ringArea(.available, addresses.available, count: 4, alignment: 4),
      try memory.ringArea(.used, addresses.used, count: 4, alignment: 4)
    )
  }

  /// The two positions of SET_VRING_BASE.
  ///
  /// A new ring begins with both counters at 1, which UML does not say: it sends 0 whatever the layout. The
  /// same number means the end of a lap in a ring of which every descriptor has been used; one that was never
  /// touched is therefore new.
  private static func positions(
    base: UInt32, size: UInt16, descriptors: UnsafeMutableRawPointer
  ) throws(VhostUserError) -> (PackedPosition, PackedPosition) {
    let last = descriptors + RingDescriptor.byteCount * Int(size - 1)
    if base == 0, CLinux_load16(last + RingDescriptor.packedFlagsOffset) == 0 {
      return (PackedPosition(), PackedPosition())
    }
    let available = PackedPosition(rawValue: UInt16(truncatingIfNeeded: base))
    let used = PackedPosition(rawValue: UInt16(truncatingIfNeeded: base >> 16))
    guard available.index < size, used.index < size else { throw .baseIndex(base) }
    return (available, used)
  }

  /// What GET_VRING_BASE answers.
  package var base: UInt32 { UInt32(available.rawValue) | UInt32(used.rawValue) << 16 }

  /// Goes on in another memory, or at other addresses, without losing count.
  package mutating func relocate(_ addresses: VringAddress, memory: GuestMemory) throws(VhostUserError) {
    (descriptors, driverEvent, deviceEvent) = try PackedQueue.translate(
      addresses, size: size, memory: memory)
    gatherer.memory = memory
    gatherer.log?.place(addresses, isPacked: true, memory: memory)
  }

  /// The memory that chains are translated with.
  package var memory: GuestMemory { gatherer.memory }

  /// The heads that are held.
  var heldHeads: [UInt16] { entries.indices.filter { entries[$0].isHeld }.map { UInt16($0) } }

  /// Whether the driver has made something available that has not been taken; asks for no kick.
  package var hasAvailable: Bool { fault == nil && (hasInherited || isAvailable(available)) }

  @inline(__always)
  private func isAvailable(_ position: PackedPosition) -> Bool {
    let place = descriptors + RingDescriptor.byteCount * Int(position.index)
    let flags = UInt16(littleEndian: CLinux_load16_acquire(place + RingDescriptor.packedFlagsOffset))
    return flags & PackedPosition.mask == position.availableFlags
  }

  /// Takes the next chain.
  /// - Parameter asksForKick: when there is none, make sure that the driver kicks when there is one.
  @inline(__always)
  package mutating func next(asksForKick: Bool = true) -> RingStep {
    if let fault { return .broken(fault) }
    if hasInherited { return takeInherited() }
    if !isAvailable(available) {
      guard asksForKick, askForKick(), isAvailable(available) else { return .empty }
    }
    // A driver that has given us every descriptor has none left to make available.
    guard outstanding < Int(size) else { return fail(.endlessChain) }
    if suppressesKicks, !isSuppressed {
      isSuppressed = true
      CLinux_store32(deviceEvent, (UInt32(1) << 16).littleEndian)
      gatherer.log?.wroteEvent()
    }
    return takeChain()
  }

  /// Tells the driver that the next chain shall come with a kick; whether one may have come before that.
  private mutating func askForKick() -> Bool {
    if usesEventIndex {
      CLinux_store32(deviceEvent, (UInt32(available.rawValue) | UInt32(2) << 16).littleEndian)
    } else {
      guard isSuppressed else { return false }
      isSuppressed = false
      CLinux_store32(deviceEvent, 0)
    }
    gatherer.log?.wroteEvent()
    CLinux_fence()
    return true
  }

  /// See `SplitQueue.declineKicks`.
  package mutating func declineKicks() {
    guard fault == nil, usesEventIndex || !isSuppressed else { return }
    isSuppressed = true
    CLinux_store32(deviceEvent, (UInt32(1) << 16).littleEndian)
    gatherer.log?.wroteEvent()
  }

  mutating func fail(_ fault: RingFault) -> RingStep {
    self.fault = fault
    return .broken(fault)
  }
}

/// A place in a packed ring, and the sign of the lap: bits 0-14 and bit 15 of a number.
package struct PackedPosition: Equatable, Sendable {
  static let availableBit: UInt16 = 1 << 7
  static let usedBit: UInt16 = 1 << 15
  static let mask = availableBit | usedBit

  package var index: UInt16
  package var wrap: Bool

  /// The first of a new ring.
  package init() {
    index = 0
    wrap = true
  }

  package init(rawValue: UInt16) {
    index = rawValue & 0x7fff
    wrap = rawValue & 0x8000 != 0
  }

  package var rawValue: UInt16 { index | (wrap ? 0x8000 : 0) }

  /// The two bits of a descriptor that is available here.
  @inline(__always) var availableFlags: UInt16 { wrap ? Self.availableBit : Self.usedBit }
  /// The two bits of a descriptor that is used here.
  @inline(__always) var usedFlags: UInt16 { wrap ? Self.mask : 0 }

  /// Goes on by so many descriptors, at most one lap.
  @inline(__always)
  mutating func advance(by count: Int, size: UInt16) {
    let next = Int(index) + count
    if next >= Int(size) {
      index = UInt16(truncatingIfNeeded: next - Int(size))
      wrap.toggle()
    } else {
      index = UInt16(truncatingIfNeeded: next)
    }
  }
}
