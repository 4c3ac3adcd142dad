// What holds for every hard disk and every workload.
import DiskModel
import Simulation
import Testing

@Suite struct HDDPropertyTests {
  /// A random drive and a trace for it; nil where the numbers contradict each other.
  private func example(_ seed: UInt64, requests: Int = 120) throws -> (HDDModel, HDDTrace)? {
    var random = RandomStream(seed: seed, name: "hdd")
    var table = randomDrive(using: &random)
    let whole: HDDModel
    do { whole = try HDDModel.make(table) } catch let error as DiskModelError {
      #expect(!error.description.contains("\n"))
      return nil
    }
    var size = whole.parameters.sectors * 512
    if Bool.random(using: &random) {
      size = UInt64.random(in: 512...size, using: &random) / 512 * 512
      if Bool.random(using: &random) {
        let room = whole.parameters.sectors - size / 512
        table["placement"] = "offset"
        table["offset"] = .integer(Int64(512 * UInt64.random(in: 0...room, using: &random)))
      }
    }
    let model = try HDDModel.make(table, size: size, seed: seed)
    return (model, HDDTrace.random(requests, size: size, using: &random))
  }

  @Test func everyRequestCompletesOnceAndNeverEarly() throws {
    var made = 0
    for seed in 0..<150 as Range<UInt64> {
      guard let (drive, trace) = try example(seed) else { continue }
      var model = drive
      made += 1
      _ = trace.run(&model)
    }
    #expect(made > 100)
  }

  @Test func batchesAndWakingsChangeNothing() throws {
    for seed in 200..<280 as Range<UInt64> {
      guard let (model, trace) = try example(seed) else { continue }
      var (plain, prodded) = (model, model)
      let expected = trace.run(&plain)
      let done = trace.run(&prodded, prodding: RandomStream(seed: seed, name: "prodding"))
      #expect(done == expected, "seed \(seed)")
      #expect(plain.counters == prodded.counters || model.parameters.writeCacheSectors > 0, "seed \(seed)")
    }
  }

  @Test func aCopyGoesOnAsTheOriginal() throws {
    for seed in 300..<330 as Range<UInt64> {
      guard let (model, trace) = try example(seed) else { continue }
      var whole = model
      let expected = trace.run(&whole)
      // Half the requests, a copy, and the other half on both.
      var (first, finished) = (model, [ModelCompletion]())
      for step in trace.steps.prefix(60) {
        while let next = first.nextWake, next < nanoseconds(step.time) {
          first.advance(to: next, into: &finished)
        }
        first.submit(step.request, at: nanoseconds(step.time), into: &finished)
      }
      var copy = first
      for _ in 0..<2 {
        var rest = finished
        for step in trace.steps.dropFirst(60) {
          while let next = copy.nextWake, next < nanoseconds(step.time) {
            copy.advance(to: next, into: &rest)
          }
          copy.submit(step.request, at: nanoseconds(step.time), into: &rest)
        }
        while let next = copy.nextWake { copy.advance(to: next, into: &rest) }
        rest.sort { $0.sequence < $1.sequence }
        #expect(rest.map(\.time.nanoseconds) == expected, "seed \(seed)")
        swap(&copy, &first)
      }
    }
  }

  @Test func littlesLawIsAnExactEquality() throws {
    for seed in 400..<430 as Range<UInt64> {
      guard let (drive, trace) = try example(seed) else { continue }
      var model = drive
      let done = trace.run(&model)
      var random = RandomStream(seed: seed, name: "window")
      let last = done.max() ?? 0
      let from = random.below(last / 2 + 1)
      let to = from + random.below(last - from + 1)
      // By requests: the time each of them spends within the window.
      let residence = zip(trace.steps, done).reduce(UInt64(0)) { sum, one in
        let (begin, end) = (max(one.0.time, from), min(one.1, to))
        return sum + (end > begin ? end - begin : 0)
      }
      // By time: how many there are, from one event to the next.
      var events = trace.steps.map { (min(max($0.time, from), to), 1) }
      events += done.map { (min(max($0, from), to), -1) }
      events.sort { $0.0 == $1.0 ? $0.1 > $1.1 : $0.0 < $1.0 }
      var (integral, inFlight, before) = (UInt64(0), 0, from)
      for (time, change) in events {
        integral += UInt64(inFlight) * (time - before)
        (inFlight, before) = (inFlight + change, time)
      }
      #expect(inFlight == 0 && integral == residence, "seed \(seed)")
    }
  }

  @Test func theArmIsNeverBusierThanTimePasses() throws {
    for seed in 500..<560 as Range<UInt64> {
      guard let (drive, trace) = try example(seed) else { continue }
      var model = drive
      let done = trace.run(&model)
      let busy = model.counter("busy_ns")
      #expect(busy <= done.max() ?? 0, "seed \(seed)")
      let parts = model.counter("rotation_ns") + model.counter("transfer_ns")
      #expect(model.counter("media_reads") == 0 || busy > 0, "seed \(seed)")
      #expect(model.parameters.writeCacheSectors > 0 || parts <= busy, "seed \(seed)")
      let requests = model.counter("reads") + model.counter("writes") + model.counter("flushes")
      #expect(requests + model.counter("discards") == UInt64(trace.steps.count), "seed \(seed)")
    }
  }

  @Test func anotherDiskHasAnotherPhaseAndNothingElse() throws {
    var random = RandomStream(seed: 7, name: "hdd")
    var table = randomDrive(using: &random)
    table["phase"] = "random"
    let a = try HDDModel.make(table, seed: 1)
    let trace = HDDTrace.random(60, size: 1 << 18, using: &random)
    var (first, again, other) = (a, try HDDModel.make(table, seed: 1), try HDDModel.make(table, seed: 2))
    let done = trace.run(&first)
    #expect(done == trace.run(&again))
    #expect(done != trace.run(&other))
  }

  @Test func inAClosedLoopThroughputTimesResponseIsTheNumberOfRequests() throws {
    for (name, depth) in [("cheetah9lp", 4), ("hdd-7200", 16), ("hdd-7200-consumer", 8)] {
      var model = try Preset.hdd(name)
      let size = model.parameters.sectors * 512
      var (loop, total, worst) = (ClosedLoop(), UInt64(0), UInt64(0))
      let workload = ModelWorkload(
        .random, .read, depth: depth, count: 800, range: 0..<(size / 4096 * 4096))
      loop.run(workload, on: &model, stream: RandomStream(seed: 3, name: name)) { _, from, to in
        total += to.since(from).nanoseconds
        worst = max(worst, to.since(from).nanoseconds)
      }
      // X R = N, less what the run's end leaves idle.
      let elapsed = loop.now.nanoseconds
      #expect(total <= elapsed * UInt64(depth))
      #expect(elapsed * UInt64(depth) - total <= UInt64(depth) * worst, "\(name)")
    }
  }
}
