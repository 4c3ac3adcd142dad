import CLinux
import Glibc
import Linux
import Synchronization
import TestKit
import Testing
import VhostUser

/// A rig whose rings live on another thread.
final class HomeRig {
  let rig: Rig
  let home: ThreadedHome
  var driver: MockDriver { rig.driver }

  init(_ layout: Layout = .split, queues: Int = 1, inBand: Bool = false) throws {
    let device = TestDevice()
    home = ThreadedHome()
    device.queueCount = queues
    device.home = home
    rig = try Rig(inBand: inBand, device: device, layout: layout)
  }

  deinit {
    rig.session.end()
    _ = try? rig.loop.runOnce(timeout: 0)
    home.end()
  }

  /// Waits until so many chains have come back; false if they do not.
  func takes(_ count: Int, from queue: MockQueue? = nil) -> Bool {
    let queue = queue ?? rig.queue
    var all = 0
    eventually {
      all += queue.takeAll().count
      return all >= count
    }
    return all == count
  }
}

@Suite struct RingHomeTests {
  @Test(arguments: Layout.allCases) func `A ring with a home is served there, and sleeps until it is kicked`(
    _ layout: Layout
  ) throws {
    for features in [UInt64.max, ~RingFeatures.eventIndex] {
      let it = try HomeRig(layout)
      try it.driver.handshake(MockDriver.Handshake(features: features))
      for round in 1...50 {
        _ = try it.rig.submitRead()
        try it.driver.publishAndKick(it.rig.queue)
        #expect(it.takes(1), "round \(round)")
      }
      #expect(it.home.served.load(ordering: .relaxed) == 50)
      #expect(it.driver.takeCallCount(queue: 0) >= 1)
      #expect(it.rig.device.events.allSatisfy { $0.hasPrefix("features") }, "the device itself is not asked")
      // Nothing to do, nothing done.
      _ = it.home.heldCount
      let waits = it.home.waits.load(ordering: .relaxed)
      usleep(20_000)
      #expect(it.home.waits.load(ordering: .relaxed) <= waits + 1)
    }
  }

  @Test func `In-band notifications are not offered together with homes`() throws {
    let it = try HomeRig(inBand: true)
    try it.driver.introduce(MockDriver.Handshake())
    #expect(!it.driver.isInBand)
  }

  @Test(arguments: Layout.allCases)
  func `Without the event index the driver is silent while its ring is looked at`(_ layout: Layout) throws {
    let it = try HomeRig(layout)
    try it.driver.handshake(MockDriver.Handshake(features: ~RingFeatures.eventIndex))
    nonisolated(unsafe) let queue = it.rig.queue
    nonisolated(unsafe) var wanted: [Bool] = []
    let again = try it.rig.submitRead()
    _ = again
    it.home.perform {
      it.home.onChain = { _ in wanted.append(queue.wantsKick) }
    }
    #expect(it.rig.queue.wantsKick, "it sleeps")
    try it.driver.publishAndKick(it.rig.queue)
    #expect(it.takes(1))
    it.home.perform { it.home.onChain = nil }
    #expect(wanted == [false])
    it.home.perform {}
    _ = it.home.heldCount
    #expect(it.rig.queue.wantsKick, "it sleeps again")
  }

  @Test(arguments: Layout.allCases)
  func `GET_VRING_BASE, ENABLE 0, RESET and the end all wait for what is under way`(_ layout: Layout) throws {
    for way in 0..<5 {
      let it = try HomeRig(layout)
      it.home.manner = .hold
      var wish = MockDriver.Handshake()
      wish.protocolFeatures.insert(.resetDevice)
      try it.driver.handshake(wish)
      for _ in 0..<3 { _ = try it.rig.submitRead() }
      try it.driver.publishAndKick(it.rig.queue)
      eventually { it.home.heldCount >= 3 }
      #expect(it.rig.queue.take() == nil)
      let state = it.driver.bytes(VringState(index: 0, value: 0))
      switch way {
      case 0:
        let base: UInt32 = layout == .split ? 3 : 0x8009_8009
        let expected = it.driver.bytes(VringState(index: 0, value: base))
        #expect(try it.driver.ask(.getVringBase, state) == expected)
      case 1: try it.driver.tell(.setVringEnable, state)
      case 2: try it.driver.tell(.resetDevice)
      case 3: try it.driver.tell(.resetOwner)
      default:
        it.rig.session.end()
        try it.rig.settle()
      }
      #expect(it.rig.queue.takeAll().count == 3, "way \(way)")
      #expect(!it.rig.session.isRunning(queue: 0))
    }
  }

  @Test(arguments: Layout.allCases) func `A stopped ring starts again where it was`(_ layout: Layout) throws {
    let it = try HomeRig(layout)
    it.home.manner = .reverse
    try it.driver.handshake(MockDriver.Handshake(queueSize: 16))
    for round in 0..<20 {
      for _ in 0..<5 { _ = try it.rig.submitRead() }
      try it.driver.publishAndKick(it.rig.queue)
      #expect(it.takes(5), "round \(round)")
      try it.driver.stop()
      try it.driver.setUp(it.rig.queue)
      try it.driver.start(it.rig.queue)
    }
    #expect(it.home.served.load(ordering: .relaxed) == 100)
  }

  @Test(arguments: Layout.allCases)
  func `Chains keep the memory they were taken from, however often it changes`(_ layout: Layout) throws {
    let it = try HomeRig(layout)
    it.home.manner = .hold
    try it.driver.handshake()
    _ = try it.rig.submitRead()
    try it.driver.publishAndKick(it.rig.queue)
    eventually { it.home.heldCount >= 1 }
    for _ in 1..<Limits.retiredMemories { try it.driver.shareMemory() }
    #expect(it.home.heldCount == 1)
    it.home.answerHeld()
    #expect(it.takes(1))
    // Somebody who changes it for ever makes the ring come to rest, so that the old ones can go.
    _ = try it.rig.submitRead()
    try it.driver.publishAndKick(it.rig.queue)
    eventually { it.home.heldCount >= 1 }
    for _ in 0...Limits.retiredMemories { try it.driver.shareMemory() }
    #expect(it.takes(1))
    it.home.perform { it.home.manner = .answer }
    _ = try it.rig.submitRead()
    try it.driver.publishAndKick(it.rig.queue)
    #expect(it.takes(1))
  }

  @Test func `A region goes only after the ring came to rest`() throws {
    let it = try HomeRig()
    it.home.manner = .hold
    var wish = MockDriver.Handshake()
    wish.protocolFeatures.insert(.memorySlots)
    try it.driver.handshake(wish)
    _ = try it.rig.submitRead()
    try it.driver.publishAndKick(it.rig.queue)
    eventually { it.home.heldCount >= 1 }
    func slot(_ region: MemoryRegion) -> [UInt8] {
      var payload = [UInt8](repeating: 0, count: 8)
      region.encode(into: &payload)
      return payload
    }
    try it.driver.tell(.removeMemoryRegion, slot(it.rig.memory.regions[1]))
    #expect(it.rig.queue.takeAll().count == 1)
    #expect(it.rig.session.isRunning(queue: 0) && it.home.starts.load(ordering: .relaxed) == 2)
    try it.driver.tell(.removeMemoryRegion, slot(it.rig.memory.regions[0]))
    #expect(!it.rig.session.isRunning(queue: 0))
  }

  @Test func `A new call descriptor takes effect under a running ring, a new kick restarts it`() throws {
    let it = try HomeRig()
    try it.driver.handshake(MockDriver.Handshake(features: ~RingFeatures.eventIndex))
    let call = try Descriptor.eventCounter()
    try it.driver.tell(.setVringCall, it.driver.bytes(UInt64(0)), descriptors: [call.rawValue])
    var count: UInt64 = 0
    #expect(CLinux_take_count(call.rawValue, &count) == 8, "one call too many tells what came before")
    _ = try it.rig.submitRead()
    try it.driver.publishAndKick(it.rig.queue)
    #expect(it.takes(1))
    it.home.perform {}
    #expect(CLinux_take_count(call.rawValue, &count) == 8)
    try it.driver.start(it.rig.queue)
    #expect(it.home.starts.load(ordering: .relaxed) == 2)
    _ = try it.rig.submitRead()
    try it.driver.publishAndKick(it.rig.queue)
    #expect(it.takes(1))
  }

  @Test func `A bad chain and a broken ring are told in the session's log, by its own thread`() throws {
    let it = try HomeRig(queues: 2)
    try it.driver.handshake(MockDriver.Handshake(queueCount: 2))
    let error = try Descriptor.eventCounter()
    try it.driver.tell(.setVringError, it.driver.bytes(UInt64(0)), descriptors: [error.rawValue])
    let head = try #require(it.rig.queue.submit([.init(address: 1, count: 1, isWritable: false)]))
    try it.driver.publishAndKick(it.rig.queue)
    #expect(it.takes(1))
    it.rig.queue.makeAvailable(256)
    try it.driver.publishAndKick(it.rig.queue)
    var count: UInt64 = 0
    try eventually {
      try it.rig.loop.runOnce(timeout: 1)
      _ = CLinux_take_count(error.rawValue, &count)
      return count > 0
    }
    #expect(count == 1 && !it.rig.session.isRunning(queue: 0))
    #expect(
      it.rig.lines.all == [
        "ring 0, head \(head): buffer at 0x1 is not in guest memory",
        "ring 0 is broken: head 256 is outside the descriptor table",
      ])
    let other = it.driver.queues[1]
    _ = try it.rig.submitRead(other)
    try it.driver.publishAndKick(other)
    #expect(it.takes(1, from: other), "the other ring lives")
  }

  @Test func `A kick that lost its writers is told, and not watched any more`() throws {
    let it = try HomeRig()
    try it.driver.handshake()
    var pipe: DescriptorPair? = try Descriptor.pipe()
    if let reader = pipe?.reader.rawValue {
      try it.driver.tell(.setVringKick, it.driver.bytes(UInt64(0)), descriptors: [reader])
    }
    pipe = nil
    try eventually {
      try it.rig.loop.runOnce(timeout: 1)
      return !it.rig.lines.all.isEmpty
    }
    #expect(it.rig.lines.all == ["ring 0 lost its kick"])
  }
}
