// Names, numbers and what is wrong with them.
import DiskModel
import Simulation
import Testing

@Suite struct ParameterTests {
  private func complaint(_ table: ParameterTable) -> DiskModelError? {
    do {
      _ = try ModelDescription(specification: "test", parameters: table)
      return nil
    } catch { return error }
  }

  @Test func everyPresetIsRightAndHonest() throws {
    #expect(Set(Preset.all.map(\.name)).count == Preset.all.count)
    for preset in Preset.all {
      #expect(!preset.summary.isEmpty && !preset.source.isEmpty && !preset.summary.contains("\n"))
      #expect(preset.parameters.entries.first?.key == "kind", "\(preset.name)")
      let description = try ModelDescription(parsing: preset.name)
      #expect(description.parameters == preset.parameters && description.takesTime)
      for size in [1 << 20, 64 << 20, 1 << 30] as [UInt64] {
        let model = try description.make(for: ModelContext(diskSize: size))
        #expect(model != nil && model?.nextWake == nil, "\(preset.name) for \(size) bytes")
      }
    }
    #expect(Set(Preset.all.map(\.name)).isSuperset(of: ["optane", "gp2", "gp3", "gp3-noisy", "io2"]))
  }

  @Test func anUnknownNameIsToldWhatIsNear() {
    for (name, near) in [("gp4", "gp2"), ("optan", "optane"), ("afine:50us", "affine"), ("io", "io2")] {
      let error = #expect(throws: DiskModelError.self) { try ModelDescription(parsing: name) }
      #expect(error?.description.contains("did you mean") == true)
      #expect(error?.description.contains(near) == true, "\(name): \(error?.description ?? "")")
    }
    let far = #expect(throws: DiskModelError.self) { try ModelDescription(parsing: "qqqqqqqqqqqq") }
    #expect(far?.description.contains("known are") == true && far?.description.contains("gp3") == true)
  }

  @Test func aPresetWithOtherNumbersIsThatOneWithThem() throws {
    let description = try ModelDescription(parsing: "gp3:iops=6000:size=100GiB")
    #expect(description.parameters["iops"] == "6000" && description.parameters["throughput"] == "125MiB/s")
    let table: ParameterTable = ["preset": "gp3", "iops": 4000, "read": ["p99": "9ms"]]
    let merged = try ModelDescription(specification: "file:x.toml", parameters: table).parameters
    #expect(merged["kind"] == "cloud" && merged["iops"] == 4000 && merged["preset"] == nil)
    #expect(merged["read"] == ["p50": "600us", "p99": "9ms"])
  }

  /// What is wrong, and which key and which words say so.
  static let wrong: [(table: ParameterTable, key: String, words: String)] = [
    ([:], "kind", "missing"),
    (["kind": "floppy"], "kind", "\"floppy\""),
    (["kind": 7], "kind", "7"),
    (["preset": "hdd-9999999"], "preset", "hdd-9999999"),
    (["preset": 5], "preset", "5"),
    (["preset": "gp3", "kind": "affine"], "kind", "another kind"),
    (["kind": "affine"], "latency", "missing"),
    (["kind": "affine", "latency": "5 parsecs"], "latency", "\"5 parsecs\""),
    (["kind": "affine", "latency": "25h"], "latency", "\"25h\""),
    (["kind": "affine", "latency": "86401s"], "latency", "\"86401s\""),
    (["kind": "affine", "latency": "1us", "servers": 0], "servers", "0"),
    (["kind": "affine", "latency": "1us", "servers": 65_537], "servers", "65537"),
    (["kind": "affine", "latency": "1us", "queue_depth": 0], "queue_depth", "0"),
    (["kind": "affine", "latency": "1us", "latancy": "1us"], "latancy", "did you mean latency"),
    (["kind": "zero", "queue_depth": 4], "queue_depth", "zero"),
    (["kind": "distribution"], "latency", "no latency"),
    (["kind": "distribution", "p50": "1ms"], "p99", "missing"),
    (["kind": "distribution", "p50": "1ms", "p99": "1us"], "p99", "less than"),
    (["kind": "distribution", "p50": "0", "p99": "1us"], "p50", "0"),
    (["kind": "distribution", "p50": "1ms", "p99": "2ms", "mean": "1ms"], "p50", "two distributions"),
    (["kind": "distribution", "minimum": "2ms", "mean": "1ms"], "mean", "less than"),
    (["kind": "distribution", "minimum": "2ms"], "mean", "missing"),
    (["kind": "distribution", "table": []], "table", "0% to 100%"),
    (["kind": "distribution", "table": ["0% 1us"]], "table", "0% to 100%"),
    (["kind": "distribution", "table": ["0% 9us", "50% 5us", "100% 6us"]], "table", "50% 5us"),
    (["kind": "distribution", "table": ["0% 1us", "60% 2us", "50% 3us", "100% 4us"]], "table", "50% 3us"),
    (["kind": "distribution", "table": ["0% 1us", "half 2us", "100% 4us"]], "table", "half"),
    (["kind": "distribution", "read": ["p50": "9us"]], "read.p99", "read.p99"),
    (["kind": "distribution", "read": [:]], "read.p50", "missing"),
    (["kind": "distribution", "read": ["latency": "9us", "x": 1]], "read.x", "read.x"),
    (["kind": "distribution", "latency": "1us", "bursts": ["calm": "1us"]], "bursts.calm", "1us"),
    (
      ["kind": "distribution", "latency": "1us", "bursts": ["calm": "1s", "length": "1s"]], "bursts.factor",
      "missing"
    ),
    (["kind": "distribution", "latency": "1us", "fio": "x.json"], "fio", "model files"),
    (["preset": "gp3", "iops": 20_000], "iops", "limit_iops"),
    (["preset": "gp3", "iops": 5000, "size": "8GiB"], "iops", "8 GiB"),
    (["preset": "gp3", "throughput": "1000MiB/s"], "throughput", "3000"),
    (["preset": "gp3", "throughput": "2000MiB/s"], "throughput", "limit_throughput"),
    (["preset": "gp2", "iops": 5], "iops_per_gib", "fixed or by size"),
    (["preset": "gp2", "iops_min": 20_000], "iops_min", "iops_max"),
    (["preset": "gp2", "burst_iops": 0], "burst_iops", "0"),
    (["kind": "cloud", "iops": 5, "burst_iops": 9, "latency": "0"], "burst_credit", "missing"),
    (["kind": "cloud", "latency": "0"], "iops", "missing"),
    (["kind": "cloud", "iops": 5], "latency", "no latency"),
  ]

  @Test func whatIsWrongIsNamedInOneLine() {
    for (table, key, words) in Self.wrong {
      guard let error = complaint(table) else {
        Issue.record("\(table) was taken")
        continue
      }
      #expect(error.key == key, "\(table): \(error)")
      #expect(error.description.contains(words), "\(table): \(error)")
      #expect(!error.description.contains("\n") && error.description.first?.isUppercase == false)
    }
  }

  @Test func anythingAtAllIsEitherTakenOrRefused() throws {
    let seed: UInt64 = 77
    print("seed \(seed)")
    var random = RandomStream(seed: seed, name: "hostile")
    let values: [ParameterValue] = [
      0, -1, 1, .integer(.max), .integer(.min), 65_536, true, "", "0", "1ns", "86400s", "-5us", "5us",
      "99999999s",
      "1B/s", "18446744073709551615B/s", "1152921504606846976", "16EiB", "4096", [], [1],
      ["0% 0", "100% 86400s"],
      [["a": 1]], [:], ["p50": "1ns", "p99": "86400s"], ["latency": "1us"], "100%", "none", "sptf",
    ]
    let keys =
      Preset.all.flatMap { $0.parameters.entries.map(\.key) }
      + ["servers", "queue_depth", "p50", "p99", "mean", "minimum", "table", "bursts", "size", "latency"]
    var taken = 0
    for _ in 0..<3000 {
      var table = Preset.all[Int(random.next(upperBound: UInt64(Preset.all.count)))].parameters
      for _ in 0...random.next(upperBound: 3 as UInt64) {
        let key = keys[Int(random.next(upperBound: UInt64(keys.count)))]
        guard key != "kind" else { continue }
        table[key] =
          random.next(upperBound: 8 as UInt64) == 0
          ? nil : values[Int(random.next(upperBound: UInt64(values.count)))]
      }
      if let error = complaint(table) {
        #expect(error.key != nil && !error.description.contains("\n"), "\(table): \(error)")
        continue
      }
      taken += 1
      // What was taken works, or says why not; large ones take their time.
      guard taken % 20 == 0, var model = try? makeModel(table, size: 1 << 24) else { continue }
      let arrivals = randomArrivals(20, diskSize: 1 << 24, meanGap: 1000, using: &random)
      let run = TraceRun(arrivals, on: &model)
      #expect(run.problems.isEmpty, "\(run.problems.prefix(3)) of \(table)")
    }
    #expect(taken > 100)
  }
}
