// Servers and queues, against what queueing theory says exactly.
import DiskModel
import Simulation
import Testing

@Suite struct QueueingTests {
  private func times(_ model: inout any DiskModel, _ workload: ModelWorkload) -> [UInt64] {
    var loop = ClosedLoop()
    var times: [UInt64] = []
    loop.run(workload, on: &model, stream: RandomStream(seed: 1, name: "workload")) {
      times.append($2.nanoseconds)
    }
    return times
  }

  private func reads(depth: Int, count: Int) -> ModelWorkload {
    ModelWorkload(.random, .read, depth: depth, count: count, range: 0..<(1 << 30))
  }

  @Test func kServersInAClosedLoopGiveExactlyKOverS() throws {
    for (servers, depth, count) in [(1, 1, 500), (1, 32, 500), (4, 32, 400), (7, 3, 300)] {
      var model = try makeModel("affine:100us:servers=\(servers)")
      let busy = min(servers, depth)
      let last = try #require(times(&model, reads(depth: depth, count: count)).last)
      #expect(last == UInt64((count + busy - 1) / busy) * 100_000)
      #expect(model.counters == [ModelCounter("busy_ns", UInt64(count) * 100_000)])
    }
  }

  @Test func requestsThatComeAtRandomWaitAsMD1Says() throws {
    // Half the time the server is busy: S / (2 (1 - 1/2)) / 2 = S / 2 of waiting on average.
    var model = try makeModel("affine:100us:servers=1")
    let gaps = QuantileTable(
      .exponential(minimum: .zero, mean: SimulationDuration(nanoseconds: 200_000)))
    var stream = RandomStream(seed: 2, name: "arrivals")
    var now = SimulationTime.zero
    var waited: UInt64 = 0
    var finished: [ModelCompletion] = []
    let count: UInt64 = 200_000
    for sequence in 0..<count {
      now = now + gaps.value(at: stream.next())
      model.submit(
        ModelRequest(operation: .read, offset: 0, length: 4096, sequence: sequence), at: now, into: &finished)
      waited += finished[0].time.since(now).nanoseconds - 100_000
      finished.removeAll(keepingCapacity: true)
    }
    let mean = waited / count
    #expect((48_500...51_500).contains(mean), "\(mean)")
  }

  @Test func aQueueBeforeADelayIsASetOfServers() throws {
    let seed: UInt64 = 11
    var random = RandomStream(seed: seed, name: "queue")
    for _ in 0..<40 {
      let depth = 1 + random.next(upperBound: 9 as UInt64)
      let numbers = "latency=90us:bandwidth=400MB/s:flush=2ms:discard=3us:write=20us"
      var queued = try makeModel("affine:\(numbers):queue_depth=\(depth)")
      var served = try makeModel("affine:\(numbers):servers=\(depth)")
      let arrivals = randomArrivals(300, diskSize: 1 << 30, meanGap: 40_000, using: &random)
      let (a, b) = (TraceRun(arrivals, on: &queued), TraceRun(arrivals, on: &served))
      #expect(a.problems.isEmpty && b.problems.isEmpty)
      #expect(a.completions == b.completions, "seed \(seed), depth \(depth)")
    }
  }

  @Test func theQueueCountsWhatWaits() throws {
    var model = try makeModel("affine:100us:queue_depth=4")
    _ = times(&model, reads(depth: 32, count: 32))
    // Seven groups of four wait for 100, 200, … us.
    #expect(
      model.counters == [
        ModelCounter("queue_waits", 28), ModelCounter("queue_wait_ns", 4 * 28 * 100_000),
      ])
    var idle = try makeModel("affine:100us:queue_depth=4")
    _ = times(&idle, reads(depth: 4, count: 40))
    #expect(idle.counters.allSatisfy { $0.value == 0 })
  }

  @Test func theQueueKeepsTheOrderOfArrival() throws {
    var model = try makeModel("affine:10us:write=1us:queue_depth=1")
    let arrivals = (0..<6).map { index in
      TraceArrival(
        request: ModelRequest(
          operation: index % 2 == 0 ? .read : .write, offset: 0, length: 0, sequence: UInt64(index)),
        time: .zero)
    }
    let run = TraceRun(arrivals, on: &model)
    #expect(run.completions.map(\.sequence) == [0, 1, 2, 3, 4, 5])
    #expect(run.completions.map(\.completed.nanoseconds) == [10_000, 11_000, 21_000, 22_000, 32_000, 33_000])
  }

  @Test func aWakeThatComesLateChangesNoTime() throws {
    let request = ModelRequest(operation: .read, offset: 0, length: 0, sequence: 0)
    var model = try makeModel("affine:100us:queue_depth=1")
    var finished: [ModelCompletion] = []
    for sequence in 0..<5 as Range<UInt64> {
      var next = request
      next.sequence = sequence
      model.submit(next, at: .zero, into: &finished)
    }
    #expect(model.nextWake == SimulationTime(nanoseconds: 100_000))
    model.advance(to: SimulationTime(nanoseconds: 10_000_000), into: &finished)
    #expect(finished.map(\.time.nanoseconds) == [100_000, 200_000, 300_000, 400_000, 500_000])
    #expect(model.nextWake == nil)
  }
}
