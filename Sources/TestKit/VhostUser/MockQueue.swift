// The driver's side of a split ring.
import CLinux
package import VhostUser

/// Builds chains in a ring and takes back what the device used; sane by itself, insane on demand.
///
/// `MockPackedQueue` does the same with the other layout.
package class MockQueue {
  /// A buffer in guest memory.
  package struct Buffer: Equatable, Sendable {
    package var address: UInt64
    package var count: UInt32
    package var isWritable: Bool

    package init(address: UInt64, count: UInt32, isWritable: Bool) {
      self.address = address
      self.count = count
      self.isWritable = isWritable
    }
  }

  /// An entry of the used ring.
  package struct Used: Equatable, Sendable {
    package var head: UInt32
    package var written: UInt32

    package init(head: UInt32, written: UInt32) {
      self.head = head
      self.written = written
    }
  }

  package static let next: UInt16 = 1
  package static let write: UInt16 = 2
  package static let indirect: UInt16 = 4

  package let index: Int
  package let size: UInt16
  /// Guest address of the descriptor table; the available and the used ring follow.
  package let base: UInt64
  package let memory: MockMemory
  /// Whether kicks and calls follow the event index.
  package var usesEventIndex = false
  /// The available index of the next chain, published or not.
  package var nextAvailable: UInt16 = 0
  /// The used index that is taken next.
  package var nextUsed: UInt16 = 0
  /// The available index of the last `publish`.
  package var kickedAvailable: UInt16 = 0
  private var vacant: [UInt16] = []
  private var links: [UInt16]

  /// A zeroed ring at a guest address, all of it in one region.
  package required init(index: Int, size: UInt16, base: UInt64, memory: MockMemory) {
    self.index = index
    self.size = size
    self.base = base
    self.memory = memory
    links = [UInt16](repeating: 0, count: Int(size))
    reset()
  }

  /// Bytes that a ring of this size takes.
  package static func byteCount(size: UInt16) -> Int {
    16 * Int(size) + 8 + 2 * Int(size) + 8 + 8 * Int(size)
  }

  /// What SET_VRING_BASE says of a ring that goes on where it is, with nothing under way.
  package var ringBase: UInt32 { UInt32(nextUsed) }
  package var availableBase: UInt64 { base + 16 * UInt64(size) }
  package var usedBase: UInt64 { (availableBase + 6 + 2 * UInt64(size) + 3) & ~3 }
  private var available: UnsafeMutableRawPointer { memory.pointer(availableBase) }
  private var used: UnsafeMutableRawPointer { memory.pointer(usedBase) }

  /// What SET_VRING_ADDR says; UML leaves the log address at all ones.
  package var addresses: VringAddress {
    VringAddress(
      index: UInt32(index), descriptors: memory.userAddress(base), used: memory.userAddress(usedBase),
      available: memory.userAddress(availableBase))
  }

  /// A fresh ring, as after a reset of the driver.
  package func reset() {
    (memory.pointer(base)).initializeMemory(as: UInt8.self, repeating: 0, count: Self.byteCount(size: size))
    vacant = (0..<size).reversed()
    nextAvailable = 0
    nextUsed = 0
    kickedAvailable = 0
  }

  /// The same driver on a copy of its guest's memory.
  package func copied(onto memory: MockMemory) -> MockQueue {
    let saved = memory.read(at: base, count: Self.byteCount(size: size))
    let copy = Self(index: index, size: size, base: base, memory: memory)
    memory.write(saved, at: base)
    copy.adopt(self)
    return copy
  }

  func adopt(_ other: MockQueue) {
    usesEventIndex = other.usesEventIndex
    nextAvailable = other.nextAvailable
    nextUsed = other.nextUsed
    kickedAvailable = other.kickedAvailable
    vacant = other.vacant
    links = other.links
  }

  // MARK: Submitting

  /// Puts a chain of buffers into the table and makes it available, without showing it yet.
  /// - Parameters:
  ///   - table: where to put an indirect table for all buffers but the first `direct`; nil: no table.
  /// - Returns: the head, or nil if there are not enough descriptors.
  package func submit(_ buffers: [Buffer], table: UInt64? = nil, direct: Int = 0) -> UInt16? {
    let before = table == nil ? buffers.count : direct
    let needed = table == nil ? before : before + 1
    guard needed > 0, vacant.count >= needed else { return nil }
    let slots = (0..<needed).map { _ in vacant.removeLast() }
    for (position, slot) in slots.enumerated() {
      let isLast = position == needed - 1
      let next = isLast ? 0 : slots[position + 1]
      links[Int(slot)] = isLast ? slot : next
      if position < before {
        set(slot, buffers[position], next: isLast ? nil : next)
      } else if let table {
        let rest = buffers[before...]
        set(slot, address: table, count: UInt32(16 * rest.count), flags: Self.indirect, next: 0)
        for (entry, buffer) in rest.enumerated() {
          let flags = (buffer.isWritable ? Self.write : 0) | (entry == rest.count - 1 ? 0 : Self.next)
          store(
            table + 16 * UInt64(entry), address: buffer.address, count: buffer.count, flags: flags,
            next: UInt16(entry + 1))
        }
      }
    }
    makeAvailable(slots[0])
    return slots[0]
  }

  private func set(_ slot: UInt16, _ buffer: Buffer, next: UInt16?) {
    let flags = (buffer.isWritable ? Self.write : 0) | (next == nil ? 0 : Self.next)
    set(slot, address: buffer.address, count: buffer.count, flags: flags, next: next ?? 0)
  }

  /// Writes any descriptor into the ring's table.
  package func set(_ slot: UInt16, address: UInt64, count: UInt32, flags: UInt16, next: UInt16) {
    store(base + 16 * UInt64(slot), address: address, count: count, flags: flags, next: next)
  }

  /// Writes any descriptor anywhere.
  package func store(_ place: UInt64, address: UInt64, count: UInt32, flags: UInt16, next: UInt16) {
    var bytes: [UInt8] = []
    bytes.appendNative(address.littleEndian)
    bytes.appendNative(count.littleEndian)
    bytes.appendNative(flags.littleEndian)
    bytes.appendNative(next.littleEndian)
    memory.write(bytes, at: place)
  }

  /// Puts any head into the next available slot.
  package func makeAvailable(_ head: UInt16) {
    CLinux_store16(available + 4 + 2 * Int(nextAvailable & (size - 1)), head.littleEndian)
    nextAvailable &+= 1
  }

  /// Shows the device what was made available; returns whether it wants to be kicked.
  @discardableResult
  package func publish() -> Bool {
    CLinux_store16_release(available + 2, nextAvailable.littleEndian)
    CLinux_fence()
    let old = kickedAvailable
    kickedAvailable = nextAvailable
    guard usesEventIndex else { return wantsKick }
    let event = UInt16(littleEndian: CLinux_load16(used + 4 + 8 * Int(size)))
    return (nextAvailable &- event) &- 1 < nextAvailable &- old
  }

  /// Whether the device asks for kicks (without the event index).
  package var wantsKick: Bool { UInt16(littleEndian: CLinux_load16(used)) & 1 == 0 }

  // MARK: Collecting

  /// The used index that the device published.
  package var usedIndex: UInt16 { UInt16(littleEndian: CLinux_load16_acquire(used + 2)) }

  /// Takes the next used entry, and its descriptors back if it names a chain of ours.
  package func take() -> Used? {
    guard usedIndex != nextUsed else { return nil }
    let entry = used + 4 + 8 * Int(nextUsed & (size - 1))
    let result = Used(
      head: UInt32(littleEndian: CLinux_load32(entry)),
      written: UInt32(littleEndian: CLinux_load32(entry + 4)))
    nextUsed &+= 1
    release(result.head)
    return result
  }

  /// Takes all used entries that there are.
  package func takeAll() -> [Used] {
    var all: [Used] = []
    while let one = take() { all.append(one) }
    return all
  }

  private func release(_ head: UInt32) {
    guard var slot = UInt16(exactly: head), slot < size, !vacant.contains(slot) else { return }
    while true {
      vacant.append(slot)
      let next = links[Int(slot)]
      if next == slot { return }
      slot = next
    }
  }

  /// Asks to be called once the used index passes this one (with the event index).
  package func setUsedEvent(_ index: UInt16) {
    CLinux_store16(available + 4 + 2 * Int(size), index.littleEndian)
    CLinux_fence()
  }

  /// Asks not to be called (without the event index).
  package func setNoInterrupt(_ enabled: Bool) { CLinux_store16(available, enabled ? 1 : 0) }
}
