// Pending events in one total order.
import Simulation
import Testing

@Suite struct EventQueueTests {
  @Test func theyComeOutAsIfSorted() {
    for seed in 0..<UInt64(50) {
      var random = RandomStream(seed: seed, name: "queue")
      var queue = EventQueue()
      var keys: [EventKey] = []
      for index in 0..<Int.random(in: 0...300, using: &random) {
        let key = EventKey(
          time: SimulationTime(nanoseconds: random.next() % 8), priority: UInt8(random.next() % 3),
          device: UInt32(random.next() % 3), sequence: UInt64(index))
        keys.append(key)
        queue.insert(UInt64(index), at: key)
      }
      #expect(queue.count == keys.count)
      keys.sort {
        ($0.time.nanoseconds, $0.priority, $0.device, $0.sequence)
          < ($1.time.nanoseconds, $1.priority, $1.device, $1.sequence)
      }
      for key in keys {
        #expect(queue.nextTime == key.time, "seed \(seed)")
        let next = queue.popDue(at: .never)
        #expect(next?.key == key && next?.payload == key.sequence, "seed \(seed)")
      }
      #expect(queue.isEmpty && queue.nextTime == nil && queue.popDue(at: .never) == nil)
    }
  }

  @Test func onlyWhatIsDueComesOut() {
    var queue = EventQueue()
    queue.insert(7, at: EventKey(time: SimulationTime(nanoseconds: 20), sequence: 1))
    queue.insert(8, at: EventKey(time: SimulationTime(nanoseconds: 10), sequence: 2))
    #expect(queue.popDue(at: SimulationTime(nanoseconds: 9)) == nil)
    #expect(queue.popDue(at: SimulationTime(nanoseconds: 10))?.payload == 8)
    #expect(queue.popDue(at: SimulationTime(nanoseconds: 19)) == nil)
    #expect(queue.popDue(at: SimulationTime(nanoseconds: 21))?.payload == 7)
  }

  @Test func eachFieldDecidesOnlyWhenThoseBeforeItAreEqual() {
    func key(_ time: UInt64, _ priority: UInt8, _ device: UInt32, _ sequence: UInt64) -> EventKey {
      EventKey(
        time: SimulationTime(nanoseconds: time), priority: priority, device: device, sequence: sequence)
    }
    let ascending = [
      key(0, 9, 9, 9), key(1, 0, 9, 9), key(1, 1, 0, 9), key(1, 1, 1, 0), key(1, 1, 1, 1), key(2, 0, 0, 0),
    ]
    for (index, a) in ascending.enumerated() {
      for (other, b) in ascending.enumerated() { #expect((a < b) == (index < other)) }
    }
  }
}
