import CLinux
import Glibc
import Linux
import TestKit
import Testing
import VhostUser

/// The catalogue of bad rings: for both layouts, served by the session's loop and by a thread of its own.
/// After each the chain, the ring or the session has got what it deserves, another session is untouched, and
/// the log has one line.
@Suite struct HostileGuestTests {
  struct Place: CustomTestStringConvertible, Sendable {
    let layout: Layout
    let isElsewhere: Bool
    var testDescription: String { "\(layout), \(isElsewhere ? "on a thread" : "on the loop")" }

    static let all = Layout.allCases.flatMap { layout in
      [false, true].map { Place(layout: layout, isElsewhere: $0) }
    }
  }

  /// A guest with two rings, and another guest that has done nothing.
  private final class Scene {
    let rig: Rig
    let other: Rig
    private let homes = [ThreadedHome(), ThreadedHome()]
    let layout: Layout

    init(_ place: Place, features: UInt64 = .max) throws {
      layout = place.layout
      var rigs: [Rig] = []
      for home in homes {
        let device = TestDevice()
        device.queueCount = 2
        if place.isElsewhere { device.home = home }
        rigs.append(try Rig(inBand: false, device: device, layout: place.layout))
      }
      (rig, other) = (rigs[0], rigs[1])
      for rig in rigs {
        try rig.driver.handshake(
          MockDriver.Handshake(
            protocolFeatures: [.replyAck, .configuration, .multipleQueues, .memorySlots], features: features,
            queueCount: 2, queueSize: 16))
      }
    }

    deinit {
      for rig in [rig, other] {
        rig.session.end()
        _ = try? rig.loop.runOnce(timeout: 0)
      }
      for home in homes { home.end() }
    }

    var data: UInt64 { rig.driver.bufferBase }
    var table: UInt64 { data + 4096 }

    /// Makes descriptors available as one chain, linked as they lie.
    func offer(_ descriptors: [(address: UInt64, count: UInt32, flags: UInt16)]) throws {
      if let packed = rig.queue as? MockPackedQueue {
        for (address, count, flags) in descriptors {
          packed.add(address: address, count: count, identifier: 9, flags: flags)
        }
      } else {
        for (slot, (address, count, flags)) in descriptors.enumerated() {
          rig.queue.set(UInt16(slot), address: address, count: count, flags: flags, next: UInt16(slot + 1))
        }
        rig.queue.makeAvailable(0)
      }
      try rig.driver.publishAndKick(rig.queue)
    }

    /// An entry of an indirect table.
    func entry(_ index: UInt64, address: UInt64, count: UInt32, flags: UInt16, next: UInt16 = 0) {
      let isPacked = layout == .packed
      rig.queue.store(
        table + 16 * index, address: address, count: count, flags: isPacked ? next : flags,
        next: isPacked ? flags : next)
    }

    func wait(_ condition: () -> Bool) -> Bool {
      eventually {
        _ = try? rig.loop.runOnce(timeout: 0)
        return condition()
      }
    }

    /// The chain came back with no byte written, its head is free again, and the ring goes on.
    func expectRefusal(_ fault: ChainFault, line: SourceLocation = #_sourceLocation) throws {
      var used: MockQueue.Used?
      let isBack = wait {
        used = rig.queue.take()
        return used != nil
      }
      #expect(isBack && used?.written == 0, sourceLocation: line)
      if let packed = rig.queue as? MockPackedQueue { packed.release(9, 1) }
      let isTold = wait { !rig.lines.all.isEmpty }
      #expect(isTold && rig.lines.all.count == 1, sourceLocation: line)
      #expect(rig.lines.all.first?.hasSuffix(": \(fault)") == true, "\(rig.lines.all)", sourceLocation: line)
      #expect(rig.device.reason == nil && rig.session.isRunning(queue: 0), sourceLocation: line)
      #expect(rig.session.virtqueue(0).refusedChains == 1, sourceLocation: line)
      try expectOthersServe(line)
    }

    /// The ring is silent, and the session and its other ring are not.
    func expectBrokenRing(_ line: SourceLocation = #_sourceLocation) throws {
      let isBroken = wait { rig.session.virtqueue(0).isBroken && !rig.lines.all.isEmpty }
      #expect(isBroken && rig.lines.all.count == 1, "\(rig.lines.all)", sourceLocation: line)
      #expect(rig.lines.all.first?.hasPrefix("ring 0 is broken: ") == true, sourceLocation: line)
      #expect(!rig.session.isRunning(queue: 0) && rig.device.reason == nil, sourceLocation: line)
      #expect(rig.queue.take() == nil, sourceLocation: line)
      try expectOthersServe(line)
    }

    func expectOthersServe(_ line: SourceLocation = #_sourceLocation) throws {
      for (rig, queue) in [(rig, rig.driver.queues[1]), (other, other.driver.queues[0])] {
        _ = try rig.submitRead(queue)
        try rig.driver.publishAndKick(queue)
        let isServed = wait {
          _ = try? rig.loop.runOnce(timeout: 0)
          return queue.take() != nil
        }
        #expect(isServed, sourceLocation: line)
      }
      #expect(other.lines.all.isEmpty, sourceLocation: line)
    }
  }

  private let next = MockQueue.next
  private let write = MockQueue.write
  private let indirect = MockQueue.indirect

  @Test(arguments: Place.all) func `A chain that loops`(_ place: Place) throws {
    let scene = try Scene(place)
    if place.layout == .split {
      scene.rig.queue.set(1, address: scene.data, count: 1, flags: next, next: 0)
      scene.rig.queue.set(0, address: scene.data, count: 1, flags: next, next: 1)
      scene.rig.queue.makeAvailable(0)
      try scene.rig.driver.publishAndKick(scene.rig.queue)
      try scene.expectRefusal(.longerThanRing)
    } else {
      // A packed chain has no links: it can only have no end.
      try scene.offer([(UInt64, UInt32, UInt16)](repeating: (scene.data, 1, next), count: 16))
      try scene.expectBrokenRing()
    }
  }

  @Test(arguments: Place.all) func `A table that loops, or has no end`(_ place: Place) throws {
    let scene = try Scene(place)
    scene.entry(0, address: scene.data, count: 1, flags: next, next: 1)
    scene.entry(1, address: scene.data, count: 1, flags: next, next: 0)
    try scene.offer([(scene.table, 32, indirect)])
    if place.layout == .split {
      try scene.expectRefusal(.longerThanRing)
    } else {
      // Its length says where a packed table ends.
      #expect(scene.wait { scene.rig.queue.take() != nil })
      #expect(scene.rig.lines.all.isEmpty)
    }
  }

  @Test(arguments: Place.all) func `A buffer that runs past its region`(_ place: Place) throws {
    let scene = try Scene(place)
    let end = scene.rig.memory.end
    try scene.offer([(end - 1, 2, write)])
    try scene.expectRefusal(.outsideMemory(end))
  }

  @Test(arguments: Place.all) func `A buffer that wraps around the address space`(_ place: Place) throws {
    let scene = try Scene(place)
    try scene.offer([(.max - 3, 8, write)])
    try scene.expectRefusal(.outsideMemory(.max - 3))
  }

  @Test(arguments: Place.all) func `A buffer of 4 GiB less one`(_ place: Place) throws {
    let scene = try Scene(place)
    try scene.offer([(scene.data, .max, write)])
    try scene.expectRefusal(.outsideMemory(scene.rig.memory.end))
  }

  @Test(arguments: Place.all) func `A readable buffer after a writable one`(_ place: Place) throws {
    let scene = try Scene(place)
    try scene.offer([(scene.data, 1, write)])
    #expect(scene.wait { scene.rig.queue.take() != nil })
    if let packed = scene.rig.queue as? MockPackedQueue { packed.release(9, 1) }
    scene.entry(0, address: scene.data, count: 1, flags: write | next, next: 1)
    scene.entry(1, address: scene.data, count: 1, flags: 0)
    try scene.offer([(scene.table, 32, indirect)])
    try scene.expectRefusal(.readableAfterWritable)
  }

  @Test(arguments: Place.all) func `A table in a table`(_ place: Place) throws {
    let scene = try Scene(place)
    scene.entry(0, address: scene.table, count: 16, flags: indirect)
    try scene.offer([(scene.table, 16, indirect)])
    try scene.expectRefusal(.nestedIndirect)
  }

  @Test(arguments: Place.all, [0, 15, 17, 16 * 1025, .max] as [UInt32])
  func `A table of a wrong length`(_ place: Place, _ count: UInt32) throws {
    let scene = try Scene(place)
    try scene.offer([(scene.table, count, indirect)])
    try scene.expectRefusal(.indirectLength(count))
  }

  @Test(arguments: Place.all) func `A table that nobody agreed upon`(_ place: Place) throws {
    let scene = try Scene(place, features: ~RingFeatures.indirectDescriptors)
    try scene.offer([(scene.table, 16, indirect)])
    try scene.expectRefusal(.indirectNotNegotiated)
  }

  @Test(arguments: Place.all) func `A table longer than the ring is served`(_ place: Place) throws {
    let scene = try Scene(place)
    for index in 0..<40 as Range<UInt64> {
      scene.entry(
        index, address: scene.data, count: 1, flags: index < 39 ? next : write, next: UInt16(index + 1))
    }
    try scene.offer([(scene.table, 640, indirect)])
    #expect(scene.wait { scene.rig.queue.take() != nil })
    #expect(scene.rig.lines.all.isEmpty)
  }

  @Test(arguments: Place.all) func `A table behind direct descriptors is served`(_ place: Place) throws {
    let scene = try Scene(place)
    _ = scene.rig.queue.submit(
      [
        .init(address: scene.data, count: 16, isWritable: false),
        .init(address: scene.data + 64, count: 16, isWritable: true),
        .init(address: scene.data + 128, count: 1, isWritable: true),
      ], table: scene.table, direct: 1)
    try scene.rig.driver.publishAndKick(scene.rig.queue)
    var used: MockQueue.Used?
    #expect(
      scene.wait {
        used = scene.rig.queue.take()
        return used != nil
      })
    #expect(used?.written == 17 && scene.rig.lines.all.isEmpty)
  }

  @Test(arguments: Place.all) func `More available than there are descriptors`(_ place: Place) throws {
    let scene = try Scene(place)
    if let packed = scene.rig.queue as? MockPackedQueue {
      packed.add(address: scene.data, count: 1, identifier: 9, flags: next)
    } else {
      for _ in 0..<17 { scene.rig.queue.makeAvailable(0) }
    }
    try scene.rig.driver.publishAndKick(scene.rig.queue)
    try scene.expectBrokenRing()
  }

  @Test(arguments: Place.all) func `A head outside the table, or any identifier`(_ place: Place) throws {
    let scene = try Scene(place)
    if let packed = scene.rig.queue as? MockPackedQueue {
      packed.add(address: scene.data, count: 1, identifier: 0xffff, flags: write)
      try scene.rig.driver.publishAndKick(packed)
      #expect(scene.wait { packed.take() != nil })
    } else {
      scene.rig.queue.makeAvailable(16)
      try scene.rig.driver.publishAndKick(scene.rig.queue)
      try scene.expectBrokenRing()
    }
  }

  @Test(arguments: Place.all) func `Rings that lie outside of memory, or askew`(_ place: Place) throws {
    let scene = try Scene(place)
    let driver = scene.rig.driver
    let good = scene.rig.queue.addresses
    let end = scene.rig.memory.userAddress(scene.rig.memory.border - 1) + 1
    let changes: [(inout VringAddress) -> Void] = [
      { $0.descriptors = 0 }, { $0.descriptors = .max - 15 }, { $0.descriptors += 8 },
      { $0.descriptors = end - 16 }, { $0.available = 0 }, { $0.available += 1 }, { $0.available = end },
      { $0.used = 0 }, { $0.used += 2 }, { $0.used = end - 2 },
    ]
    for running in [true, false] {
      if !running { try driver.stop() }
      for change in changes {
        var address = good
        change(&address)
        var bytes: [UInt8] = []
        address.encode(into: &bytes)
        // With slots, the memory may come later; a ring that runs cannot wait for that.
        do { try driver.tell(.setVringAddress, bytes) } catch { continue }
        #expect(!running || !scene.rig.session.isRunning(queue: 0))
      }
    }
    #expect(scene.rig.device.reason == nil)
  }

  @Test(arguments: Place.all) func `Rings of 0, 3 and 65536 descriptors`(_ place: Place) throws {
    let scene = try Scene(place)
    try scene.rig.driver.stop()
    for size in [0, 3, 65536, 1 << 31] as [UInt32] {
      let bytes = scene.rig.driver.bytes(VringState(index: 0, value: size))
      if place.layout == .packed, size == 3 {
        try scene.rig.driver.tell(.setVringSize, bytes)
      } else {
        #expect(throws: MockDriverError.refused(request: 8, value: 1)) {
          try scene.rig.driver.tell(.setVringSize, bytes)
        }
      }
    }
  }

  @Test(arguments: Place.all) func `A disabled ring is not served`(_ place: Place) throws {
    let scene = try Scene(place)
    let state = { scene.rig.driver.bytes(VringState(index: 0, value: $0)) }
    try scene.rig.driver.tell(.setVringEnable, state(0))
    _ = try scene.rig.submitRead()
    try scene.rig.driver.publishAndKick(scene.rig.queue)
    try scene.expectOthersServe()
    #expect(scene.rig.queue.take() == nil)
    try scene.rig.driver.tell(.setVringEnable, state(1))
    #expect(scene.wait { scene.rig.queue.take() != nil })
  }

  @Test(arguments: Place.all) func `A thousand bad chains are a few lines and a number`(_ place: Place) throws
  {
    let scene = try Scene(place)
    for _ in 0..<1000 {
      try scene.offer([(3, 1, write)])
      #expect(scene.wait { scene.rig.queue.take() != nil })
      if let packed = scene.rig.queue as? MockPackedQueue { packed.release(9, 1) }
    }
    #expect(scene.wait { scene.rig.lines.all.count == Limits.logLines })
    #expect(scene.rig.session.virtqueue(0).refusedChains == 1000)
    scene.rig.session.end()
    try scene.rig.loop.runOnce(timeout: 0)
    #expect(scene.rig.lines.all.last == "\(1000 - Limits.logLines) more lines of this session are not shown")
  }
}
