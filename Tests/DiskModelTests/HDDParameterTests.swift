// What a drive's file may say.
import DiskModel
import Simulation
import Testing

@Suite struct HDDParameterTests {
  private static let good: ParameterTable = [
    "kind": "hdd", "rpm": 7200, "surfaces": 2, "zone": [["cylinders": 1000, "sectors_per_track": 1000]],
    "seek": "lee", "seek_minimum": "1ms", "seek_average": "8ms", "seek_full": "15ms",
  ]

  private func refusal(_ changes: ParameterTable, without: [String] = []) -> DiskModelError? {
    var table = Self.good.merging(changes)
    for key in without { table[key] = nil }
    do {
      let reader = ParameterReader(table)
      _ = try reader.string("kind")
      _ = try HDDParameters(reader)
      return nil
    } catch { return error }
  }

  @Test func aDriveNeedsItsPlattersAndItsSeeks() {
    #expect(refusal([:]) == nil)
    for key in ["rpm", "surfaces", "zone", "seek", "seek_average"] {
      let error = refusal([:], without: [key])
      #expect(error?.key == key && error?.description.contains("'\(key)' is missing") == true)
    }
  }

  @Test func whatIsOutOfRangeOrContradictoryIsRefusedInOneLine() {
    for (changes, key, words) in [
      (["rpm": 0], "rpm", "600 to 100000"), (["surfaces": 65], "surfaces", "1 to 64"),
      (["depth": 0], "depth", "1 to 1024"),
      (["scheduler": "elevator"], "scheduler", "fcfs, c-look, sstf, sptf"),
      (["estimate": "guess"], "estimate", "exact, disksim, disksim-g4"),
      (["head_switch": "2s"], "head_switch", "2s"), (["bus": "fast"], "bus", "bandwidth"),
      (["zone": []], "zone", "1 to 256 zones"), (["segments": 1000], "segments", "0 to 256"),
      (["zone": [["cylinders": 1000]]], "zone[0].sectors_per_track", "missing"),
      (["zone": [["cylinders": 10, "sectors_per_track": 9, "skew": 1]]], "zone[0].skew", "track_skew"),
      (
        ["zone": [["cylinders": 1000, "sectors_per_track": 1000, "cylinder_skew": 10]]],
        "zone[0].cylinder_skew", "121 pass during a seek of one cylinder"
      ),
      (
        [
          "head_switch": "2ms",
          "zone": [["cylinders": 1000, "sectors_per_track": 1000, "track_skew": 239]],
        ], "zone[0].track_skew", "241 pass during a head switch"
      ),
      (["write_settle": "7500us"], "seek", "a revolution of 8333333 ns"),
      (["head_switch": "9ms"], "head_switch", "a revolution"),
      (["capacity": "2GB"], "capacity", "the zones hold 1024000000"),
      (["seek_full": "7ms"], "seek_average", "no rising curve"),
      (["seek_knee": 4], "seek_knee", "unknown key"),
      (["offset": 512], "offset", "placement = \"offset\""),
      (["placement": "offset", "offset": 100], "offset", "multiple of 512"),
      (["placement": "middle"], "placement", "scaled, offset"),
      (["seek": "table"], "seek_distances", "missing"),
      (["write_cache": "1TB"], "write_cache", "4294967296"),
      (["cache": "1MB"], "cache", "unknown key 'cache'"),
    ] as [(ParameterTable, String, String)] {
      let error = refusal(changes)
      #expect(error?.key == key, "\(changes)")
      #expect(error?.description.contains(words) == true, "\(error?.description ?? "taken")")
      #expect(error?.description.contains("\n") == false)
    }
  }

  @Test func measuredCurvesMustFit() {
    let bare: ParameterTable = ["seek": "table"]
    let fitted = ["seek_minimum", "seek_average", "seek_full"]
    for (changes, key) in [
      (["seek_distances": [1, 2], "seek_times": ["1ms"]], "seek_times"),
      (["seek_distances": [], "seek_times": []], "seek_times"),
      (["seek_distances": [1, 1], "seek_times": ["1ms", "2ms"]], "seek_distances"),
      (["seek_distances": [0, 1], "seek_times": ["1ms", "2ms"]], "seek_distances"),
      (["seek_distances": [1, 2], "seek_times": ["1ms", "2"]], "seek_times"),
      (["seek_distances": [1, 2], "seek_times": ["1ms", "2s"]], "seek_times"),
      (["seek_distances": [1, 2], "seek_times": [1, 2]], "seek_times"),
    ] as [(ParameterTable, String)] {
      let error = refusal(bare.merging(changes), without: fitted)
      #expect(error?.key == key, "\(changes)")
    }
    #expect(
      refusal(
        bare.merging(["seek_distances": [1, 9], "seek_times": ["1ms", "2ms"]]), without: fitted) == nil)
    let pieces: ParameterTable = [
      "seek": "two-piece", "seek_knee": 100, "seek_base": "1ms", "seek_root": "1ms", "seek_far_base": "2ms",
      "seek_per_1000": "1ms",
    ]
    #expect(refusal(pieces, without: fitted)?.key == "seek_knee")
    #expect(refusal(["seek": "root"], without: ["seek_full"]) == nil)
    let falling = refusal(["seek": "root", "seek_average": "0"], without: ["seek_full"])
    #expect(falling?.key == "seek_average")
  }

  @Test func everyPresetMakesADriveOfItsSize() throws {
    for (name, bytes) in [
      ("hdd-10k-300g", 299_999_999_488), ("hdd-10k", 9_105_018_880), ("hdd-15k", 147_043_532_800),
      ("hdd-7200", 8_001_563_222_016), ("hdd-7200-consumer", 2_000_398_934_016),
      ("cheetah9lp", 9_105_018_880), ("atlas10k", 9_184_760_832), ("barracuda", 2_104_320_000),
    ] as [(String, UInt64)] {
      let preset = try #require(Preset.all.first { $0.name == name })
      #expect(!preset.summary.isEmpty && !preset.source.contains("\n"))
      let model = try Preset.hdd(name)
      #expect(model.parameters.sectors * 512 == bytes)
      // And by its name, for a disk of any size it holds.
      for size in [1 << 20, 1 << 30, bytes] {
        let made = try ModelDescription(parsing: "\(name):depth=3").make(for: ModelContext(diskSize: size))
        let small = try #require(made as? HDDModel)
        #expect(small.parameters.depth == 3 && small.placement?.isEmpty == false)
      }
    }
  }

  @Test func theLeastLatencyIsMet() throws {
    let model = try smallDrive([
      "read_overhead": "50us", "hit_overhead": "8us", "segments": 1, "bus": "512MB/s",
    ])
    #expect(model.minimumLatency.nanoseconds == 8000)
    #expect(try smallDrive().minimumLatency == .zero)
    let through = try smallDrive([
      "read_overhead": "50us", "flush_overhead": "1s", "discard_overhead": "1s", "hit_overhead": "1s",
    ])
    #expect(through.minimumLatency.nanoseconds == 150_000)
  }
}
