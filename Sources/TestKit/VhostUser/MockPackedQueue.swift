// The driver's side of a packed ring.
import CLinux
package import VhostUser

/// What `MockQueue` is, in the other layout: one table that both sides go round.
///
/// The areas lie where those of a split ring would, so that a test can use either.
package final class MockPackedQueue: MockQueue {
  /// Where the next chain goes.
  package var available = PackedPosition()
  /// Where the next used descriptor is expected.
  package var used = PackedPosition()
  /// Descriptors that are ours.
  package private(set) var vacancies = 0
  private var identifiers: [UInt16] = []
  /// Descriptors of each chain that the device has, by identifier.
  private var counts: [UInt16: Int] = [:]
  /// The first of the chains that the device shall see next: its flags are stored last.
  private var hidden: (place: UInt64, flags: UInt16)?
  private var unkicked = 0

  override package var ringBase: UInt32 {
    UInt32(used.rawValue) | UInt32(used.rawValue) << 16
  }

  private var deviceEvent: UnsafeMutableRawPointer { memory.pointer(usedBase) }
  private var driverEvent: UnsafeMutableRawPointer { memory.pointer(availableBase) }

  override package func reset() {
    super.reset()
    // A driver's area lies aligned, also behind a table of any length.
    available = PackedPosition()
    used = PackedPosition()
    vacancies = Int(size)
    identifiers = (0..<size).reversed()
    counts = [:]
    hidden = nil
    unkicked = 0
  }

  /// Starts at any place of any lap, as if the ring had been used until now.
  package func begin(at position: PackedPosition) {
    available = position
    used = position
    let before = PackedPosition(rawValue: position.rawValue ^ 0x8000)
    for slot in 0..<size {
      // Everything that lies ahead was used in the lap before, or, behind, in this one.
      let flags = slot >= position.index ? usedFlags(before) : usedFlags(position)
      CLinux_store16(memory.pointer(place(slot) + 14), flags.littleEndian)
    }
  }

  private func place(_ slot: UInt16) -> UInt64 { base + 16 * UInt64(slot) }
  private func availableFlags(_ position: PackedPosition) -> UInt16 { position.wrap ? 1 << 7 : 1 << 15 }
  private func usedFlags(_ position: PackedPosition) -> UInt16 { position.wrap ? 1 << 7 | 1 << 15 : 0 }

  private func advance(_ position: inout PackedPosition, by count: Int) {
    for _ in 0..<count {
      position.index += 1
      if position.index == size {
        position.index = 0
        position.wrap.toggle()
      }
    }
  }

  override func adopt(_ other: MockQueue) {
    super.adopt(other)
    guard let other = other as? MockPackedQueue else { return }
    available = other.available
    used = other.used
    vacancies = other.vacancies
    identifiers = other.identifiers
    counts = other.counts
    hidden = other.hidden
    unkicked = other.unkicked
  }

  // MARK: Submitting

  override package func submit(_ buffers: [Buffer], table: UInt64? = nil, direct: Int = 0) -> UInt16? {
    let before = table == nil ? buffers.count : direct
    let needed = table == nil ? before : before + 1
    guard needed > 0, vacancies >= needed, let identifier = identifiers.popLast() else { return nil }
    for position in 0..<needed {
      let flags = position == needed - 1 ? 0 : Self.next
      if position < before {
        let buffer = buffers[position]
        add(
          address: buffer.address, count: buffer.count, identifier: identifier,
          flags: flags | (buffer.isWritable ? Self.write : 0))
      } else if let table {
        let rest = buffers[before...]
        for (entry, buffer) in rest.enumerated() {
          // Here the identifier and NEXT mean nothing.
          store(
            table + 16 * UInt64(entry), address: buffer.address, count: buffer.count, flags: 0x5555,
            next: buffer.isWritable ? Self.write : entry % 2 == 0 ? Self.next : 0)
        }
        add(
          address: table, count: UInt32(16 * rest.count), identifier: identifier,
          flags: flags | Self.indirect)
      }
    }
    counts[identifier] = needed
    return identifier
  }

  /// Puts any descriptor into the next place, and keeps the first of those that are not published from sight.
  /// - Parameter isAvailable: false leaves the two bits as if it were not.
  package func add(
    address: UInt64, count: UInt32, identifier: UInt16, flags: UInt16, isAvailable: Bool = true
  ) {
    let bits = isAvailable ? availableFlags(available) : usedFlags(available)
    let here = place(available.index)
    let isFirst = hidden == nil
    // What is stored as `flags` and `next` of a split ring: the identifier, and the flags.
    let former = UInt16(littleEndian: CLinux_load16(memory.pointer(here + 14)))
    store(here, address: address, count: count, flags: identifier, next: isFirst ? former : flags | bits)
    if isFirst { hidden = (here, flags | bits) }
    vacancies -= 1
    unkicked += 1
    advance(&available, by: 1)
  }

  @discardableResult
  override package func publish() -> Bool {
    if let hidden {
      CLinux_store16_release(memory.pointer(hidden.place + 14), hidden.flags.littleEndian)
    }
    hidden = nil
    CLinux_fence()
    let count = UInt16(truncatingIfNeeded: unkicked)
    unkicked = 0
    let event = UInt32(littleEndian: CLinux_load32(deviceEvent))
    guard usesEventIndex, event >> 16 == 2 else { return event >> 16 != 1 }
    let wanted = PackedPosition(rawValue: UInt16(truncatingIfNeeded: event))
    let index = wanted.wrap == available.wrap ? wanted.index : wanted.index &- size
    return (available.index &- index) &- 1 < count
  }

  override package var wantsKick: Bool {
    UInt32(littleEndian: CLinux_load32(deviceEvent)) >> 16 != 1
  }

  // MARK: Collecting

  override package func take() -> Used? {
    let here = memory.pointer(place(used.index))
    let flags = UInt16(littleEndian: CLinux_load16_acquire(here + 14))
    guard flags & (1 << 7 | 1 << 15) == usedFlags(used) else { return nil }
    let identifier = UInt16(littleEndian: CLinux_load16(here + 12))
    let result = Used(
      head: UInt32(identifier), written: UInt32(littleEndian: CLinux_load32(here + 8)))
    if let count = counts.removeValue(forKey: identifier) {
      release(identifier, count)
    }
    return result
  }

  /// Goes on after a used chain that was put there with `add`.
  package func release(_ identifier: UInt16, _ count: Int) {
    identifiers.append(identifier)
    vacancies += count
    advance(&used, by: count)
  }

  /// Asks to be called once this place is passed, or (nil) for everything.
  package func setUsedEvent(_ position: PackedPosition?) {
    let value = position.map { UInt32($0.rawValue) | 2 << 16 } ?? 0
    CLinux_store32(driverEvent, value.littleEndian)
    CLinux_fence()
  }

  override package func setNoInterrupt(_ enabled: Bool) {
    CLinux_store32(driverEvent, (enabled ? UInt32(1) << 16 : 0).littleEndian)
  }
}
