// What holds of every model, for any numbers and any requests.
import DiskModel
import Simulation
import Testing

@Suite struct ModelPropertyTests {
  static let seed: UInt64 = 20_261_130

  /// Parameters of the kinds whose numbers can be anything; the others are here by their presets.
  private func randomTable(_ random: inout RandomStream) -> ParameterTable {
    func below(_ most: UInt64) -> UInt64 { random.next(upperBound: most) }
    func time(_ most: UInt64) -> ParameterValue {
      .string("\(1 + below(most))ns")
    }
    func chance(_ n: UInt64) -> Bool { below(n) == 0 }
    func shape() -> ParameterTable {
      switch below(4) {
      case 0: return ["latency": time(3_000_000)]
      case 1: return ["minimum": time(50_000), "mean": .string("\(60_000 + below(900_000))ns")]
      case 2: return ["p50": time(200_000), "p99": .string("\(200_001 + below(9_000_000))ns")]
      default:
        let middle = 1000 + below(500_000)
        let text = ["0% 1us", "50% \(middle)ns", "99.5% \(middle)ns", "100% \(middle * 9)ns"]
        return ["table": .array(text.map { .string($0) })]
      }
    }
    var table: ParameterTable
    switch below(3) {
    case 0:
      table = ["kind": "affine", "latency": time(500_000)]
      if chance(2) { table["bandwidth"] = .string("\(1 + below(4000))MB/s") }
      if chance(2) { table["flush"] = time(9_000_000) }
      if chance(2) { table["discard"] = "0" }
    case 1:
      table = ParameterTable([.init(key: "kind", value: "distribution")]).merging(shape())
      for key in ["read", "write", "flush"] where chance(2) { table[key] = .table(shape()) }
      if chance(3) { table["bursts"] = ["calm": "3ms", "length": "1ms", "factor": 7] }
    default:
      table = ParameterTable([.init(key: "kind", value: "cloud")]).merging(shape())
      table["iops"] = .integer(Int64(1 + below(20_000)))
      if chance(2) { table["throughput"] = .string("\(1 + below(900))MiB/s") }
      if chance(2) {
        table["burst_iops"] = 15_000
        table["burst_credit"] = 50
      }
      if chance(3) {
        table["slow_seconds_per_1000"] = 300
        table["slow_rate_percent"] = 20
      }
      if chance(2) { table["slack"] = time(20_000_000) }
    }
    if table["kind"] != "cloud", chance(2) { table["servers"] = .integer(Int64(1 + below(9))) }
    if chance(2) { table["queue_depth"] = .integer(Int64(1 + below(40))) }
    return table
  }

  /// Models to look at: random ones, and every preset twice, once behind a queue.
  private func models(_ random: inout RandomStream, count: Int) -> [ParameterTable] {
    (0..<count).map { _ in randomTable(&random) }
      + Preset.all.flatMap { preset -> [ParameterTable] in
        var queued = preset.parameters
        queued["queue_depth"] = 4
        return [preset.parameters, queued]
      }
  }

  @Test func everyRequestCompletesOnceNeverEarlyAndLittleHolds() throws {
    print("seed \(Self.seed)")
    var random = RandomStream(seed: Self.seed, name: "properties")
    for table in models(&random, count: 60) {
      var model = try makeModel(table)
      let gap = 1 + random.next(upperBound: 400_000 as UInt64)
      let arrivals = randomArrivals(250, diskSize: 1 << 30, meanGap: gap, using: &random)
      let run = TraceRun(arrivals, on: &model)
      #expect(run.problems.isEmpty, "\(run.problems.prefix(3)) of \(table)")
      if let busy = model.counters.first(where: { $0.name == "busy_ns" })?.value {
        guard case .integer(let servers) = table["servers"] else { continue }
        #expect(busy <= UInt64(servers) * run.end.nanoseconds, "\(table)")
      }
    }
  }

  @Test func theSameSeedAndRequestsGiveTheSameCompletions() throws {
    var random = RandomStream(seed: Self.seed, name: "again")
    for table in models(&random, count: 20) {
      let arrivals = randomArrivals(120, diskSize: 1 << 30, meanGap: 30_000, using: &random)
      var (a, b) = (try makeModel(table), try makeModel(table))
      #expect(TraceRun(arrivals, on: &a).completions == TraceRun(arrivals, on: &b).completions, "\(table)")
      #expect(a.counters == b.counters)
    }
  }

  @Test func aCopyOfAModelGoesOnAsTheModelDoes() throws {
    var random = RandomStream(seed: Self.seed, name: "copy")
    for table in models(&random, count: 20) {
      let arrivals = randomArrivals(200, diskSize: 1 << 30, meanGap: 30_000, using: &random)
      var model = try makeModel(table)
      // To a moment when nothing is under way, and on from there.
      let first = TraceRun(Array(arrivals[..<100]), on: &model)
      let later = arrivals[100...].map { arrival in
        TraceArrival(
          request: arrival.request,
          time: first.end + SimulationDuration(nanoseconds: arrival.time.nanoseconds))
      }
      var copy = model
      let (a, b) = (TraceRun(later, on: &model), TraceRun(later, on: &copy))
      #expect(a.completions == b.completions && a.problems.isEmpty, "\(table)")
    }
  }

  @Test func whatOneDiskDoesMovesNothingOfAnother() throws {
    var random = RandomStream(seed: Self.seed, name: "others")
    for table in models(&random, count: 10) {
      let arrivals = randomArrivals(100, diskSize: 1 << 30, meanGap: 30_000, using: &random)
      var alone = try makeModel(table, name: "a-disk")
      let expected = TraceRun(arrivals, on: &alone).completions
      let description = try ModelDescription(specification: "test", parameters: table)
      func make(_ name: String) throws -> (any DiskModel)? {
        try description.make(for: ModelContext(diskSize: 1 << 30, seed: 1, name: name))
      }
      var other = try #require(try make("0-disk"))
      _ = TraceRun(arrivals, on: &other)
      var again = try #require(try make("a-disk"))
      #expect(TraceRun(arrivals, on: &again).completions == expected, "\(table)")
    }
  }

  @Test func inAClosedLoopThroughputTimesLatencyIsTheDepth() throws {
    for preset in Preset.all {
      for depth in [1, 7, 32] {
        var model = try makeModel(preset.parameters)
        var (sum, longest, count): (UInt128, UInt64, UInt128) = (0, 0, 0)
        var loop = ClosedLoop()
        let workload = ModelWorkload(.random, .read, depth: depth, count: 300, range: 0..<(1 << 30))
        loop.run(workload, on: &model, stream: RandomStream(seed: 1, name: "workload")) { _, begin, end in
          sum += UInt128(end.since(begin).nanoseconds)
          longest = max(longest, end.since(begin).nanoseconds)
          count += 1
        }
        let area = UInt128(depth) * UInt128(loop.now.nanoseconds)
        #expect(count == 300)
        #expect(sum <= area && sum + UInt128(depth) * UInt128(longest) >= area, "\(preset.name) at \(depth)")
      }
    }
  }
}
