import CLinux
import Glibc
import Linux
import Simulation
import SingleStep
import TestKit
import Testing
import VhostUser

/// A guest's memory and an inflight area, which are all that survives.
private final class Remains {
  let memory: MockMemory
  let guest: GuestMemory
  let file: Descriptor
  let area: Mapping
  let layout: InflightLayout
  static let size: UInt16 = 6

  init() throws {
    let memory = try MockMemory(regionByteCount: 1 << 16)
    self.memory = memory
    guest = try GuestMemory(
      regions: memory.regions, descriptors: memory.regions.map { _ in memory.descriptor.rawValue })
    let made = try InflightArea.make(queueCount: 1, queueSize: 8)
    layout = made.layout
    file = try made.file.duplicate()
    area = try Mapping(sharing: file, count: Int(layout.size))
  }

  /// The rings, and the area.
  var ranges: [SingleStep_range] {
    [
      SingleStep_range(base: memory.pointer(MockMemory.guestBase), count: 512),
      SingleStep_range(base: area.base, count: area.count),
    ]
  }

  func restore(_ copy: UnsafeRawBufferPointer) {
    CLinux_copy(memory.pointer(MockMemory.guestBase), copy.baseAddress, 512)
    if let base = copy.baseAddress { CLinux_copy(area.base, base + 512, area.count) }
  }

  func start(_ layout: Layout, _ driver: MockQueue, base: UInt32) throws -> Ring {
    let inflight = try InflightArea(self.layout, descriptor: file.rawValue)
    return try Ring(
      size: driver.size, addresses: driver.addresses, base: base,
      features: RingFeatures.offered | layout.features, memory: guest, inflight: inflight)
  }

  /// Which request a chain is: it says so in its first readable byte.
  func name(_ chain: Chain) -> UInt8 { chain.readable[0].iov_base.load(as: UInt8.self) }
}

/// A closure for C.
private final class Body {
  let run: () -> Void
  init(_ run: @escaping () -> Void) { self.run = run }
}

/// Every state of the ranges that `body` goes through, each as long as all of them.
private func steps(_ ranges: [SingleStep_range], _ body: () -> Void) -> [[UInt8]] {
  let length = ranges.reduce(0) { $0 + $1.count }
  let max = 400
  var copies = [UInt8](repeating: 0, count: length * max)
  let count = withoutActuallyEscaping(body) { body in
    let context = Unmanaged.passRetained(Body(body))
    defer { context.release() }
    return SingleStep_run(
      { raw in if let raw { Unmanaged<Body>.fromOpaque(raw).takeUnretainedValue().run() } },
      context.toOpaque(), ranges, ranges.count, &copies, max)
  }
  #expect(count < max - 1)
  return (0..<count).map { [UInt8](copies[length * $0..<length * ($0 + 1)]) }
}

@Suite(.enabled(if: SingleStep_is_possible() != 0)) struct InflightCrashTests {
  /// What the driver has given, and not seen again.
  private final class Run {
    let before: Remains
    let after: Remains
    let layout: Layout
    let driver: MockQueue
    var ring: Ring
    var open: Set<UInt8> = []
    var names: [UInt16: UInt8] = [:]
    var crashes = 0

    init(_ layout: Layout, start: UInt16) throws {
      before = try Remains()
      after = try Remains()
      self.layout = layout
      let place = MockMemory.guestBase
      switch layout {
      case .split:
        driver = MockQueue(index: 0, size: 4, base: place, memory: before.memory)
        driver.nextAvailable = start
        driver.nextUsed = start
        CLinux_store16(before.memory.pointer(driver.availableBase) + 2, start)
        CLinux_store16(before.memory.pointer(driver.usedBase) + 2, start)
      case .packed:
        let packed = MockPackedQueue(index: 0, size: Remains.size, base: place, memory: before.memory)
        packed.begin(at: PackedPosition(rawValue: start % Remains.size | start & 0x8000))
        driver = packed
      }
      ring = try before.start(layout, driver, base: driver.ringBase)
      for name in 0...UInt8.max {
        for memory in [before.memory, after.memory] {
          memory.write([name], at: Self.buffer(name))
        }
      }
    }

    static func buffer(_ name: UInt8) -> UInt64 { MockMemory.guestBase + 4096 + UInt64(name) * 16 }

    func submit(_ name: UInt8, _ count: Int) {
      let buffers = (0..<count).map {
        MockQueue.Buffer(address: Self.buffer(name) + UInt64($0), count: 1, isWritable: $0 > 0)
      }
      guard let head = driver.submit(buffers) else { return }
      names[head] = name
      open.insert(name)
      driver.publish()
    }

    func collect(_ driver: MockQueue, _ open: inout Set<UInt8>, _ names: [UInt16: UInt8], _ context: String) {
      for used in driver.takeAll() {
        let name = names[UInt16(used.head)]
        var wasOpen = false
        if let name { wasOpen = open.remove(name) != nil }
        #expect(wasOpen, "\(context): \(used) comes back twice, or from nowhere")
      }
    }

    /// Somebody else goes on from what is there: every open request comes back exactly once.
    func recover(_ state: [UInt8], _ context: String, nested: Bool) throws {
      crashes += 1
      state.withUnsafeBytes { after.restore($0) }
      let twin = driver.copied(onto: after.memory)
      var open = open
      collect(twin, &open, names, context)
      var failure: (any Error)?
      if nested {
        // Killed again, while it finds out.
        let again = steps(after.ranges) {
          do { _ = try after.start(layout, twin, base: 0) } catch { failure = error }
        }
        #expect(failure == nil, "\(context)")
        for state in again { try recover(state, context + ", and again", nested: false) }
        state.withUnsafeBytes { after.restore($0) }
      }
      var successor = try after.start(layout, twin, base: 0)
      var heads: [(UInt16, UInt8)] = []
      while case .chain(let chain) = successor.next() {
        let name = after.name(chain)
        #expect(open.contains(name), "\(context): request \(name) is done although it was answered")
        #expect(!heads.contains { $0.1 == name }, "\(context): request \(name) is taken twice")
        heads.append((chain.head, name))
      }
      // In the order in which they were submitted.
      #expect(heads.map(\.1) == order.filter(open.contains), "\(context)")
      heads.reverse()
      for (head, _) in heads {
        let isKnown = successor.complete(head: head, written: 1)
        #expect(isKnown)
        if head % 2 == 0 { _ = successor.publish() }
      }
      _ = successor.publish()
      collect(twin, &open, names, context)
      #expect(open.isEmpty, "\(context): \(open) are lost")
      // It is in a state to go on with.
      #expect(twin.submit([MockQueue.Buffer(address: Self.buffer(7), count: 1, isWritable: false)]) != nil)
      twin.publish()
      guard case .chain(let last) = successor.next() else {
        Issue.record("\(context): nothing more is taken")
        return
      }
      _ = successor.complete(head: last.head, written: 0)
      _ = successor.publish()
      #expect(twin.takeAll().count == 1, "\(context)")
    }

    /// Requests in the order of their submission.
    var order: [UInt8] = []
  }

  @Test(arguments: Layout.allCases)
  func `Killed between any two stores, nothing is lost and nothing is done twice`(_ layout: Layout) throws {
    var crashes = 0
    let isLong = getenv("TTBLK_LONG") != nil
    for seed in 0..<(isLong ? 20 : 2) as Range<UInt64> {
      var random = RandomStream(seed: seed, name: "crashes")
      let run = try Run(layout, start: seed % 2 == 0 ? 0x8000 : UInt16(truncatingIfNeeded: random.next()))
      var held: [UInt16] = []
      var name: UInt8 = 0
      for step in 0..<60 {
        let context = "\(layout), seed \(seed), step \(step)"
        var body: () -> Void = {}
        switch Int.random(in: 0..<4, using: &random) {
        case 0:
          run.submit(name, Int.random(in: 1...3, using: &random))
          if run.open.contains(name) { run.order.append(name) }
          name += 1
          continue
        case 1:
          body = {
            if case .chain(let chain) = run.ring.next() { held.append(chain.head) }
          }
        case 2:
          guard !held.isEmpty else { continue }
          let head = held.remove(at: Int.random(in: 0..<held.count, using: &random))
          body = { _ = run.ring.complete(head: head, written: 1) }
        default: body = { _ = run.ring.publish() }
        }
        for state in steps(run.before.ranges, body) {
          try run.recover(state, context, nested: random.next() % 40 == 0)
        }
        run.collect(run.driver, &run.open, run.names, context)
      }
      crashes += run.crashes
    }
    #expect(crashes > 50)
  }
}
