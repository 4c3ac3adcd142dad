import CLinux
import Glibc
import Linux
import TestKit
import Testing
import VhostUser

@Suite struct DirtyLogTests {
  static let wish = MockDriver.Handshake(protocolFeatures: [.replyAck, .logDescriptor, .backendChannel])

  private final class Log {
    let file: Descriptor
    let mapping: Mapping

    init() throws {
      file = try makeSealedMemory(named: "log", count: 4096)
      mapping = try Mapping(sharing: file, count: 4096)
    }

    /// The guest addresses of the pages that are marked; takes the marks away.
    func take() -> [UInt64] {
      var pages: [UInt64] = []
      for byte in 0..<4096 {
        let bits = (mapping.base + byte).load(as: UInt8.self)
        for bit in 0..<8 where bits & (1 << UInt8(bit)) != 0 { pages.append(UInt64(byte * 8 + bit) << 12) }
        (mapping.base + byte).storeBytes(of: 0, as: UInt8.self)
      }
      return pages
    }
  }

  private func payload(_ size: UInt64, _ offset: UInt64 = 0) -> [UInt8] {
    var bytes: [UInt8] = []
    LogLayout(size: size, offset: offset).encode(into: &bytes)
    return bytes
  }

  private func logRing(_ rig: Rig) throws {
    var addresses = rig.queue.addresses
    addresses.flags = 1
    addresses.log = rig.queue.usedBase
    var bytes: [UInt8] = []
    addresses.encode(into: &bytes)
    try rig.driver.tell(.setVringAddress, bytes)
  }

  @Test(arguments: Layout.allCases)
  func `Every page that we write is marked, after it was written, and no other`(_ layout: Layout) throws {
    let rig = try Rig(inBand: false, layout: layout)
    rig.device.manner = .hold
    var wish = Self.wish
    wish.features = ~RingFeatures.logAll
    try rig.driver.handshake(wish)
    // As QEMU begins a migration: the log, the feature, the rings.
    let log = try Log()
    #expect(
      try rig.driver.ask(.setLogBase, payload(4096), descriptors: [log.file.rawValue])
        == rig.driver.bytes(UInt64(0)))
    try rig.driver.tell(.setFeatures, rig.driver.bytes(rig.driver.features | RingFeatures.logAll))
    try logRing(rig)
    _ = log.take()
    let base = rig.driver.bufferBase
    _ = rig.queue.submit([
      .init(address: base, count: 16, isWritable: false),
      .init(address: base + 0x2800, count: 0x1000, isWritable: true),
      .init(address: base + 0x6010, count: 1, isWritable: true),
    ])
    try rig.driver.publishAndKick(rig.queue)
    try rig.settle()
    let ringPages = Set([
      (layout == .split ? rig.queue.usedBase : rig.queue.base) & ~4095, rig.queue.usedBase & ~4095,
      (rig.queue.usedBase + 2052) & ~4095,
    ])
    #expect(ringPages.isSuperset(of: log.take()), "taken is not written")
    rig.device.completeOne()
    rig.session.virtqueue(0).publishAndSignal()
    let pages = Set(log.take())
    #expect(pages.isSuperset(of: [base + 0x2000, base + 0x3000, base + 0x6000]))
    #expect(pages.subtracting([base + 0x2000, base + 0x3000, base + 0x6000]).isSubset(of: ringPages))
    #expect(pages.contains((layout == .split ? rig.queue.usedBase : rig.queue.base) & ~4095))
    #expect(rig.queue.takeAll().count == 1)
  }

  @Test(arguments: Layout.allCases)
  func `Without the ring's flag the ring is not marked, without the feature nothing is`(_ layout: Layout)
    throws
  {
    for logs in [false, true] {
      let rig = try Rig(inBand: false, layout: layout)
      var wish = Self.wish
      if !logs { wish.features = ~RingFeatures.logAll }
      try rig.driver.handshake(wish)
      let log = try Log()
      _ = try rig.driver.ask(.setLogBase, payload(4096), descriptors: [log.file.rawValue])
      let signal = try Descriptor.eventCounter()
      try rig.driver.tell(.setLogDescriptor, descriptors: [signal.rawValue])
      _ = try rig.submitRead(count: 512)
      try rig.driver.publishAndKick(rig.queue)
      try rig.settle()
      let base = rig.driver.bufferBase
      #expect(log.take() == (logs ? [base, base + 4096] : []))
      var count: UInt64 = 0
      #expect((CLinux_take_count(signal.rawValue, &count) == 8) == logs)
    }
  }

  @Test func `A log that is shorter than the guest is written within its bounds`() throws {
    let rig = try Rig(inBand: false)
    try rig.driver.handshake(Self.wish)
    let log = try Log()
    // Guest memory begins at page 256, which is in byte 32; the buffers are behind that.
    _ = try rig.driver.ask(.setLogBase, payload(33), descriptors: [log.file.rawValue])
    _ = try rig.submitRead(count: 0x20000)
    try rig.driver.publishAndKick(rig.queue)
    try rig.settle()
    #expect(log.take().allSatisfy { $0 < 33 * 8 << 12 })
    #expect(rig.queue.takeAll().count == 1)
  }

  @Test func `Logs that do not fit are refused, with a number`() throws {
    let rig = try Rig(inBand: false)
    try rig.driver.introduce(Self.wish)
    let log = try Log()
    for (size, offset) in [(4097, 0), (0, 0), (4096, 1), (.max, 1), (1 << 62, 0)] as [(UInt64, UInt64)] {
      let reply = try rig.driver.ask(
        .setLogBase, payload(size, offset), descriptors: [log.file.rawValue])
      #expect(reply == rig.driver.bytes(UInt64(1)), "\(size) at \(offset)")
    }
    #expect(try rig.driver.ask(.setLogBase, payload(4096)) == rig.driver.bytes(UInt64(1)))
    #expect(try rig.driver.ask(.setLogBase, [1]) == rig.driver.bytes(UInt64(1)))
    #expect(rig.device.reason == nil)
  }
}
