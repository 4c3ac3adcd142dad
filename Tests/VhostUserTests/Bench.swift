import CLinux
import Glibc
import Linux
import TestKit
import Testing
import VhostUser

/// A ring with both its sides and nothing between them.
final class Bench {
  let memory: MockMemory
  let guest: GuestMemory
  let driver: MockQueue
  private var device: SplitQueue
  let buffers: UInt64

  init(
    size: UInt16, features: UInt64 = RingFeatures.offered, startingAt index: UInt16 = 0
  ) throws {
    let memory = try MockMemory()
    self.memory = memory
    guest = try GuestMemory(
      regions: memory.regions, descriptors: memory.regions.map { _ in memory.descriptor.rawValue })
    driver = MockQueue(index: 0, size: size, base: MockMemory.guestBase, memory: memory)
    driver.usesEventIndex = features & RingFeatures.eventIndex != 0
    // Both indices start anywhere, so that tests cross the wrap.
    driver.nextAvailable = index
    driver.nextUsed = index
    CLinux_store16(memory.pointer(driver.availableBase) + 2, index)
    CLinux_store16(memory.pointer(driver.usedBase) + 2, index)
    device = try SplitQueue(
      size: size, addresses: driver.addresses, base: index, features: features, memory: guest)
    buffers = (MockMemory.guestBase + UInt64(MockQueue.byteCount(size: size)) + 4095) & ~4095
  }

  func next() -> RingStep { device.next() }
  func complete(_ head: UInt16, written: UInt32 = 1) -> Bool { device.complete(head: head, written: written) }
  func publish() -> Bool { device.publish() }
  var outstanding: Int { device.outstanding }
  var hasAvailable: Bool { device.hasAvailable }

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
