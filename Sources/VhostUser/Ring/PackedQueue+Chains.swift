// Taking chains from a packed ring, and giving them back.
import CLinux

extension PackedQueue {
  /// Takes the chain at `available`, whose first descriptor is known to be available.
  ///
  /// What is wrong with a buffer does not end the walk, because the identifier and the next chain come after
  /// it.
  @inline(__always)
  mutating func takeChain() -> RingStep {
    var gathered = Gathering()
    var chainFault: ChainFault?
    gatherer.log?.begin()
    let translator = gatherer.translator
    var position = available
    var count = 0
    var entry = firstFree
    let room = Int(size) - outstanding
    while true {
      let place = descriptors + RingDescriptor.byteCount * Int(position.index)
      let (descriptor, identifier) = RingDescriptor.packed(at: place)
      guard descriptor.flags & PackedPosition.mask == position.availableFlags else {
        return fail(.unavailableInChain(position.index))
      }
      count += 1
      position.advance(by: 1, size: size)
      if let record {
        if count > 1 { entry = entries[Int(entry)].next }
        record.note(descriptor, identifier, in: entry)
      }
      if chainFault == nil {
        chainFault =
          descriptor.flags & RingDescriptor.indirect != 0
          ? gatherer.appendTable(descriptor, isLinear: true, &gathered)
          : translator.append(descriptor, &gathered)
      }
      if descriptor.flags & RingDescriptor.next == 0 {
        available = position
        return finishTaking(gathered, chainFault, identifier, count, last: entry)
      }
      if count == room { return fail(.endlessChain) }
    }
  }

  @inline(__always)
  private mutating func finishTaking(
    _ gathered: Gathering, _ chainFault: ChainFault?, _ identifier: UInt16, _ count: Int, last: UInt16
  ) -> RingStep {
    outstanding += count
    let head = firstFree
    firstFree = entries[Int(last)].next
    entries[Int(head)].identifier = identifier
    entries[Int(head)].count = UInt16(truncatingIfNeeded: count)
    entries[Int(head)].last = last
    record?.take(first: head, last: last, count: entries[Int(head)].count, free: firstFree)
    return answer(head, gathered, chainFault)
  }

  @inline(__always)
  mutating func answer(_ head: UInt16, _ gathered: Gathering, _ chainFault: ChainFault?) -> RingStep {
    if let chainFault = chainFault ?? gatherer.fault(gathered) {
      put(head, written: 0)
      return .refused(chainFault, head: head)
    }
    entries[Int(head)].isHeld = true
    gatherer.log?.taken(head)
    return .chain(gatherer.chain(head: head, gathered))
  }

  /// Gives a chain back; the driver does not see it before `publish()`.
  /// - Parameter written: bytes written into the writable part, counted from its start.
  /// - Returns: false if no chain with this head is held: it was completed before, or the ring was restarted.
  package mutating func complete(head: UInt16, written: UInt32) -> Bool {
    guard head < size, entries[Int(head)].isHeld else { return false }
    entries[Int(head)].isHeld = false
    gatherer.log?.completed(head)
    put(head, written: written)
    return true
  }

  private mutating func put(_ head: UInt16, written: UInt32) {
    completions[completionCount] = Completion(head: head, written: written)
    completionCount += 1
  }

  /// Whether there are completed chains that the driver does not see yet.
  package var hasUnpublished: Bool { completionCount > 0 }

  /// Shows the driver what was completed; returns whether it wants to be called for that.
  package mutating func publish() -> Bool {
    guard completionCount > 0 else { return false }
    let count = record == nil ? publishTogether() : publishOneByOne()
    completionCount = 0
    outstanding -= count
    CLinux_fence()
    return wantsCall(count)
  }

  /// Returns how many descriptors the driver got back.
  private mutating func publishTogether() -> Int {
    let first = (place: place(used), word: usedWord(completions[0]))
    let start = used
    var count = 0
    for index in 0..<completionCount {
      let completion = completions[index]
      if index > 0 {
        CLinux_store64(place(used), usedWord(completion))
        logUsed(used)
      }
      let descriptors = Int(entries[Int(completion.head)].count)
      count += descriptors
      used.advance(by: descriptors, size: size)
      entries[Int(completion.head)].next = firstFree
      firstFree = completion.head
    }
    CLinux_store64_release(first.place, first.word)
    logUsed(start)
    return count
  }

  /// The same with a record of every step.
  private mutating func publishOneByOne() -> Int {
    var count = 0
    for index in 0..<completionCount {
      let completion = completions[index]
      let head = completion.head
      let last = entries[Int(head)].last
      let descriptors = Int(entries[Int(head)].count)
      let (start, place, word) = (used, place(used), usedWord(completion))
      count += descriptors
      used.advance(by: descriptors, size: size)
      record?.prepare(first: head, last: last, used: used)
      CLinux_store64_release(place, word)
      logUsed(start)
      record?.commit(first: head)
      entries[Int(last)].next = firstFree
      firstFree = head
    }
    return count
  }

  private func logUsed(_ position: PackedPosition) {
    gatherer.log?.wroteRing(RingDescriptor.byteCount * Int(position.index) + 8, count: 8)
  }

  /// The second half of the descriptor at a position.
  private func place(_ position: PackedPosition) -> UnsafeMutableRawPointer {
    descriptors + (RingDescriptor.byteCount * Int(position.index) + 8)
  }

  /// Count, identifier and flags of a used descriptor at `used`: one word, so that they come together.
  private func usedWord(_ completion: Completion) -> UInt64 {
    let flags = used.usedFlags | (completion.written > 0 ? RingDescriptor.write : 0)
    let identifier = entries[Int(completion.head)].identifier
    return (UInt64(completion.written) | UInt64(identifier) << 32 | UInt64(flags) << 48).littleEndian
  }

  /// Whether the driver wants to be called for the last `count` descriptors before `used` (virtio 1.2
  /// §2.8.10).
  private mutating func wantsCall(_ count: Int) -> Bool {
    let event = UInt32(littleEndian: CLinux_load32(driverEvent))
    let isFirst = !hasDecided
    hasDecided = true
    switch event >> 16 {
    case 1: return false
    case 2 where usesEventIndex && !isFirst:
      let wanted = PackedPosition(rawValue: UInt16(truncatingIfNeeded: event))
      // Places of the lap before are negative.
      let index = wanted.wrap == used.wrap ? wanted.index : wanted.index &- size
      return SplitQueue.passes(
        event: index, old: used.index &- UInt16(truncatingIfNeeded: count), new: used.index)
    default: return true
    }
  }
}
