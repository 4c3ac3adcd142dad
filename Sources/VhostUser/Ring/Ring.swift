// A ring of either layout.

/// What a session and a device know of a ring, whichever way its descriptors lie.
///
/// One of the two is there; they are side by side because a payload of an enumeration cannot be changed in
/// place.
package struct Ring: ~Copyable {
  private let isPacked: Bool
  /// Exists while writes are marked.
  let log: RingLog?
  private var split: SplitQueue?
  private var packed: PackedQueue?

  /// Starts a ring of the layout that the features name.
  /// - Parameters:
  ///   - inflight: where to write down what is under way, and where a predecessor may have done so.
  ///   - queue: the ring's index there.
  package init(
    size: UInt16, addresses: VringAddress, base: UInt32, features: UInt64, memory: GuestMemory,
    suppressesKicks: Bool = false, inflight: InflightArea? = nil, queue: Int = 0
  ) throws(VhostUserError) {
    try self.init(
      size: size, addresses: addresses, base: base, features: features, memory: memory,
      suppressesKicks: suppressesKicks, inflight: inflight, queue: queue, log: nil)
  }

  /// - Parameter log: where our writes to the guest's memory are marked, if the features say that they are.
  init(
    size: UInt16, addresses: VringAddress, base: UInt32, features: UInt64, memory: GuestMemory,
    suppressesKicks: Bool, inflight: InflightArea?, queue: Int, log: DirtyLog?
  ) throws(VhostUserError) {
    let ringLog = features & RingFeatures.logAll != 0 ? RingLog(size: size, log: log) : nil
    self.log = ringLog
    isPacked = features & RingFeatures.packed != 0
    if isPacked {
      split = nil
      packed = try PackedQueue(
        size: size, addresses: addresses, base: base, features: features, memory: memory,
        suppressesKicks: suppressesKicks,
        region: try inflight?.region(ofQueue: queue, .packed, size: size), log: ringLog)
    } else {
      guard let base = UInt16(exactly: base) else { throw .baseIndex(base) }
      split = try SplitQueue(
        size: size, addresses: addresses, base: base, features: features, memory: memory,
        suppressesKicks: suppressesKicks,
        region: try inflight?.region(ofQueue: queue, .split, size: size), log: ringLog)
      packed = nil
    }
  }

  /// Whether the three areas lie well, in the layout that the features name.
  static func check(
    _ addresses: VringAddress, size: UInt16, features: UInt64, memory: GuestMemory
  ) throws(VhostUserError) {
    _ =
      features & RingFeatures.packed != 0
      ? try PackedQueue.translate(addresses, size: size, memory: memory)
      : try SplitQueue.translate(addresses, size: size, memory: memory)
  }

  /// Number of descriptors.
  package var size: UInt16 {
    switch packed {
    case .some(let queue): return queue.size
    case .none: break
    }
    switch split {
    case .some(let queue): return queue.size
    case .none: return 0
    }
  }
  /// What GET_VRING_BASE answers.
  package var base: UInt32 {
    switch packed {
    case .some(let queue): return queue.base
    case .none: break
    }
    switch split {
    case .some(let queue): return queue.base
    case .none: return 0
    }
  }
  /// Whether there is something that has not been taken; asks for no kick.
  package var hasAvailable: Bool {
    switch packed {
    case .some(let queue): return queue.hasAvailable
    case .none: break
    }
    switch split {
    case .some(let queue): return queue.hasAvailable
    case .none: return false
    }
  }
  /// Descriptors or chains that were taken and are not published.
  package var outstanding: Int {
    switch packed {
    case .some(let queue): return queue.outstanding
    case .none: break
    }
    switch split {
    case .some(let queue): return queue.outstanding
    case .none: return 0
    }
  }
  /// The heads of the chains that are held.
  var heldHeads: [UInt16] {
    switch packed {
    case .some(let queue): return queue.heldHeads
    case .none: break
    }
    switch split {
    case .some(let queue): return queue.heldHeads
    case .none: return []
    }
  }

  /// See `SplitQueue.next`.
  @inline(__always)
  package mutating func next(asksForKick: Bool = true) -> RingStep {
    isPacked
      ? packed?.next(asksForKick: asksForKick) ?? .empty : split?.next(asksForKick: asksForKick) ?? .empty
  }

  /// See `SplitQueue.declineKicks`.
  package mutating func declineKicks() {
    if isPacked { packed?.declineKicks() } else { split?.declineKicks() }
  }

  /// See `SplitQueue.complete`.
  @inline(__always)
  package mutating func complete(head: UInt16, written: UInt32) -> Bool {
    isPacked
      ? packed?.complete(head: head, written: written) ?? false
      : split?.complete(head: head, written: written) ?? false
  }

  /// See `SplitQueue.publish`.
  @inline(__always)
  package mutating func publish() -> Bool {
    isPacked ? packed?.publish() ?? false : split?.publish() ?? false
  }

  /// See `SplitQueue.relocate`.
  package mutating func relocate(_ addresses: VringAddress, memory: GuestMemory) throws(VhostUserError) {
    try split?.relocate(addresses, memory: memory)
    try packed?.relocate(addresses, memory: memory)
  }
}
