import CLinux
import Glibc
import Linux
import Simulation
import TestKit
import Testing
import VhostUser

@Suite struct PackedQueueTests {
  typealias Buffer = MockQueue.Buffer

  private func offer(_ bench: Bench) throws -> Chain {
    _ = bench.driver.submit([Buffer(address: bench.buffers, count: 1, isWritable: true)])
    bench.driver.publish()
    return try bench.chain()
  }

  @Test func `With the event index a call is made when the driver's place is passed, and the first time`()
    throws
  {
    for size in [5, 8] as [UInt16] {
      let bench = try Bench(.packed, size: size, startingAt: size - 2)
      let driver = try bench.packed
      func one() throws -> Bool {
        #expect(bench.complete(try offer(bench).head))
        defer { _ = driver.takeAll() }
        return bench.publish()
      }
      // Started in the lap with a zero, so that the next one has a one.
      driver.setUsedEvent(PackedPosition(rawValue: 3))
      #expect(try one(), "the first is announced in any case")
      driver.setUsedEvent(PackedPosition(rawValue: 1 | 0x8000))
      #expect(try !one(), "up to the end of the lap")
      #expect(try !one())
      #expect(try one())
      #expect(try !one())
      driver.setUsedEvent(nil)
      #expect(try one())
      driver.setNoInterrupt(true)
      #expect(try !one())
      #expect(!bench.publish(), "nothing new, no call")
    }
  }

  @Test func `Every place in a lap and a half decides about a call as a count does`() throws {
    // The driver wants to be called for the place `event` places ahead of the first used one.
    let size: UInt16 = 6
    for start in 0..<2 * size {
      for event in 0..<Int(size) {
        for batch in 1...Int(size) {
          let first = PackedPosition(rawValue: start % size | (start < size ? 0x8000 : 0))
          let bench = try Bench(.packed, size: size, startingAt: first.rawValue)
          let driver = try bench.packed
          func use(_ count: Int) throws -> Bool {
            for _ in 0..<count { #expect(bench.complete(try offer(bench).head)) }
            return bench.publish()
          }
          _ = try use(1)
          _ = driver.takeAll()
          var place = driver.used
          for _ in 0..<event { step(&place, size) }
          driver.setUsedEvent(place)
          #expect(try use(batch) == (event < batch), "start \(start), event \(event), batch \(batch)")
        }
      }
    }
  }

  private func step(_ place: inout PackedPosition, _ size: UInt16) {
    place.index += 1
    guard place.index == size else { return }
    place = PackedPosition(rawValue: place.wrap ? 0 : 0x8000)
  }

  @Test func `An empty ring asks for a kick at its next place`() throws {
    let bench = try Bench(.packed, size: 7, startingAt: 5)
    for _ in 0..<40 {
      guard case .empty = bench.next() else {
        Issue.record("not empty")
        return
      }
      var heads: [UInt16] = []
      _ = bench.driver.submit([Buffer(address: bench.buffers, count: 1, isWritable: true)])
      #expect(bench.driver.publish(), "a device that sleeps wants its kick")
      heads.append(try bench.chain().head)
      _ = bench.driver.submit([Buffer(address: bench.buffers, count: 1, isWritable: true)])
      #expect(!bench.driver.publish(), "a device that has not looked yet wants none")
      heads.append(try bench.chain().head)
      for head in heads { #expect(bench.complete(head)) }
      _ = bench.publish()
      #expect(bench.driver.takeAll().count == 2)
    }
  }

  @Test func `Each fault of a chain is named, and costs that chain`() throws {
    let bench = try Bench(.packed, size: 32)
    let driver = try bench.packed
    let data = bench.buffers
    let table = data + 4096
    func refusal(_ descriptors: [(address: UInt64, count: UInt32, flags: UInt16)]) -> ChainFault? {
      for (address, count, flags) in descriptors {
        driver.add(address: address, count: count, identifier: 0xabcd, flags: flags)
      }
      driver.publish()
      let fault = bench.refusal()
      _ = bench.publish()
      #expect(driver.take() == .init(head: 0xabcd, written: 0))
      driver.release(0xabcd, descriptors.count)
      return fault
    }
    let (next, write, indirect) = (MockQueue.next, MockQueue.write, MockQueue.indirect)
    #expect(refusal([(data, 1, next), (bench.memory.end - 1, 2, 0)]) == .outsideMemory(bench.memory.end))
    #expect(refusal([(3, 2, next), (data, 1, next), (data, 1, 0)]) == .outsideMemory(3))
    #expect(refusal([(data, 1, write | next), (data, 1, 0)]) == .readableAfterWritable)
    for bytes in [0, 15, 17, 16 * 1025, UInt32.max] as [UInt32] {
      #expect(refusal([(table, bytes, indirect)]) == .indirectLength(bytes))
    }
    #expect(refusal([(table, 16, indirect | next), (data, 1, 0)]) == .indirectWithNext)
    driver.store(table, address: table, count: 16, flags: 0, next: indirect)
    #expect(refusal([(table, 16, indirect)]) == .nestedIndirect)
    driver.store(bench.memory.end - 16, address: data, count: 1, flags: 0, next: 0)
    #expect(refusal([(bench.memory.end - 16, 32, indirect)]) == .outsideMemory(bench.memory.end - 16))
    // After all that the ring serves.
    #expect(bench.complete(try offer(bench).head))
    _ = bench.publish()
    #expect(driver.takeAll().count == 1)
  }

  @Test func `Indirect descriptors are refused when they were not negotiated`() throws {
    let bench = try Bench(.packed, size: 8, features: RingFeatures.version1)
    try bench.packed.add(address: bench.buffers, count: 16, identifier: 1, flags: MockQueue.indirect)
    bench.driver.publish()
    #expect(bench.refusal() == .indirectNotNegotiated)
  }

  @Test func `A chain that goes on where nothing is available breaks the ring`() throws {
    let bench = try Bench(.packed, size: 8)
    let driver = try bench.packed
    driver.add(address: bench.buffers, count: 1, identifier: 1, flags: MockQueue.next)
    driver.publish()
    for _ in 0..<2 {
      guard case .broken(.unavailableInChain(1)) = bench.next() else {
        Issue.record("not broken")
        return
      }
    }
    #expect(!bench.hasAvailable)
  }

  @Test func `A chain without an end breaks the ring`() throws {
    for size in [1, 3, 8] as [UInt16] {
      let bench = try Bench(.packed, size: size)
      for _ in 0..<size {
        try bench.packed.add(address: bench.buffers, count: 1, identifier: 1, flags: MockQueue.next)
      }
      bench.driver.publish()
      guard case .broken(.endlessChain) = bench.next() else {
        Issue.record("not broken")
        return
      }
    }
  }

  @Test func `A driver that makes available what it has given away breaks the ring`() throws {
    let bench = try Bench(.packed, size: 4)
    let driver = try bench.packed
    for _ in 0..<4 { _ = try offer(bench) }
    guard case .empty = bench.next() else {
      Issue.record("not empty")
      return
    }
    driver.add(address: bench.buffers, count: 1, identifier: 1, flags: 0)
    driver.publish()
    guard case .broken = bench.next() else {
      Issue.record("not broken")
      return
    }
  }

  @Test func `Identifiers are the driver's, and may be anything`() throws {
    let bench = try Bench(.packed, size: 4)
    let driver = try bench.packed
    var heads: [UInt16] = []
    for identifier in [0xffff, 0, 0xffff] as [UInt16] {
      driver.add(address: bench.buffers, count: 1, identifier: identifier, flags: MockQueue.write)
      driver.publish()
      heads.append(try bench.chain().head)
    }
    #expect(Set(heads).count == 3 && heads.allSatisfy { $0 < 4 })
    for head in heads.reversed() { #expect(bench.complete(head, written: 7)) }
    _ = bench.publish()
    for identifier in [0xffff, 0, 0xffff] as [UInt32] {
      #expect(driver.take() == .init(head: identifier, written: 7))
      driver.release(UInt16(identifier), 1)
    }
  }

  @Test func `Of a batch the first is shown last`() throws {
    let bench = try Bench(.packed, size: 8)
    let heads = [try offer(bench), try offer(bench), try offer(bench)].map(\.head)
    for head in heads { #expect(bench.complete(head)) }
    #expect(bench.driver.take() == nil, "completed, not published")
    _ = bench.publish()
    #expect(bench.driver.takeAll().count == 3)
  }

  @Test func `The base of a ring says both places, and 0 is that of a new ring until it is used`() throws {
    for start in [0, 3, 0x8000, 0x8003] as [UInt16] {
      let bench = try Bench(.packed, size: 5, startingAt: start)
      #expect(bench.base == UInt32(start) | UInt32(start) << 16)
      let held = try offer(bench)
      #expect(bench.base & 0xffff != bench.base >> 16)
      #expect(bench.complete(held.head))
      _ = bench.publish()
      #expect(bench.base & 0xffff == bench.base >> 16)
    }
    // UML sends 0 for a ring that nobody has touched.
    let memory = try MockMemory()
    let guest = try GuestMemory(
      regions: memory.regions, descriptors: memory.regions.map { _ in memory.descriptor.rawValue })
    let driver = MockPackedQueue(index: 0, size: 5, base: MockMemory.guestBase, memory: memory)
    func start(_ base: UInt32) throws -> UInt32 {
      try PackedQueue(
        size: 5, addresses: driver.addresses, base: base,
        features: RingFeatures.offered | RingFeatures.packed, memory: guest
      ).base
    }
    #expect(try start(0) == 0x8000_8000)
    for base in [5, 0x8005, 5 << 16] as [UInt32] {
      #expect(throws: VhostUserError.baseIndex(base)) { try start(base) }
    }
    driver.begin(at: PackedPosition(rawValue: 0))
    #expect(try start(0) == 0)
  }

  @Test func `Ring addresses must be inside memory and aligned`() throws {
    let memory = try MockMemory()
    let guest = try GuestMemory(
      regions: memory.regions, descriptors: memory.regions.map { _ in memory.descriptor.rawValue })
    let base = memory.userAddress(MockMemory.guestBase)
    let end = base + memory.regions[0].size
    let good = VringAddress(index: 0, descriptors: base, used: base + 8192, available: base + 4096)
    func start(_ size: UInt16, _ change: (inout VringAddress) -> Void) throws {
      var addresses = good
      change(&addresses)
      _ = try PackedQueue.translate(addresses, size: size, memory: guest)
    }
    for size in [1, 3, 200] as [UInt16] { try start(size) { _ in } }
    for size in [0, 40000] as [UInt16] {
      #expect(throws: VhostUserError.queueSize(UInt32(size))) { try start(size) { _ in } }
    }
    #expect(throws: VhostUserError.ringAlignment(.descriptors, base + 8)) {
      try start(4) { $0.descriptors += 8 }
    }
    #expect(throws: VhostUserError.ringAlignment(.available, base + 4098)) {
      try start(4) { $0.available += 2 }
    }
    #expect(throws: VhostUserError.ringAlignment(.used, base + 8194)) { try start(4) { $0.used += 2 } }
    try start(4) { $0.descriptors = end - 64 }
    #expect(throws: VhostUserError.ringAddress(.descriptors, end - 48)) {
      try start(4) { $0.descriptors = end - 48 }
    }
    #expect(throws: VhostUserError.ringAddress(.used, end)) { try start(4) { $0.used = end } }
  }

  @Test func `Whatever descriptors say, what is taken comes back once, or the ring is broken`() throws {
    for seed in 0..<300 as Range<UInt64> {
      var random = RandomStream(seed: seed, name: "hostile packed descriptors")
      let size = UInt16.random(in: 1...16, using: &random)
      let bench = try Bench(
        .packed, size: size, features: seed % 3 == 0 ? RingFeatures.version1 : RingFeatures.offered,
        startingAt: UInt16(truncatingIfNeeded: random.next()))
      let driver = try bench.packed
      let places: [UInt64] = [
        MockMemory.guestBase, bench.buffers, bench.memory.border - 8, bench.memory.end - 16, bench.memory.end,
        0, .max - 7, UInt64(1) << 63,
      ]
      var taken = 0
      var returned = 0
      var held: [UInt16] = []
      for _ in 0..<60 {
        for slot in 0..<16 as Range<UInt64> {
          driver.store(
            bench.buffers + 16 * slot, address: places.randomElement(using: &random) ?? 0,
            count: [0, 1, 16, 4096].randomElement(using: &random) ?? 0, flags: 0,
            next: UInt16.random(in: 0...7, using: &random) & ~(seed % 2 == 0 ? MockQueue.indirect : 0))
        }
        for _ in 0..<Int.random(in: 1...4, using: &random) {
          driver.add(
            address: (places.randomElement(using: &random) ?? 0) &+ UInt64.random(in: 0...3, using: &random),
            count: [0, 1, 16, 32, 256, 4096, 1 << 20, .max].randomElement(using: &random) ?? 0,
            identifier: UInt16(truncatingIfNeeded: random.next()),
            flags: UInt16.random(in: 0...7, using: &random) & (random.next() % 3 == 0 ? 7 : 6),
            isAvailable: random.next() % 40 != 0)
        }
        driver.publish()
        walk: for _ in 0...size {
          switch bench.next() {
          case .chain(let chain):
            taken += 1
            for piece in chain.readable { _ = piece.iov_base.load(as: UInt8.self) }
            held.append(chain.head)
          case .refused: break
          case .empty, .broken: break walk
          }
        }
        #expect(bench.outstanding <= Int(size))
        held.shuffle(using: &random)
        for _ in 0..<Int.random(in: 0...held.count, using: &random) {
          #expect(bench.complete(held.removeLast(), written: 1))
          returned += 1
        }
        _ = bench.publish()
      }
      for head in held { #expect(bench.complete(head)) }
      for head in 0...size { #expect(!bench.complete(head)) }
      #expect(returned + held.count == taken)
      _ = bench.publish()
      #expect(bench.outstanding == 0, "seed \(seed)")
    }
  }
}
