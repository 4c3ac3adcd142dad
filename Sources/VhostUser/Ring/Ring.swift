// A ring of either layout.

/// What a session and a device know of a ring, whichever way its descriptors lie.
///
/// One of the layouts is there; they are side by side because a payload of an enumeration cannot be changed
/// in place.
struct Ring: ~Copyable {
  private var split: SplitQueue

  init(_ split: consuming SplitQueue) { self.split = split }

  var size: UInt16 { split.size }
  var memory: GuestMemory { split.memory }
  var hasAvailable: Bool { split.hasAvailable }
  /// What GET_VRING_BASE answers.
  var base: UInt32 { UInt32(split.nextAvailable) }
  var heldHeads: [UInt16] { split.heldHeads }

  @inline(__always)
  mutating func next(asksForKick: Bool) -> RingStep { split.next(asksForKick: asksForKick) }

  @inline(__always)
  mutating func complete(head: UInt16, written: UInt32) -> Bool {
    split.complete(head: head, written: written)
  }

  @inline(__always)
  mutating func publish() -> Bool { split.publish() }

  mutating func relocate(_ addresses: VringAddress, memory: GuestMemory) throws(VhostUserError) {
    try split.relocate(addresses, memory: memory)
  }
}
