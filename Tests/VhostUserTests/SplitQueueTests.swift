import CLinux
import Glibc
import Linux
import Simulation
import TestKit
import Testing
import VhostUser

@Suite struct SplitQueueTests {
  typealias Buffer = MockQueue.Buffer

  @Test func `Whatever descriptors say, every valid head is answered exactly once and the ring lives`() throws
  {
    for seed in 0..<300 as Range<UInt64> {
      var random = RandomStream(seed: seed, name: "hostile descriptors")
      let bench = try Bench(
        size: 16, features: seed % 3 == 0 ? RingFeatures.version1 : RingFeatures.offered,
        startingAt: UInt16(truncatingIfNeeded: random.next()))
      let places: [UInt64] = [
        MockMemory.guestBase, bench.buffers, bench.memory.border - 8, bench.memory.end - 16, bench.memory.end,
        0,
        .max - 7, UInt64(1) << 63,
      ]
      for _ in 0..<40 {
        for slot in 0..<16 as Range<UInt16> {
          for place in [MockMemory.guestBase, bench.buffers] {
            bench.driver.store(
              place + 16 * UInt64(slot),
              address: places.randomElement(using: &random)! &+ UInt64.random(in: 0...3, using: &random) * 8,
              count: [0, 1, 16, 32, 256, 4096, 1 << 20, .max].randomElement(using: &random)!,
              flags: UInt16.random(in: 0...7, using: &random), next: UInt16.random(in: 0...17, using: &random)
            )
          }
        }
        var answers = [Int](repeating: 0, count: 16)
        let count = Int.random(in: 1...16, using: &random)
        for _ in 0..<count {
          let head = UInt16.random(in: 0..<16, using: &random)
          answers[Int(head)] += 1
          bench.driver.makeAvailable(head)
        }
        bench.driver.publish()
        walk: while true {
          switch bench.next() {
          case .chain(let chain):
            // The pieces are memory that may be touched; the last one may be the whole of it.
            for piece in chain.readable { _ = piece.iov_base.load(as: UInt8.self) }
            if Bool.random(using: &random) { #expect(bench.complete(chain.head, written: 0)) }
          case .refused: break
          case .empty: break walk
          case .broken(let fault):
            Issue.record("seed \(seed): \(fault)")
            break walk
          }
        }
        for head in 0..<16 as Range<UInt16> { _ = bench.complete(head, written: 0) }
        _ = bench.publish()
        for used in bench.driver.takeAll() { answers[Int(used.head)] -= 1 }
        #expect(answers.allSatisfy { $0 == 0 }, "seed \(seed)")
        #expect(bench.outstanding == 0, "seed \(seed)")
      }
    }
  }

  @Test func `Each fault of a chain is named`() throws {
    let bench = try Bench(size: 8)
    let data = bench.buffers
    func offer(_ head: UInt16) {
      bench.driver.makeAvailable(head)
      bench.driver.publish()
    }
    let table = data + 4096
    bench.driver.set(0, address: data, count: 1, flags: MockQueue.next, next: 1)
    bench.driver.set(1, address: data, count: 1, flags: MockQueue.next, next: 0)
    offer(0)
    #expect(bench.refusal() == .longerThanRing)
    bench.driver.set(1, address: data, count: 1, flags: MockQueue.next, next: 8)
    offer(0)
    #expect(bench.refusal() == .nextOutsideTable(8))
    bench.driver.set(1, address: bench.memory.end - 1, count: 2, flags: 0, next: 0)
    offer(0)
    #expect(bench.refusal() == .outsideMemory(bench.memory.end))
    bench.driver.set(1, address: 3, count: 2, flags: 0, next: 0)
    offer(0)
    #expect(bench.refusal() == .outsideMemory(3))
    bench.driver.set(2, address: data, count: 1, flags: MockQueue.write | MockQueue.next, next: 3)
    bench.driver.set(3, address: data, count: 1, flags: 0, next: 0)
    offer(2)
    #expect(bench.refusal() == .readableAfterWritable)
    for bytes in [0, 15, 17, 16 * 1025, UInt32.max] as [UInt32] {
      bench.driver.set(4, address: table, count: bytes, flags: MockQueue.indirect, next: 0)
      offer(4)
      #expect(bench.refusal() == .indirectLength(bytes))
      _ = bench.publish()
    }
    bench.driver.set(4, address: table, count: 16, flags: MockQueue.indirect | MockQueue.next, next: 0)
    offer(4)
    #expect(bench.refusal() == .indirectWithNext)
    bench.driver.store(table, address: table, count: 16, flags: MockQueue.indirect, next: 0)
    bench.driver.set(4, address: table, count: 16, flags: MockQueue.indirect, next: 0)
    offer(4)
    #expect(bench.refusal() == .nestedIndirect)
    bench.driver.store(table, address: data, count: 1, flags: MockQueue.next, next: 1)
    offer(4)
    #expect(bench.refusal() == .nextOutsideTable(1))
    bench.driver.store(table, address: data, count: 1, flags: MockQueue.next, next: 0)
    offer(4)
    #expect(bench.refusal() == .longerThanRing)
    _ = bench.publish()
    bench.driver.set(4, address: bench.memory.end - 16, count: 32, flags: MockQueue.indirect, next: 0)
    bench.driver.store(bench.memory.end - 16, address: data, count: 1, flags: MockQueue.next, next: 1)
    offer(4)
    #expect(bench.refusal() == .outsideMemory(bench.memory.end - 16))
    bench.driver.set(5, address: data, count: 1, flags: 0, next: 0)
    offer(5)
    #expect(try bench.chain().head == 5)
    offer(5)
    #expect(bench.refusal() == .headInUse(5))
  }

  @Test func `Four gibibytes in one chain are too much`() throws {
    let count = 64 << 20
    let file = try makeSealedMemory(named: "large", count: count)
    let region = MemoryRegion(guest: 0, size: UInt64(count), user: 0, fileOffset: 0)
    let guest = try GuestMemory(regions: [region], descriptors: [file.rawValue])
    let mapping = try Mapping(sharing: file, count: count)
    func put(_ offset: Int, _ value: UInt64) {
      mapping.base.storeBytes(of: value, toByteOffset: offset, as: UInt64.self)
    }
    for slot in 0..<64 {
      let next = slot < 63 ? UInt64(MockQueue.next) << 32 | UInt64(slot + 1) << 48 : 0
      put(16 * slot, 0)
      put(16 * slot + 8, UInt64(count) | next)
    }
    mapping.base.storeBytes(of: UInt32(1) << 16, toByteOffset: 4096, as: UInt32.self)
    var device = try SplitQueue(
      size: 64, addresses: VringAddress(index: 0, descriptors: 0, used: 8192, available: 4096), base: 0,
      features: RingFeatures.offered, memory: guest)
    guard case .refused(.tooManyBytes, head: 0) = device.next() else {
      Issue.record("not refused")
      return
    }
  }

  @Test func `Indirect descriptors are refused when they were not negotiated`() throws {
    let bench = try Bench(size: 8, features: RingFeatures.version1)
    bench.driver.set(0, address: bench.buffers, count: 16, flags: MockQueue.indirect, next: 0)
    bench.driver.makeAvailable(0)
    bench.driver.publish()
    #expect(bench.refusal() == .indirectNotNegotiated)
  }

  @Test func `An available index that jumps past the ring breaks the ring for good`() throws {
    let bench = try Bench(size: 8)
    for _ in 0..<9 { bench.driver.makeAvailable(0) }
    bench.driver.publish()
    guard case .broken(.availableJump(9)) = bench.next() else {
      Issue.record("not broken")
      return
    }
    bench.driver.nextAvailable = 1
    bench.driver.publish()
    guard case .broken = bench.next() else {
      Issue.record("broken rings stay broken")
      return
    }
    #expect(!bench.hasAvailable)
  }

  @Test func `A head outside the table breaks the ring`() throws {
    let bench = try Bench(size: 8)
    bench.driver.makeAvailable(8)
    bench.driver.publish()
    guard case .broken(.headOutsideTable(8)) = bench.next() else {
      Issue.record("not broken")
      return
    }
  }

  @Test func `A driver that makes more available than it has descriptors breaks the ring`() throws {
    let bench = try Bench(size: 4)
    for slot in 0..<4 as Range<UInt16> {
      bench.driver.set(slot, address: bench.buffers, count: 1, flags: 0, next: 0)
      bench.driver.makeAvailable(slot)
    }
    bench.driver.publish()
    for _ in 0..<4 { _ = try bench.chain() }
    bench.driver.makeAvailable(0)
    bench.driver.publish()
    guard case .broken = bench.next() else {
      Issue.record("not broken")
      return
    }
  }

  @Test func `Ring addresses must be inside memory and aligned`() throws {
    let memory = try MockMemory()
    let guest = try GuestMemory(
      regions: memory.regions, descriptors: memory.regions.map { _ in memory.descriptor.rawValue })
    let base = memory.userAddress(MockMemory.guestBase)
    let good = VringAddress(index: 0, descriptors: base, used: base + 8192, available: base + 4096)
    func start(_ size: UInt16, _ change: (inout VringAddress) -> Void) throws {
      var addresses = good
      change(&addresses)
      _ = try SplitQueue.translate(addresses, size: size, memory: guest)
    }
    try start(256) { _ in }
    for size in [0, 3, 40000] as [UInt16] {
      #expect(throws: VhostUserError.queueSize(UInt32(size))) { try start(size) { _ in } }
    }
    #expect(throws: VhostUserError.ringAlignment(.descriptors, base + 8)) {
      try start(4) { $0.descriptors += 8 }
    }
    #expect(throws: VhostUserError.ringAlignment(.available, base + 4097)) {
      try start(4) { $0.available += 1 }
    }
    #expect(throws: VhostUserError.ringAlignment(.used, base + 8194)) { try start(4) { $0.used += 2 } }
    let end = base + memory.regions[0].size
    try start(4) { $0.descriptors = end - 64 }
    #expect(throws: VhostUserError.ringAddress(.descriptors, end - 48)) {
      try start(4) { $0.descriptors = end - 48 }
    }
    #expect(throws: VhostUserError.ringAddress(.used, end - 36)) { try start(4) { $0.used = end - 36 } }
    #expect(throws: VhostUserError.ringAddress(.available, 0)) { try start(4) { $0.available = 0 } }
    // A guest address is none of the front-end's.
    #expect(throws: VhostUserError.self) { try start(4) { $0.descriptors = MockMemory.guestBase } }
  }

  @Test func `A chain is completed once, and the driver sees it only after publishing`() throws {
    let bench = try Bench(size: 8)
    _ = bench.driver.submit([Buffer(address: bench.buffers, count: 1, isWritable: true)])
    bench.driver.publish()
    let head = try bench.chain().head
    #expect(bench.complete(head, written: 1))
    #expect(!bench.complete(head, written: 1))
    #expect(!bench.complete(77, written: 1))
    #expect(bench.driver.take() == nil)
    _ = bench.publish()
    #expect(bench.driver.takeAll().count == 1)
  }

  @Test func `Buffers next to each other in host memory become one piece`() throws {
    let bench = try Bench(size: 8)
    _ = bench.driver.submit([
      Buffer(address: bench.buffers, count: 10, isWritable: false),
      Buffer(address: bench.buffers + 10, count: 6, isWritable: false),
      Buffer(address: bench.buffers + 16, count: 512, isWritable: true),
      Buffer(address: bench.memory.border - 4, count: 9, isWritable: true),
    ])
    bench.driver.publish()
    let chain = try bench.chain()
    #expect(chain.readable.map(\.iov_len) == [16])
    #expect(chain.writable.map(\.iov_len) == [512, 4, 5])
    #expect(chain.lastWritable == bench.host(bench.memory.border + 4))
    let bytes: [UInt8] = [1, 2, 3, 4, 5, 6]
    #expect(bytes.withUnsafeBytes { chain.copyWritable($0, at: 513) } == 6)
    #expect(bench.memory.read(at: bench.memory.border - 3, count: 6) == bytes)
    #expect(bytes.withUnsafeBytes { chain.copyWritable($0, at: 519) } == 2)
  }
}
