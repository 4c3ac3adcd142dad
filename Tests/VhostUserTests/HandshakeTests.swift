import CLinux
import Glibc
import Linux
import TestKit
import Testing
import VhostUser

@Suite struct HandshakeTests {
  private func number(_ bytes: [UInt8]) -> UInt64 { bytes.span.bytes.unsafeLoadUnaligned(as: UInt64.self) }

  @Test func `The handshake of UML, message by message, leads to a running ring and back`() throws {
    let rig = try Rig()
    let configuration = try rig.driver.handshake(configurationBytes: 60)
    #expect(configuration == [UInt8](0..<60))
    #expect(rig.driver.sent == [3, 1, 15, 16, 21, 24, 2, 5, 8, 10, 9, 18])
    #expect(rig.driver.protocolFeatures == MockDriver.Handshake.umlProtocolFeatures)
    #expect(rig.session.features == rig.driver.features)
    #expect(rig.session.isRunning(queue: 0))
    let head = try rig.submitRead()
    try rig.driver.publishAndKick(rig.queue)
    #expect(rig.queue.takeAll() == [.init(head: UInt32(head), written: 513)])
    #expect(rig.driver.events.contains(.call(queue: 0)))
    try rig.driver.stop()
    #expect(!rig.session.isRunning(queue: 0))
    #expect(rig.lines.all.isEmpty)
    // The same guest comes back on the same connection.
    rig.queue.reset()
    try rig.driver.tell(.setFeatures, rig.driver.bytes(rig.driver.features))
    try rig.driver.shareMemory()
    try rig.driver.setUp(rig.queue)
    try rig.driver.start(rig.queue)
    _ = try rig.submitRead()
    try rig.driver.publishAndKick(rig.queue)
    #expect(rig.queue.takeAll().count == 1)
  }

  @Test func `A front-end with eventfds gets its ring served when KICK or ENABLE comes`() throws {
    let rig = try Rig(inBand: false)
    let wish = MockDriver.Handshake(protocolFeatures: [.replyAck, .configuration, .multipleQueues])
    try rig.driver.introduce(wish)
    #expect(!rig.driver.isInBand)
    #expect(number(try rig.driver.ask(.getQueueCount)) == 1)
    try rig.driver.tell(.setFeatures, rig.driver.bytes(rig.driver.features))
    try rig.driver.shareMemory()
    rig.driver.makeQueues(wish)
    // Made available before anybody listens, and never kicked.
    _ = try rig.submitRead()
    rig.queue.publish()
    try rig.driver.setUp(rig.queue)
    #expect(rig.device.served == 0)
    try rig.driver.start(rig.queue)
    #expect(rig.device.served == 1)
    #expect(rig.driver.takeCallCount(queue: 0) >= 1)
    _ = try rig.submitRead()
    try rig.driver.publishAndKick(rig.queue)
    try rig.settle()
    #expect(rig.queue.takeAll().count == 2)
  }

  @Test func `In-band notifications are offered only by choice`() throws {
    for inBand in [false, true] {
      let rig = try Rig(inBand: inBand)
      let offered = ProtocolFeatures(rawValue: number(try rig.driver.ask(.getProtocolFeatures)))
      #expect(offered.contains(.inBandNotifications) == inBand)
      #expect(offered.contains([.replyAck, .backendChannel, .configuration, .multipleQueues]))
    }
  }

  @Test func `The session adds the ring's features to the device's`() throws {
    let rig = try Rig()
    let offered = number(try rig.driver.ask(.getFeatures))
    #expect(offered == rig.device.deviceFeatures | 1 << 28 | 1 << 29 | 1 << 30 | 1 << 32)
  }

  @Test func `Bits that were never offered are refused, and the session lives`() throws {
    let rig = try Rig()
    try rig.driver.introduce(MockDriver.Handshake())
    #expect(throws: MockDriverError.refused(request: 2, value: 1)) {
      try rig.driver.tell(.setFeatures, rig.driver.bytes(1 << 34))
    }
    #expect(throws: MockDriverError.refused(request: 16, value: 1)) {
      try rig.driver.tell(.setProtocolFeatures, rig.driver.bytes(UInt64(1) << 12))
    }
    #expect(rig.session.features == 0)
    #expect(rig.lines.all.count == 2)
    _ = try rig.driver.ask(.getFeatures)
  }

  @Test func `Messages that make no sense are refused one by one`() throws {
    let rig = try Rig()
    try rig.driver.handshake()
    let driver = rig.driver
    func refuses(
      _ request: FrontEndRequest, _ payload: [UInt8] = [], descriptors: [CInt] = [],
      line: SourceLocation = #_sourceLocation
    ) {
      #expect(throws: MockDriverError.refused(request: request.rawValue, value: 1), sourceLocation: line) {
        try driver.tell(request, payload, descriptors: descriptors)
      }
    }
    func state(_ index: UInt32, _ value: UInt32) -> [UInt8] {
      driver.bytes(VringState(index: index, value: value))
    }
    let pipe = try Descriptor.pipe()
    // While the ring runs.
    refuses(.setVringSize, state(0, 128))
    refuses(.setVringBase, state(0, 0))
    try driver.stop()
    for size in [0, 3, 100, 65536, UInt32.max] { refuses(.setVringSize, state(0, size)) }
    refuses(.setVringSize, state(1, 128))
    refuses(.setVringSize, state(UInt32.max, 128))
    refuses(.setVringSize, [0])
    refuses(.setVringBase, state(0, 65536))
    refuses(.setVringEnable, state(9, 1))
    refuses(.vringKick, state(1, 0))
    refuses(.vringKick, [])
    refuses(.setVringKick, driver.bytes(UInt64(0)))
    refuses(.setVringKick, driver.bytes(UInt64(0x100)), descriptors: [pipe.reader.rawValue])
    refuses(.setVringKick, driver.bytes(UInt64(3)), descriptors: [pipe.reader.rawValue])
    let file = try makeSealedMemory(named: "file", count: 4096)
    refuses(.setVringKick, driver.bytes(UInt64(0)), descriptors: [file.rawValue])
    refuses(.setVringCall, driver.bytes(UInt64(0)))
    refuses(.setVringError, driver.bytes(UInt64(0)))
    refuses(.setBackendChannel)
    refuses(.setBackendChannel, descriptors: [pipe.reader.rawValue])
    refuses(.setConfiguration, [])
    refuses(.resetDevice)
    var access: [UInt8] = []
    ConfigurationAccess(offset: 0, bytes: [1]).encode(into: &access)
    refuses(.setConfiguration, access)
    var address: [UInt8] = []
    VringAddress(index: 0, descriptors: 0, used: 0, available: 0).encode(into: &address)
    refuses(.setVringAddress, address)
    var table: [UInt8] = []
    MemoryTable(regions: rig.memory.regions).encode(into: &table)
    refuses(.setMemoryTable, table)
    refuses(.setMemoryTable, table, descriptors: [file.rawValue])
    refuses(.setMemoryTable, table, descriptors: [file.rawValue, file.rawValue])
    refuses(.setMemoryTable, [UInt8](repeating: 0xff, count: 8))
    // All that was refused changed nothing.
    try driver.setUp(rig.queue)
    try driver.start(rig.queue)
    _ = try rig.submitRead()
    try driver.publishAndKick(rig.queue)
    #expect(rig.queue.takeAll().count == 1)
    #expect(rig.lines.all.count == Limits.logLines, "the rest is only counted")
    rig.session.end()
    try rig.settle()
    #expect(rig.lines.all.last?.hasSuffix("more lines of this session are not shown") == true)
  }

  @Test func `Unknown requests are refused when a reply is wanted and ignored when not`() throws {
    let rig = try Rig()
    try rig.driver.send(99, [1, 2, 3], needReply: true)
    #expect(try rig.driver.awaitReply(to: 99) == rig.driver.bytes(UInt64(1)))
    try rig.driver.send(6, [], needReply: false)
    _ = try rig.driver.ask(.getFeatures)
    #expect(rig.device.reason == nil)
  }

  @Test func `A configuration read outside the space is answered without a payload`() throws {
    let rig = try Rig()
    try rig.driver.introduce(MockDriver.Handshake())
    #expect(try rig.driver.readConfiguration(count: 96).count == 96)
    #expect(try rig.driver.readConfiguration(count: 97) == [])
    var access: [UInt8] = []
    ConfigurationAccess(offset: 90, bytes: [0, 0, 0]).encode(into: &access)
    #expect(try rig.driver.ask(.getConfiguration, access).suffix(3) == [90, 91, 92])
    access = []
    ConfigurationAccess(offset: .max, bytes: [0]).encode(into: &access)
    #expect(try rig.driver.ask(.getConfiguration, access) == [])
  }

  @Test func `A configuration write reaches the device`() throws {
    let rig = try Rig()
    try rig.driver.introduce(MockDriver.Handshake())
    var access: [UInt8] = []
    ConfigurationAccess(offset: 32, bytes: [1]).encode(into: &access)
    try rig.driver.tell(.setConfiguration, access)
    #expect(rig.device.configurationSpace[32] == 1)
  }

  @Test func `GET_VRING_BASE stops the ring, tells where it was, and a base starts it again`() throws {
    let rig = try Rig()
    try rig.driver.handshake()
    for _ in 0..<3 {
      _ = try rig.submitRead()
      try rig.driver.publishAndKick(rig.queue)
      #expect(rig.queue.takeAll().count == 1)
    }
    let reply = try rig.driver.ask(.getVringBase, rig.driver.bytes(VringState(index: 0, value: 0)))
    #expect(reply == rig.driver.bytes(VringState(index: 0, value: 3)))
    #expect(rig.device.events.last == "stopping 0" && !rig.session.isRunning(queue: 0))
    try rig.driver.setUp(rig.queue)
    #expect(rig.session.isRunning(queue: 0))
    _ = try rig.submitRead()
    try rig.driver.publishAndKick(rig.queue)
    #expect(rig.queue.takeAll().count == 1)
  }

  @Test func `GET_VRING_BASE of a ring that does not exist ends the session, with a reason`() throws {
    let rig = try Rig()
    #expect(throws: MockDriverError.closed) {
      try rig.driver.ask(.getVringBase, rig.driver.bytes(VringState(index: 5, value: 0)))
    }
    #expect(rig.device.reason == .some("there is no ring 5"))
  }

  @Test func `A disabled ring serves nothing until it is enabled`() throws {
    let rig = try Rig()
    try rig.driver.handshake()
    try rig.driver.stop()
    _ = try rig.submitRead()
    rig.queue.publish()
    try rig.driver.kick(rig.queue)
    #expect(rig.device.served == 0)
    try rig.driver.tell(.setVringEnable, rig.driver.bytes(VringState(index: 0, value: 1)))
    #expect(rig.device.served == 1)
  }

  @Test func `RESET_DEVICE takes rings and features, not the connection`() throws {
    let rig = try Rig()
    var wish = MockDriver.Handshake()
    wish.protocolFeatures.insert(.resetDevice)
    try rig.driver.handshake(wish)
    try rig.driver.tell(.resetDevice)
    #expect(rig.session.features == 0 && !rig.session.isRunning(queue: 0))
    #expect(rig.device.events.suffix(2) == ["stopping 0", "features 0"])
  }

  @Test func `Memory comes in slots, before or after the rings`() throws {
    let rig = try Rig()
    let wish = MockDriver.Handshake(
      protocolFeatures: MockDriver.Handshake.umlProtocolFeatures.union(.memorySlots))
    let driver = rig.driver
    try driver.introduce(wish)
    #expect(number(try driver.ask(.getMemorySlots)) == 32)
    try driver.tell(.setFeatures, driver.bytes(driver.features))
    driver.makeQueues(wish)
    try driver.setUp(rig.queue)
    try driver.start(rig.queue)
    #expect(!rig.session.isRunning(queue: 0))
    func slot(_ region: MemoryRegion) -> [UInt8] {
      var payload = [UInt8](repeating: 0, count: 8)
      region.encode(into: &payload)
      return payload
    }
    for region in rig.memory.regions {
      try driver.tell(.addMemoryRegion, slot(region), descriptors: [rig.memory.descriptor.rawValue])
    }
    #expect(rig.session.isRunning(queue: 0))
    _ = try rig.submitRead()
    try driver.publishAndKick(rig.queue)
    #expect(rig.queue.takeAll().count == 1)
    #expect(throws: MockDriverError.refused(request: 37, value: 1)) {
      try driver.tell(
        .addMemoryRegion, slot(rig.memory.regions[0]), descriptors: [rig.memory.descriptor.rawValue])
    }
    try driver.tell(
      .removeMemoryRegion, slot(rig.memory.regions[1]), descriptors: [rig.memory.descriptor.rawValue])
    #expect(rig.session.isRunning(queue: 0))
    try driver.tell(.removeMemoryRegion, slot(rig.memory.regions[0]))
    #expect(!rig.session.isRunning(queue: 0))
    #expect(throws: MockDriverError.refused(request: 38, value: 1)) {
      try driver.tell(.removeMemoryRegion, slot(rig.memory.regions[0]))
    }
  }

  @Test func `A new memory table moves the ring without losing what is held`() throws {
    let rig = try Rig()
    rig.device.manner = .hold
    try rig.driver.handshake()
    _ = try rig.submitRead()
    try rig.driver.publishAndKick(rig.queue)
    #expect(rig.device.held.count == 1)
    try rig.driver.shareMemory()
    #expect(rig.session.isRunning(queue: 0))
    rig.device.completeOne()
    rig.session.virtqueue(0).publishAndSignal()
    #expect(rig.queue.takeAll().count == 1)
  }

  @Test func `Without the protocol's feature bit rings are enabled from the start`() throws {
    let rig = try Rig(inBand: false)
    let driver = rig.driver
    let wish = MockDriver.Handshake(protocolFeatures: [], features: ~(1 << 30))
    try driver.introduce(wish)
    try driver.tell(.setFeatures, driver.bytes(driver.features))
    try driver.shareMemory()
    driver.makeQueues(wish)
    try driver.setUp(rig.queue)
    let kick = try Descriptor.eventCounter()
    try driver.tell(.setVringKick, driver.bytes(UInt64(0)), descriptors: [kick.rawValue])
    try rig.settle()
    #expect(rig.session.isRunning(queue: 0))
  }

  @Test func `Packed rings are offered by choice, and may have any size`() throws {
    #expect(number(try Rig().driver.ask(.getFeatures)) & RingFeatures.packed == 0)
    for inBand in [true, false] {
      let rig = try Rig(inBand: inBand, layout: .packed)
      try rig.driver.handshake(MockDriver.Handshake(queueSize: 100))
      #expect(rig.session.features & RingFeatures.packed != 0)
      for _ in 0..<70 {
        _ = try rig.submitRead()
        try rig.driver.publishAndKick(rig.queue)
        try rig.settle()
        #expect(rig.queue.takeAll().count == 1)
      }
      // 70 chains of three: two laps and ten, and so back to the first sign.
      let reply = try rig.driver.ask(.getVringBase, rig.driver.bytes(VringState(index: 0, value: 0)))
      #expect(reply == rig.driver.bytes(VringState(index: 0, value: 0x800a_800a)))
      #expect(rig.lines.all.isEmpty)
    }
  }

  @Test func `UML gives a packed ring the base 0, and it starts at its beginning all the same`() throws {
    let rig = try Rig(layout: .packed)
    try rig.driver.handshake()
    try rig.driver.stop()
    rig.queue.reset()
    try rig.driver.tell(.setVringBase, rig.driver.bytes(VringState(index: 0, value: 0)))
    try rig.driver.start(rig.queue)
    _ = try rig.submitRead()
    try rig.driver.publishAndKick(rig.queue)
    #expect(rig.queue.takeAll().count == 1)
  }
}
