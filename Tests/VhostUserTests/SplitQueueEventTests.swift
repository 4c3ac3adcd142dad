import TestKit
import Testing
import VhostUser

@Suite struct SplitQueueEventTests {
  typealias Buffer = MockQueue.Buffer

  @Test func `The event index formula is the one of the specification`() {
    // Entries old ..< new are used: a call is needed if and only if `event` is one of them.
    for old in [0, 0x7fff, 0xffd0] as [UInt16] {
      for distance in [0, 1, 2, 3, 31, 32, 64, 255, 256, 1000, 32767, 32768, 65535] as [UInt16] {
        var isUsed = [Bool](repeating: false, count: 65536)
        for step in 0..<distance { isUsed[Int(old &+ step)] = true }
        var wrong = 0
        for event in 0...UInt16.max {
          let needed = SplitQueue.passes(event: event, old: old, new: old &+ distance)
          if needed != isUsed[Int(event)] { wrong += 1 }
        }
        #expect(wrong == 0, "old \(old), distance \(distance)")
      }
    }
  }

  @Test func `With the event index a call is made when the driver's index is passed, and the first time`()
    throws
  {
    let bench = try Bench(size: 8, startingAt: 0xfffe)
    func one() throws -> Bool {
      _ = bench.driver.submit([Buffer(address: bench.buffers, count: 1, isWritable: true)])
      bench.driver.publish()
      let head = try bench.chain().head
      #expect(bench.complete(head, written: 1))
      let needsCall = bench.publish()
      _ = bench.driver.takeAll()
      return needsCall
    }
    bench.driver.setUsedEvent(0x1000)
    #expect(try one(), "the first is announced in any case")
    #expect(try !one())
    bench.driver.setUsedEvent(1)
    #expect(try !one())
    #expect(try one())
    #expect(try !one())
    #expect(!bench.publish(), "nothing new, no call")
  }

  @Test func `Without the event index the flag decides`() throws {
    let bench = try Bench(size: 8, features: RingFeatures.version1)
    for silent in [false, true, false] {
      bench.driver.setNoInterrupt(silent)
      _ = bench.driver.submit([Buffer(address: bench.buffers, count: 1, isWritable: true)])
      bench.driver.publish()
      let head = try bench.chain().head
      _ = bench.complete(head, written: 1)
      #expect(bench.publish() == !silent)
      _ = bench.driver.takeAll()
    }
  }

  @Test func `An empty ring asks for a kick at its next index`() throws {
    let bench = try Bench(size: 8, startingAt: 65530)
    for _ in 0..<20 {
      guard case .empty = bench.next() else {
        Issue.record("not empty")
        return
      }
      _ = bench.driver.submit([Buffer(address: bench.buffers, count: 1, isWritable: true)])
      #expect(bench.driver.publish(), "a device that sleeps wants its kick")
      let head = try bench.chain().head
      _ = bench.driver.submit([Buffer(address: bench.buffers, count: 1, isWritable: true)])
      #expect(!bench.driver.publish(), "a device that has not looked yet wants none")
      let second = try bench.chain().head
      for head in [head, second] { #expect(bench.complete(head, written: 1)) }
      _ = bench.publish()
      #expect(bench.driver.takeAll().count == 2)
    }
  }
}
