import CLinux
import Glibc
import Linux
import Simulation
import TestKit
import Testing
import VhostUser

@Suite struct InflightTests {
  private func payload(_ layout: InflightLayout) -> [UInt8] {
    var bytes: [UInt8] = []
    layout.encode(into: &bytes)
    return bytes
  }

  /// GET_INFLIGHT_FD: what was answered, and the descriptor that came with it.
  private func ask(_ driver: MockDriver, queues: UInt16, size: UInt16) throws -> (InflightLayout, CInt) {
    let wish = InflightLayout(size: 0, offset: 0, queueCount: queues, queueSize: size)
    let reply = try driver.ask(.getInflight, payload(wish))
    return (try InflightLayout(parsing: reply.span.bytes), try #require(driver.takeDescriptor()))
  }

  private static let wish = MockDriver.Handshake(protocolFeatures: [.replyAck, .inflight, .multipleQueues])

  private func begin(_ rig: Rig, _ area: (InflightLayout, CInt)?, queue: MockQueue?) throws {
    let driver = rig.driver
    try driver.introduce(Self.wish)
    try driver.tell(.setFeatures, driver.bytes(driver.features))
    if let area { try driver.tell(.setInflight, payload(area.0), descriptors: [area.1]) }
    try driver.shareMemory()
    if let queue { driver.adopt([queue]) } else { driver.makeQueues(Self.wish) }
    try driver.setUp(rig.queue)
    try driver.start(rig.queue)
  }

  @Test(arguments: Layout.allCases)
  func `The next session takes up what the last one had not answered, in its order`(_ layout: Layout) throws {
    let memory = try MockMemory()
    let first = try Rig(inBand: false, layout: layout, memory: memory)
    first.device.manner = .hold
    try first.driver.introduce(Self.wish)
    let area = try ask(first.driver, queues: 1, size: 256)
    defer { close(area.1) }
    #expect(area.0.queueCount == 1 && area.0.queueSize == 256)
    try first.driver.tell(.setInflight, payload(area.0), descriptors: [area.1])
    try first.driver.tell(.setFeatures, first.driver.bytes(first.driver.features))
    try first.driver.shareMemory()
    first.driver.makeQueues(Self.wish)
    try first.driver.setUp(first.queue)
    try first.driver.start(first.queue)
    var heads: [UInt16] = []
    for _ in 0..<5 { heads.append(try first.submitRead()) }
    try first.driver.publishAndKick(first.queue)
    try first.settle()
    #expect(first.device.held.count == 5)
    // Answers the second and the fourth.
    for place in [3, 1] { first.device.complete(at: place) }
    first.session.virtqueue(0).publishAndSignal()
    #expect(Set(first.queue.takeAll().map(\.head)) == Set([heads[1], heads[3]].map(UInt32.init)))
    // Nobody drains: that is what a kill is.
    let second = try Rig(inBand: false, layout: layout, memory: memory)
    try begin(second, area, queue: first.queue)
    #expect(second.device.served == 3)
    let used = second.queue.takeAll().map(\.head)
    #expect(used == [heads[0], heads[2], heads[4]].map(UInt32.init))
    // And goes on.
    _ = try second.submitRead()
    try second.driver.publishAndKick(second.queue)
    try second.settle()
    #expect(second.queue.takeAll().count == 1)
    #expect(second.lines.all.isEmpty)
  }

  @Test(arguments: Layout.allCases)
  func `A guest that starts anew with an old area is served from its beginning`(_ layout: Layout) throws {
    let rig = try Rig(inBand: false, layout: layout)
    try rig.driver.introduce(Self.wish)
    let area = try ask(rig.driver, queues: 1, size: 256)
    defer { close(area.1) }
    try rig.driver.tell(.setInflight, payload(area.0), descriptors: [area.1])
    try rig.driver.tell(.setFeatures, rig.driver.bytes(rig.driver.features))
    try rig.driver.shareMemory()
    rig.driver.makeQueues(Self.wish)
    for count in [3, 100, 200] {
      try rig.driver.setUp(rig.queue)
      try rig.driver.start(rig.queue)
      for _ in 0..<count {
        _ = try rig.submitRead()
        try rig.driver.publishAndKick(rig.queue)
        try rig.settle()
        #expect(rig.queue.takeAll().count == 1)
      }
      try rig.driver.stop()
      rig.queue.reset()
    }
    #expect(rig.lines.all.isEmpty)
  }

  @Test func `Areas that do not fit are refused`() throws {
    let rig = try Rig(inBand: false)
    try rig.driver.introduce(Self.wish)
    let area = try ask(rig.driver, queues: 2, size: 64)
    defer { close(area.1) }
    func refuses(_ change: (inout InflightLayout) -> Void, line: SourceLocation = #_sourceLocation) {
      var layout = area.0
      change(&layout)
      #expect(throws: MockDriverError.refused(request: 32, value: 1), sourceLocation: line) {
        try rig.driver.tell(.setInflight, payload(layout), descriptors: [area.1])
      }
    }
    refuses { $0.size += 1 }
    refuses { $0.size = .max }
    refuses { $0.offset = 8 }
    refuses { $0.offset = .max - 7 }
    refuses { $0.queueCount = 0 }
    refuses { $0.queueCount = 300 }
    refuses { $0.queueSize = 0 }
    refuses { $0.queueSize = 40000 }
    refuses { $0.size = 64 }
    #expect(throws: MockDriverError.refused(request: 32, value: 1)) {
      try rig.driver.tell(.setInflight, payload(area.0))
    }
    #expect(throws: MockDriverError.refused(request: 32, value: 1)) {
      try rig.driver.tell(.setInflight, [1, 2], descriptors: [area.1])
    }
    try rig.driver.tell(.setInflight, payload(area.0), descriptors: [area.1])
  }

  @Test func `In a simulation nothing is written down`() throws {
    let rig = try Rig()
    try rig.driver.introduce(MockDriver.Handshake(protocolFeatures: [.replyAck, .inflight, .status]))
    #expect(rig.driver.protocolFeatures == .replyAck)
  }

  /// Whatever the area says, the ring starts or does not, and then serves what it must, within its bounds.
  @Test(arguments: Layout.allCases)
  func `An area of any bytes breaks nothing`(_ layout: Layout) throws {
    var started = 0
    for seed in 0..<400 as Range<UInt64> {
      var random = RandomStream(seed: seed, name: "hostile area")
      let bench = try Bench(layout, size: 8)
      let made = try InflightArea.make(queueCount: 1, queueSize: 8)
      let area = try Mapping(sharing: made.file, count: Int(made.layout.size))
      func start() throws -> Ring {
        try Ring(
          size: 8, addresses: bench.driver.addresses, base: bench.driver.ringBase,
          features: RingFeatures.offered | layout.features, memory: bench.guest,
          inflight: try InflightArea(made.layout, descriptor: made.file.rawValue))
      }
      // Two states that are right, and then some bytes that are not.
      var ring = try start()
      var heads: [UInt16] = []
      for _ in 0..<3 {
        _ = bench.driver.submit([
          .init(address: bench.buffers, count: 1, isWritable: false),
          .init(address: bench.buffers, count: 1, isWritable: true),
        ])
        bench.driver.publish()
        if case .chain(let chain) = ring.next() { heads.append(chain.head) }
      }
      if let head = heads.first, seed % 2 == 0 {
        _ = ring.complete(head: head, written: 1)
        _ = ring.publish()
      }
      for _ in 0..<Int.random(in: 1...6, using: &random) {
        let place = Int.random(in: 0..<area.count, using: &random)
        let value: UInt8 = [0, 1, 2, 7, 8, 9, 0x80, 0xff].randomElement(using: &random) ?? 0
        (area.base + (seed % 3 == 0 ? place % 32 : place)).storeBytes(of: value, as: UInt8.self)
      }
      do {
        var successor = try start()
        started += 1
        var held: [UInt16] = []
        for _ in 0..<20 {
          if case .chain(let chain) = successor.next() {
            for piece in chain.readable { _ = piece.iov_base.load(as: UInt8.self) }
            held.append(chain.head)
          }
        }
        #expect(held.count <= 8 && Set(held).count == held.count, "seed \(seed)")
        for head in held {
          let isKnown = successor.complete(head: head, written: 1)
          #expect(isKnown)
        }
        _ = successor.publish()
      } catch let error as VhostUserError {
        guard case .inflight = error else {
          Issue.record("seed \(seed): \(error)")
          continue
        }
      }
    }
    #expect(started > 50 && started < 400)
  }
}
