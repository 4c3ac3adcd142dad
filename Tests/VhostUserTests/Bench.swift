import CLinux
import Glibc
import Linux
import TestKit
import Testing
import VhostUser

enum Layout: CaseIterable {
  case split, packed

  var features: UInt64 { self == .packed ? RingFeatures.packed : 0 }
}

/// A ring with both its sides and nothing between them.
final class Bench {
  let memory: MockMemory
  let guest: GuestMemory
  let driver: MockQueue
  private var device: Ring
  let buffers: UInt64

  /// - Parameter index: where both sides begin, so that tests cross the wrap.
  init(
    _ layout: Layout = .split, size: UInt16, features: UInt64 = RingFeatures.offered,
    startingAt index: UInt16 = 0, suppressesKicks: Bool = false
  ) throws {
    let memory = try MockMemory()
    self.memory = memory
    guest = try GuestMemory(
      regions: memory.regions, descriptors: memory.regions.map { _ in memory.descriptor.rawValue })
    switch layout {
    case .split:
      driver = MockQueue(index: 0, size: size, base: MockMemory.guestBase, memory: memory)
      driver.nextAvailable = index
      driver.nextUsed = index
      driver.kickedAvailable = index
      CLinux_store16(memory.pointer(driver.availableBase) + 2, index)
      CLinux_store16(memory.pointer(driver.usedBase) + 2, index)
    case .packed:
      let packed = MockPackedQueue(index: 0, size: size, base: MockMemory.guestBase, memory: memory)
      packed.begin(at: PackedPosition(rawValue: index & 0x7fff % size | index & 0x8000))
      driver = packed
    }
    driver.usesEventIndex = features & RingFeatures.eventIndex != 0
    device = try Ring(
      size: size, addresses: driver.addresses, base: driver.ringBase, features: features | layout.features,
      memory: guest, suppressesKicks: suppressesKicks)
    buffers = (MockMemory.guestBase + UInt64(MockQueue.byteCount(size: size)) + 4095) & ~4095
  }

  var packed: MockPackedQueue {
    get throws { try #require(driver as? MockPackedQueue) }
  }

  func next(asksForKick: Bool = true) -> RingStep { device.next(asksForKick: asksForKick) }
  func declineKicks() { device.declineKicks() }
  func complete(_ head: UInt16, written: UInt32 = 1) -> Bool { device.complete(head: head, written: written) }
  func publish() -> Bool { device.publish() }
  var outstanding: Int { device.outstanding }
  var hasAvailable: Bool { device.hasAvailable }
  var base: UInt32 { device.base }

  func chain() throws -> Chain {
    if case .chain(let chain) = device.next() { return chain }
    throw Refusal()
  }

  /// Where the device sees a guest address.
  func host(_ address: UInt64?) -> UnsafeMutableRawPointer? {
    address.flatMap { guest.piece(at: $0, count: 1)?.baseAddress }
  }

  func refusal() -> ChainFault? {
    if case .refused(let fault, _) = device.next() { return fault }
    return nil
  }

  struct Refusal: Error {}
}
