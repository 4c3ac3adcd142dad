import CLinux
import Glibc
import Linux
import Simulation
import TestKit
import Testing
import VhostUser

/// What holds for rings of both layouts.
@Suite struct RingTests {
  typealias Buffer = MockQueue.Buffer

  @Test(arguments: Layout.allCases)
  func `Random valid chains arrive byte by byte and are answered once`(_ layout: Layout) throws {
    for seed in 0..<60 as Range<UInt64> {
      var random = RandomStream(seed: seed, name: "valid chains")
      let size =
        layout == .split
        ? UInt16(1) << UInt16.random(in: 0...8, using: &random) : .random(in: 1...260, using: &random)
      let bench = try Bench(layout, size: size, startingAt: UInt16(truncatingIfNeeded: random.next()))
      // By what the driver calls the chain: what the device calls it, and what is to be written.
      var expected: [UInt16: (head: UInt16, writable: UInt32)] = [:]
      var answered = 0
      var submitted = 0
      for _ in 0..<200 {
        var place = bench.memory.border - UInt64.random(in: 0...600, using: &random)
        var buffers: [Buffer] = []
        var bytes: [UInt8] = []
        var writable: UInt32 = 0
        var last: UInt64?
        for _ in 0..<Int.random(in: 0...4, using: &random) {
          let count = UInt32.random(in: 0...100, using: &random)
          let content = (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
          bench.memory.write(content, at: place)
          bytes += content
          buffers.append(Buffer(address: place, count: count, isWritable: false))
          place += UInt64(count) + UInt64.random(in: 0...1, using: &random)
        }
        for _ in 0..<Int.random(in: buffers.isEmpty ? 1...4 : 0...4, using: &random) {
          let count = UInt32.random(in: 0...100, using: &random)
          buffers.append(Buffer(address: place, count: count, isWritable: true))
          if count > 0 { last = place + UInt64(count) - 1 }
          writable += count
          place += UInt64(count) + UInt64.random(in: 0...1, using: &random)
        }
        let indirect = Bool.random(using: &random)
        let table =
          bench.buffers + UInt64(4096 + submitted % 64 * 256) + UInt64.random(in: 0...1, using: &random)
        let head = bench.driver.submit(
          buffers, table: indirect ? table : nil, direct: Int.random(in: 0..<buffers.count, using: &random))
        if let head {
          submitted += 1
          bench.driver.publish()
          // The driver may reuse the memory of the buffers, so each chain is looked at before the next is
          // made.
          var chain = try bench.chain()
          if layout == .split { try #require(chain.head == head, "seed \(seed)") }
          let isNew = !expected.values.contains { $0.head == chain.head }
          try #require(isNew && chain.head < size, "seed \(seed)")
          check(&chain, bytes, writable, bench.host(last), seed)
          expected[head] = (chain.head, writable)
        }
        while let one = expected.keys.sorted().first(where: { _ in head == nil || Bool.random(using: &random)
        }) {
          let known = expected.removeValue(forKey: one)
          let (own, written) = try #require(known)
          #expect(bench.complete(own, written: written))
          _ = bench.publish()
          let used = bench.driver.takeAll()
          #expect(used == [.init(head: UInt32(one), written: written)], "seed \(seed)")
          answered += 1
        }
      }
      #expect(answered + expected.count == submitted, "seed \(seed)")
      if layout == .split { #expect(bench.outstanding == expected.count, "seed \(seed)") }
    }
  }

  private func check(
    _ chain: inout Chain, _ bytes: [UInt8], _ writable: UInt32, _ last: UnsafeMutableRawPointer?,
    _ seed: UInt64
  ) {
    #expect(chain.readableCount == bytes.count && chain.writableCount == Int(writable), "seed \(seed)")
    #expect(chain.lastWritable == last, "seed \(seed)")
    var copy = [UInt8](repeating: 0, count: bytes.count + 3)
    #expect(copy.withUnsafeMutableBytes { chain.copyReadable(from: 0, to: $0) } == bytes.count)
    #expect([UInt8](copy.dropLast(3)) == bytes, "seed \(seed)")
    chain.removeReadablePrefix(16)
    let rest = [UInt8](bytes.dropFirst(16))
    #expect(chain.readableCount == rest.count && flatten(chain.readable) == rest, "seed \(seed)")
    chain.removeWritableSuffix(1)
    #expect(chain.writableCount == max(Int(writable) - 1, 0), "seed \(seed)")
    #expect(chain.writable.reduce(0) { $0 + $1.iov_len } == chain.writableCount, "seed \(seed)")
  }

  private func flatten(_ pieces: UnsafeMutableBufferPointer<iovec>) -> [UInt8] {
    pieces.flatMap { [UInt8](UnsafeRawBufferPointer(start: $0.iov_base, count: $0.iov_len)) }
  }

  @Test(arguments: Layout.allCases, [true, false])
  func `A driver that shall not kick does not until it is asked`(_ layout: Layout, _ eventIndex: Bool) throws
  {
    let features = eventIndex ? RingFeatures.offered : RingFeatures.offered & ~RingFeatures.eventIndex
    let bench = try Bench(layout, size: 8, features: features, startingAt: 0xfffd, suppressesKicks: true)
    let buffer = Buffer(address: bench.buffers, count: 1, isWritable: true)
    for count in [1, 3, 8, 2, 1] {
      guard case .empty = bench.next() else {
        Issue.record("not empty")
        return
      }
      bench.declineKicks()
      for _ in 0..<count {
        _ = bench.driver.submit([buffer])
        #expect(!bench.driver.publish())
      }
      #expect(bench.hasAvailable)
      for _ in 0..<count { #expect(bench.complete(try bench.chain().head)) }
      _ = bench.publish()
      #expect(bench.driver.takeAll().count == count)
      guard case .empty = bench.next() else {
        Issue.record("not empty")
        return
      }
      _ = bench.driver.submit([buffer])
      #expect(bench.driver.publish())
      #expect(bench.complete(try bench.chain().head))
      _ = bench.publish()
      _ = bench.driver.takeAll()
    }
  }

  /// A model of a ring: what the driver offered, what the device took, in which order what came back.
  @Test(arguments: Layout.allCases)
  func `Batches, laps and any order of completion lose nothing and invent nothing`(_ layout: Layout) throws {
    for seed in 0..<60 as Range<UInt64> {
      var random = RandomStream(seed: seed, name: "laps")
      let size: UInt16 =
        layout == .split
        ? [1, 2, 8, 64].randomElement(using: &random) ?? 8 : .random(in: 1...70, using: &random)
      var features = RingFeatures.offered
      if seed % 2 == 0 { features &= ~RingFeatures.eventIndex }
      if seed % 3 == 0 { features &= ~RingFeatures.indirectDescriptors }
      let bench = try Bench(
        layout, size: size, features: features, startingAt: UInt16(truncatingIfNeeded: random.next()),
        suppressesKicks: seed % 5 < 3)
      var offered: [UInt16] = []
      var taken: [(name: UInt16, head: UInt16, written: UInt32)] = []
      var completed: [MockQueue.Used] = []
      var sleeps = false
      var isKicked = false
      var isCalled = false
      var rounds = 0
      for step in 0..<600 {
        switch Int.random(in: 0..<5, using: &random) {
        case 0, 1:
          let count = Int.random(in: 1...4, using: &random)
          let buffers = (0..<count).map {
            Buffer(address: bench.buffers + UInt64($0) * 64, count: UInt32($0 + 1), isWritable: $0 > 0)
          }
          let usesTable = features & RingFeatures.indirectDescriptors != 0 && Bool.random(using: &random)
          // A table of its own for each chain, as they are read when they are taken.
          let table = bench.buffers + 4096 + UInt64(step) * 64
          if let name = bench.driver.submit(
            buffers, table: usesTable ? table : nil, direct: Int.random(in: 0..<count, using: &random))
          {
            offered.append(name)
          }
          if Bool.random(using: &random) || offered.count > 5 {
            if bench.driver.publish(), !offered.isEmpty { isKicked = true }
          }
        case 2:
          // Who sleeps is woken by kicks only.
          guard !sleeps || isKicked else { break }
          sleeps = false
          isKicked = false
          if Bool.random(using: &random) { bench.declineKicks() }
          for _ in 0..<Int.random(in: 1...5, using: &random) {
            guard case .chain(let chain) = bench.next() else {
              sleeps = true
              break
            }
            let name = offered.removeFirst()
            taken.append((name, chain.head, UInt32(chain.writableCount)))
            rounds += 1
          }
        case 3:
          for _ in 0..<Int.random(in: 0...3, using: &random) where !taken.isEmpty {
            let one = taken.remove(at: Int.random(in: 0..<taken.count, using: &random))
            #expect(bench.complete(one.head, written: one.written))
            #expect(!bench.complete(one.head, written: 0))
            completed.append(.init(head: UInt32(one.name), written: one.written))
          }
        default:
          if bench.publish() { isCalled = true }
          let used = bench.driver.takeAll()
          #expect(used == completed, "seed \(seed), step \(step)")
          #expect(isCalled || used.isEmpty || features & RingFeatures.eventIndex != 0)
          isCalled = false
          completed = []
        }
      }
      // Whatever was offered is taken in the end, if kicks do what they are for.
      if bench.driver.publish() { isKicked = true }
      #expect(!sleeps || isKicked || offered.isEmpty, "seed \(seed): asleep, and nobody kicks")
      #expect(rounds > 10, "seed \(seed)")
    }
  }
}
