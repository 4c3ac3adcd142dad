// Every number of every preset at its ends.
import DiskModel
import Simulation
import Testing

@Suite struct ExtremeParameterTests {
  private static let diskSize: UInt64 = 4 << 20

  /// Numbers as a model file has them, and quantities.
  private static let extremes: [ParameterValue] = [
    0, 1, -1, 2, 63, 64, 65_536, .integer(1 << 31), .integer(1 << 32), .integer(.max), .integer(.min), true,
    "0", "1", "-1", "9223372036854775807", "9223372036854775808", "18446744073709551615",
    "18446744073709551616", "1e999", "NaN", "inf", "0.5", "1ns", "1s", "1001ms", "86400s",
    "18446744073709551615ns", "18446744073.709551616s", "512", "4096", "4MiB", "64GiB", "1048576TiB", "1B/s",
    "1kB/s", "1000000TB/s", "1000001TB/s", "18446744073709551615B/s", "1%", "1000%", "0.999%",
    "4294967295.999%", "random2", "random101", [], ["1ns"],
    ["1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s"],
    ["0% 0", "100% 86400s"], [[:]], [:],
  ]

  /// Of kinds, which a preset may leave out.
  private static let others: [String: [String]] = [
    "affine": ["servers", "queue_depth", "read", "write", "discard", "write_zeroes"],
    "distribution": ["servers", "queue_depth", "table", "minimum", "mean", "p50", "p99", "bursts"],
    "cloud": [
      "size", "burst_iops", "burst_credit", "slow_seconds_per_1000", "slow_rate_percent", "queue_depth",
    ],
    "hdd": [
      "write_settle", "write_overhead", "flush_overhead", "discard_overhead", "discard_per_4mib",
      "write_cache", "write_back_window", "offset", "placement", "queue_depth", "age_bound", "run_cylinders",
      "transfer_overlap", "estimate",
    ],
    "ssd": [
      "planes", "program_unit", "block", "channel_chunk", "read_burst", "program_suspend", "erase_suspend",
      "link_command", "small_read", "firmware_write_page", "flush", "discard", "write_zeroes", "lines",
      "free_lines", "map_cache", "map_fetch", "precondition", "queue_depth",
    ],
  ]

  /// Paths of all keys of a table, those of tables within included.
  private func paths(_ table: ParameterTable, under path: [String] = []) -> [[String]] {
    table.entries.flatMap { entry -> [[String]] in
      let own = path + [entry.key]
      switch entry.value {
      case .table(let inner): return [own] + paths(inner, under: own)
      case .array(let values):
        guard case .table(let first) = values.first else { return [own] }
        return [own] + paths(first, under: own)
      default: return [own]
      }
    }
  }

  /// The table with another value at a path; of arrays of tables in the first one.
  private func setting(_ table: ParameterTable, _ path: ArraySlice<String>, _ value: ParameterValue)
    -> ParameterTable
  {
    guard let key = path.first else { return table }
    var result = table
    switch (path.count, table[key]) {
    case (1, _): result[key] = value
    case (_, .table(let inner)): result[key] = .table(setting(inner, path.dropFirst(), value))
    case (_, .array(var values)):
      if case .table(let first) = values.first { values[0] = .table(setting(first, path.dropFirst(), value)) }
      result[key] = .array(values)
    default: break
    }
    return result
  }

  /// Either one line that names a key, or every request of a trace completes. Returns whether it was taken.
  private func tryOut(_ table: ParameterTable, _ arrivals: [TraceArrival], _ label: String) -> Bool {
    do throws(DiskModelError) {
      let description = try ModelDescription(specification: "test", parameters: table)
      guard var model = try description.make(for: ModelContext(diskSize: Self.diskSize, seed: 1)) else {
        return true
      }
      let run = TraceRun(arrivals, on: &model)
      #expect(run.problems.isEmpty, "\(run.problems.prefix(3)) with \(label)")
      return true
    } catch {
      #expect(!error.description.contains("\n") && error.description.utf8.count < 700, "\(label): \(error)")
      return false
    }
  }

  /// Small requests of all kinds, and then the longest that guests make, one after the other and at once.
  private func trace(_ seed: UInt64) -> [TraceArrival] {
    var random = RandomStream(seed: seed, name: "extremes")
    var arrivals = randomArrivals(200, diskSize: Self.diskSize, meanGap: 50_000, using: &random)
    var time = arrivals.last?.time.nanoseconds ?? 0
    for operation in ModelRequest.Operation.allCases + ModelRequest.Operation.allCases {
      arrivals.append(
        TraceArrival(
          request: ModelRequest(
            operation: operation, offset: 0, length: operation == .flush ? 0 : Self.diskSize,
            sequence: UInt64(arrivals.count)), time: SimulationTime(nanoseconds: time)))
      time += arrivals.count % 2 == 0 ? 0 : 3_600_000_000_000
    }
    return arrivals
  }

  @Test(arguments: Preset.all.map(\.name))
  func anyNumberOfAPresetIsRefusedOrWorks(_ name: String) throws {
    let preset = try #require(Preset.all.first { $0.name == name })
    guard case .string(let kind) = preset.parameters["kind"] else { return }
    let arrivals = trace(1)
    let keys = paths(preset.parameters) + (Self.others[kind] ?? []).map { [$0] }
    var (taken, refused) = (0, 0)
    // Of each kind one preset with all values, the others with every third.
    let isFirst = Preset.all.first { $0.parameters["kind"] == preset.parameters["kind"] }?.name == name
    let sorted = Set(keys).sorted { $0.lexicographicallyPrecedes($1) }
    for (number, path) in sorted.enumerated() where path != ["kind"] {
      for (index, value) in Self.extremes.enumerated() where isFirst || (index + number) % 3 == 0 {
        let table = setting(preset.parameters, path[...], value)
        if tryOut(table, arrivals, "\(name) with \(path.joined(separator: ".")) = \(value)") {
          taken += 1
        } else {
          refused += 1
        }
      }
    }
    #expect(taken > 5 && refused > 50, "\(taken) taken, \(refused) refused")
  }

  @Test func twoNumbersAtTheirEndsAreRefusedOrWork() {
    let seed: UInt64 = 3
    print("seed \(seed)")
    var random = RandomStream(seed: seed, name: "pairs")
    let arrivals = trace(2)
    for _ in 0..<700 {
      let preset = Preset.all[Int(random.next(upperBound: UInt64(Preset.all.count)))]
      guard case .string(let kind) = preset.parameters["kind"] else { continue }
      let keys = paths(preset.parameters) + (Self.others[kind] ?? []).map { [$0] }
      var table = preset.parameters
      var label = preset.name
      for _ in 0..<2 {
        let path = keys[Int(random.next(upperBound: UInt64(keys.count)))]
        let value = Self.extremes[Int(random.next(upperBound: UInt64(Self.extremes.count)))]
        guard path != ["kind"] else { continue }
        table = setting(table, path[...], value)
        label += ", \(path.joined(separator: ".")) = \(value)"
      }
      _ = tryOut(table, arrivals, label)
    }
  }

  /// What was found: a bus, a link and firmware so slow that times did not fit, skews of thousands of turns,
  /// a curve that never ends.
  @Test func whatWouldTakeCenturiesIsRefused() {
    for (specification, key) in [
      ("hdd-7200:bus=1B/s", "bus"), ("ssd-nvme-mlc:link_bandwidth=1B/s", "link_bandwidth"),
      ("ssd-nvme-mlc:firmware_write_page=2s", "firmware_write_page"),
      ("ssd-nvme-mlc:channel_bandwidth=999B/s", "channel_bandwidth"),
      ("gp3-noisy:throughput=1B/s", "throughput"), ("optane:bandwidth=2000000TB/s", "bandwidth"),
    ] {
      let error = #expect(throws: DiskModelError.self) { try ModelDescription(parsing: specification) }
      #expect(error?.key == key, "\(specification): \(error?.description ?? "")")
    }
    let drive: ParameterTable = [
      "kind": "hdd", "rpm": 7200, "surfaces": 2, "seek": "root", "seek_minimum": "1ms", "seek_average": "9ms",
      "zone": [["cylinders": 1000, "sectors_per_track": 100]],
    ]
    for (path, value, words) in [
      (["zone", "track_skew"], 101, "but a track has 100"),
      (["zone", "cylinder_skew"], 65_536, "but a track has 100"),
    ] as [([String], ParameterValue, String)] {
      let table = setting(drive, path[...], value)
      let error = #expect(throws: DiskModelError.self) {
        try ModelDescription(specification: "x", parameters: table)
      }
      #expect(error?.description.contains(words) == true && error?.key == "zone[0].\(path[1])")
    }
    let steep = drive.merging([
      "seek": "table", "seek_distances": [1, 2], "seek_times": ["1ms", "9ms"],
    ])
    var table = steep
    (table["seek_minimum"], table["seek_average"]) = (nil, nil)
    let error = #expect(throws: DiskModelError.self) {
      try ModelDescription(specification: "x", parameters: table)
    }
    #expect(error?.key == "seek" && error?.description.contains("more than a second") == true)
  }

  @Test func aPreconditionOfHoursAndADriveThatNoDiskNeedsAreRefused() throws {
    let large = ModelContext(diskSize: 2 << 40)
    let error = #expect(throws: DiskModelError.self) {
      try ModelDescription(parsing: "ssd-nvme-mlc:precondition=random3").make(for: large)
    }
    #expect(error?.key == "precondition")
    let dies = #expect(throws: DiskModelError.self) {
      try ModelDescription(
        parsing: "ssd-nvme-mlc:channels=256:dies_per_channel=256:program_unit=4MiB:write_buffer=64GiB"
          + ":over_provisioning=1%"
      ).make(for: ModelContext(diskSize: 1 << 30))
    }
    #expect(dies?.description.contains("65536 dies") == true)
  }
}
