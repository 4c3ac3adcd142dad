// What holds for any drive and any workload: from seeds.
import DiskModel
import Simulation
import Testing

/// A request of a random workload, and when it comes.
private struct Arrival {
  var time: UInt64
  var request: ModelRequest
}

/// A drive and a workload, drawn from a seed.
private struct Trial {
  var table: ParameterTable
  var disk: UInt64
  var arrivals: [Arrival] = []

  init(seed: UInt64, requests: Int) {
    var random = RandomStream(seed: seed, name: "trial")
    func below(_ bound: UInt64) -> UInt64 { random.next(upperBound: bound) }
    func pick<T>(_ values: [T]) -> T { values[Int(below(UInt64(values.count)))] }
    let channels: Int64 = pick([1, 2, 4])
    let page: UInt64 = pick([4, 8, 16])
    let planes: UInt64 = pick([1, 1, 2])
    let levels: UInt64 = pick([1, 1, 3])
    let partitions: Int64 = pick([1, 1, channels])
    let unit = page * planes * levels
    let types = pick([1, 2, 3])
    let isReadFirst = pick([true, false])
    let times = (0..<types).map { ParameterValue.string("\(20 + 13 * $0)us") }
    table = [
      "channels": .integer(channels), "dies_per_channel": .integer(pick([1, 2])),
      "planes": .integer(Int64(planes)),
      "flash_page": .string("\(page)KiB"), "program_unit": .string("\(unit)KiB"),
      "partitions": .integer(partitions), "read": .array(times), "program": .string("\(pick([90, 400]))us"),
      "erase": .string(pick(["0", "1ms", "3ms"])),
      "channel_bandwidth": .string(pick(["400MB/s", "1200MB/s"])),
      "channel_chunk": .string(pick(["4KiB", "16KiB"])),
      "link_bandwidth": .string(pick(["560MB/s", "3GB/s"])),
      "link_command": .string(pick(["0", "3us"])), "firmware_read": .string(pick(["0", "15us"])),
      "firmware_write": .string(pick(["0", "4us"])), "firmware_write_page": .string(pick(["0", "460ns"])),
      "write_buffer": .string("\(2 * UInt64(partitions) * unit * pick([1, 2, 8]))KiB"),
      "power_loss_protection": .boolean(pick([true, false, false])),
      "flush": .string(pick(["0", "50us", "2ms"])),
      "flush_queued": .boolean(pick([true, false])), "discard": .string(pick(["0", "5us"])),
      "write_zeroes_mode": .string(pick(["unmap", "write"])),
      "over_provisioning": .string(pick(["7%", "15%", "40%"])),
      "lines": .integer(pick([64, 256])), "free_lines": .integer(pick([2, 3, 8])),
      "scheduler": .string(isReadFirst ? "read_first" : "fifo"), "read_burst": .integer(pick([1, 4, 8])),
      "program_suspend": .string(isReadFirst ? pick(["0", "20us"]) : "0"),
      "erase_suspend": .string(isReadFirst ? pick(["0", "100us"]) : "0"),
      "precondition": .string(pick(["none", "fill", "random:1"])),
    ]
    if pick([true, false, false]) {
      table["map_cache"] = "64KiB"
      table["map_fetch"] = .integer(pick([512, 2048, 4096]))
    }
    disk = pick([1, 3, 8, 16]) << 20
    // Sometimes far beyond what the drive can do, sometimes idle; hot pages more often.
    let gap: UInt64 = pick([1_000, 20_000, 200_000])
    let hot = pick([disk, max(disk / 8, 512 << 10)])
    let writes: UInt64 = pick([10, 50, 85])
    let largest: UInt64 = pick([1, 4, 80])
    var now: UInt64 = 0
    for sequence in 0..<UInt64(requests) {
      // Several at a time, every now and then.
      if below(4) > 0 { now += below(gap) }
      let dice = below(100)
      let operation: ModelRequest.Operation =
        switch below(40) {
        case 0: .flush
        case 1: .discard
        case 2: .writeZeroes
        default: dice < writes ? .write : .read
        }
      let unit: UInt64 = below(8) == 0 ? 512 : 4096
      let length = operation == .flush ? 0 : unit * (1 + below(largest))
      let offset = below((hot - length) / unit + 1) * unit
      arrivals.append(
        Arrival(
          time: now,
          request: ModelRequest(
            operation: operation, offset: offset, length: length, sequence: sequence,
            isForced: operation == .write && below(16) == 0)))
    }
  }

  func model(seed: UInt64 = 5) throws -> SSDModel {
    try SSDModel(
      SSDParameters(ParameterReader(table)), for: ModelContext(diskSize: disk, seed: seed, name: "d"))
  }
}

/// Drives a model through arrivals; checks as it goes.
private struct Run {
  var model: SSDModel
  private(set) var ends: [ModelCompletion] = []
  private(set) var now: UInt64 = 0
  /// Requests of whose end nobody was told in time.
  private(set) var late = 0

  init(_ model: SSDModel) { self.model = model }

  /// - Parameter isLazy: whether the model is advanced for submissions alone, as one who is late does.
  mutating func run(
    _ arrivals: some Sequence<Arrival>, isLazy: Bool = false, check: (SSDModel) -> Void = { _ in }
  ) {
    for arrival in arrivals {
      if !isLazy { advance(to: arrival.time) }
      now = arrival.time
      model.submit(arrival.request, at: SimulationTime(nanoseconds: now), into: &ends)
      check(model)
    }
  }

  mutating func advance(to time: UInt64) {
    while let wake = model.nextWake, wake.nanoseconds <= time {
      advanceOnce(to: wake.nanoseconds)
    }
  }

  /// Whether the model wants it or not.
  mutating func advanceOnce(to time: UInt64) {
    now = time
    let known = ends.count
    model.advance(to: SimulationTime(nanoseconds: now), into: &ends)
    late += ends[known...].count { $0.time.nanoseconds < now }
  }

  mutating func drain() {
    while let wake = model.nextWake { advance(to: wake.nanoseconds) }
    now = max(now, ends.map(\.time.nanoseconds).max() ?? 0)
  }

  /// The log of completions, by request.
  var log: [ModelCompletion] { ends.sorted { $0.sequence < $1.sequence } }
}

@Suite struct SSDPropertyTests {
  @Test func everyRequestEndsOnceAndNeverEarly() throws {
    for seed in 0..<60 as Range<UInt64> {
      let trial = Trial(seed: seed, requests: 120)
      var run = Run(try trial.model())
      run.run(trial.arrivals)
      run.drain()
      #expect(run.model.violation() == nil, "seed \(seed)")
      let log = run.log
      #expect(log.map(\.sequence) == Array(0..<120), "seed \(seed)")
      let least = run.model.minimumLatency
      for (arrival, end) in zip(trial.arrivals, log)
      where end.time < SimulationTime(nanoseconds: arrival.time) + least {
        Issue.record("seed \(seed): request \(end.sequence) ends at \(end.time), came at \(arrival.time)")
      }
    }
  }

  @Test func pagesAndBufferAreConservedAtEveryMoment() throws {
    for seed in 100..<112 as Range<UInt64> {
      let trial = Trial(seed: seed, requests: 60)
      var run = Run(try trial.model())
      var count = 0
      run.run(trial.arrivals) { model in
        count += 1
        if count % 10 == 0, let violation = model.violation() { Issue.record("seed \(seed): \(violation)") }
      }
      run.drain()
      #expect(run.model.violation() == nil, "seed \(seed)")
    }
  }

  @Test func littlesLawIsAnEqualityOfIntegers() throws {
    for seed in 200..<220 as Range<UInt64> {
      let trial = Trial(seed: seed, requests: 100)
      var run = Run(try trial.model())
      run.run(trial.arrivals)
      run.drain()
      let log = run.log
      let (from, to) = (run.now / 5, run.now * 4 / 5)
      // The integral over the steps of the number in flight …
      let steps =
        (trial.arrivals.map { (time: $0.time, change: 1) } + log.map { ($0.time.nanoseconds, -1) })
        .sorted { $0.time < $1.time }
      var (area, inFlight, last) = (UInt64(0), 0, from)
      for step in steps {
        let time = min(max(step.time, from), to)
        area += UInt64(inFlight) * (time - last)
        last = time
        inFlight += step.change
      }
      // … is the sum of the residence times, clipped.
      let sum = zip(trial.arrivals, log).reduce(UInt64(0)) { sum, pair in
        let start = min(max(pair.0.time, from), to)
        return sum + (min(max(pair.1.time.nanoseconds, from), to) - start)
      }
      #expect(area == sum, "seed \(seed)")
      #expect(inFlight == 0)
    }
  }

  @Test func nothingIsBusyForLongerThanItIsThere() throws {
    for seed in 300..<330 as Range<UInt64> {
      let trial = Trial(seed: seed, requests: 100)
      var run = Run(try trial.model())
      run.run(trial.arrivals)
      #expect(run.model.busyTimes(at: run.now).allSatisfy { $0 <= run.now }, "seed \(seed)")
      run.drain()
      let times = run.model.busyTimes(at: run.now)
      #expect(times.allSatisfy { $0 <= run.now }, "seed \(seed)")
      #expect(times.contains { $0 > 0 }, "seed \(seed)")
    }
  }

  @Test func theSameSeedGivesTheSameLogInAnyBatching() throws {
    for seed in 400..<430 as Range<UInt64> {
      let trial = Trial(seed: seed, requests: 100)
      var eager = Run(try trial.model())
      var late = Run(try trial.model())
      eager.run(trial.arrivals)
      late.run(trial.arrivals, isLazy: true)
      eager.drain()
      late.drain()
      #expect(eager.log == late.log, "seed \(seed)")
      #expect(eager.model.counters == late.model.counters, "seed \(seed)")
    }
  }

  @Test func whoComesWhenAskedMissesNothing() throws {
    for seed in 600..<640 as Range<UInt64> {
      let trial = Trial(seed: seed, requests: 100)
      var asked = Run(try trial.model())
      var prodded = Run(try trial.model())
      // Whole pages: parts of two pages go over the link with the first chunk, and the read is told of, late,
      // with the last one.
      for arrival in trial.arrivals where (arrival.request.offset | arrival.request.length) % 4096 == 0 {
        asked.run([arrival])
        while prodded.now + 7_000 < arrival.time {
          let next = prodded.now + 7_000
          prodded.advance(to: next)
          prodded.advanceOnce(to: next)
        }
        prodded.run([arrival])
      }
      let end = asked.now + 500_000
      asked.advance(to: end)
      asked.model.catchUp(to: SimulationTime(nanoseconds: end))
      prodded.advance(to: end)
      prodded.advanceOnce(to: end)
      #expect(asked.model.counters == prodded.model.counters, "seed \(seed)")
      asked.drain()
      prodded.drain()
      #expect(asked.log == prodded.log, "seed \(seed)")
      #expect(asked.late == 0 && prodded.late == 0, "seed \(seed)")
    }
  }

  @Test func aSnapshotGoesOnAsTheOriginalDoes() throws {
    for seed in 500..<520 as Range<UInt64> {
      let trial = Trial(seed: seed, requests: 100)
      var whole = Run(try trial.model())
      whole.run(trial.arrivals)
      whole.drain()
      var original = Run(try trial.model())
      original.run(trial.arrivals[..<50])
      var copy = original
      // The original first, so that a shared table would show.
      original.run(trial.arrivals[50...])
      original.drain()
      copy.run(trial.arrivals[50...])
      copy.drain()
      #expect(original.log == whole.log, "seed \(seed)")
      #expect(copy.log == whole.log, "seed \(seed)")
      #expect(copy.model.violation() == nil, "seed \(seed)")
    }
  }

  @Test func preconditioningIsTheSameForTheSameSeedAndMovesWithIt() throws {
    func counters(_ seed: UInt64) throws -> [UInt64] {
      var probe = SSDProbe(
        try SSDBench.model("ssd-nvme-mlc", disk: 24 << 20, seed: seed, ["precondition": "random:2"]))
      #expect(probe.model.violation() == nil)
      return (0..<40).map { probe.latency(.read, page: $0 * 97 % 6144, pages: 8) }
    }
    #expect(try counters(3) == counters(3))
    #expect(try counters(3) != counters(4))
  }

  @Test func aClosedLoopKeepsItsDepth() throws {
    var bench = try SSDBench(disk: 64 << 20)
    let (depth, count) = (16, 3_000)
    let result = bench.run(.read, depth: depth, count: count)
    // X·R = N, but for the ends of the run.
    let inFlight = Double(result.latencies.reduce(0, +)) / Double(result.elapsed)
    let slack = Double(depth) * Double(result.latencies.max() ?? 0) / Double(result.elapsed)
    #expect(abs(inFlight - Double(depth)) <= slack)
  }
}
