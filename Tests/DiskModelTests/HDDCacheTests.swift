// Read-ahead, the write cache, and the flush that empties it.
import Simulation
import Testing

@testable import DiskModel

@Suite struct HDDCacheTests {
  /// When each request of a trace is done.
  private func run(_ model: HDDModel, _ build: (inout HDDTrace) -> Void) -> [UInt64] {
    var (model, trace) = (model, HDDTrace())
    build(&trace)
    return trace.run(&model)
  }

  // MARK: Reads

  @Test func whatHasPassedUnderTheHeadIsThereAtOnce() throws {
    let model = try smallDrive([
      "segments": 2, "segment_size": "64KiB", "read_ahead": "32KiB", "hit_overhead": "3us",
    ])
    let done = run(model) {
      $0.add(.read, sector: 0, at: 0)
      // Ends at 0.8 ms; 12 further sectors have passed at 2 ms.
      $0.add(.read, sector: 8, at: 2_000_000)
      $0.add(.read, sector: 12, at: 2_000_500)
      // The eighth of these passes at 2.8 ms, and goes over the bus then.
      $0.add(.read, sector: 20, at: 2_001_000)
      $0.add(.read, sector: 0, at: 2_900_000)
    }
    #expect(done == [800_000, 2_003_000, 2_006_000, 2_800_000, 2_903_000])
  }

  @Test func readingOnEndsWithTheSegmentOrTheReadAhead() throws {
    for changes in [
      ["segment_size": "12KiB"], ["segment_size": "64KiB", "read_ahead": "8KiB"],
    ] as [ParameterTable] {
      let model = try smallDrive(changes.merging(["segments": 2, "hit_overhead": "3us"]))
      let done = run(model) {
        $0.add(.read, sector: 0, at: 0)
        // 16 sectors ahead: 8 to 24 are there long ago, the next ones are not, and have passed.
        $0.add(.read, sector: 16, at: 6_000_000)
        $0.add(.read, sector: 24, at: 7_000_000)
      }
      #expect(done[1] == 6_003_000)
      #expect(done[2] == 6_400_000 + 3_200_000)
    }
  }

  @Test func aMissStopsReadingOnWhereTheHeadIs() throws {
    let model = try smallDrive(["segments": 2, "segment_size": "1MiB", "hit_overhead": "3us"])
    let done = run(model) {
      $0.add(.read, sector: 0, at: 0)
      // At 41.7 ms the head is on the seventh track, in cylinder 2: a seek of one cylinder to 3, not of 3.
      $0.add(.read, sector: 3 * 192, at: 41_700_000)
      $0.add(.read, sector: 300, at: 60_000_000)
    }
    // Cylinder 3 begins at 27 sectors: 42.2 ms is 38 sectors in, 53 sectors of 64 to go.
    #expect(done[1] == 42_200_000 + 5_300_000 + 800_000)
    // What had passed by then is in the cache.
    #expect(done[2] == 60_003_000)
  }

  @Test func theLeastRecentlyUsedSegmentIsGivenUp() throws {
    let model = try smallDrive([
      "segments": 2, "segment_size": "4KiB", "read_ahead": 0, "hit_overhead": "3us",
    ])
    let done = run(model) {
      for (index, sector) in ([0, 1000, 0, 2000, 0, 1000] as [UInt64]).enumerated() {
        $0.add(.read, sector: sector, at: UInt64(index) * 20_000_000)
      }
    }
    let hits = done.enumerated().map { $1 - UInt64($0) * 20_000_000 == 3000 }
    #expect(hits == [false, false, true, false, true, false])
  }

  @Test func aWriteTakesItsSectorsOutOfTheReadCache() throws {
    let model = try smallDrive(["segments": 2, "segment_size": "8KiB", "hit_overhead": "3us"])
    let done = run(model) {
      $0.add(.read, sector: 0, at: 0)
      $0.add(.write, sector: 4, count: 2, at: 10_000_000)
      $0.add(.read, sector: 0, count: 4, at: 30_000_000)
      $0.add(.read, sector: 4, count: 1, at: 40_000_000)
    }
    #expect(done[2] == 30_003_000)
    #expect(done[3] > 40_100_000)
  }

  @Test func aStreamRunsAtTheRateOfTheMedium() throws {
    for (name, expected) in [
      // The fits' own rates, skews included.
      ("hdd-7200", 205e6), ("hdd-7200-consumer", 150e6), ("hdd-15k", 0), ("hdd-10k-300g", 0),
      ("hdd-10k", 0),
    ] as [(String, Double)] {
      var model = try Preset.hdd(name)
      let block: UInt64 = name == "hdd-10k" ? 65_536 : 256 << 10
      let count = 400
      let workload = ModelWorkload(
        .sequential, .read, blockSize: block, count: count, range: 0..<(block * UInt64(count)))
      var loop = ClosedLoop()
      loop.run(workload, on: &model, stream: RandomStream(seed: 1, name: name)) { _, _, _ in }
      let rate = Double(block * UInt64(count)) * 1e9 / Double(loop.now.nanoseconds)
      let parameters = model.parameters
      let zone = parameters.zones[0]
      let perTrack = Double(zone.sectorsPerTrack)
      let skew = Double(parameters.runCylinders > 1 ? zone.cylinderSkew : zone.trackSkew)
      let medium = perTrack * 512e9 / Double(parameters.revolution) * perTrack / (perTrack + skew)
      let host = Double(block) * 1e9 / Double(parameters.hitOverhead + parameters.bus(block / 512))
      #expect(rate >= 0.95 * min(medium, host), "\(name): \(rate) of \(medium) and \(host)")
      #expect(rate <= 1.02 * min(medium, host), "\(name): \(rate) of \(medium) and \(host)")
      if expected > 0 { #expect(abs(rate / expected - 1) < 0.02, "\(name): \(rate)") }
    }
  }

  @Test func aStreamOfQueuedReadsIsAsFast() throws {
    var model = try Preset.hdd("hdd-7200")
    let workload = ModelWorkload(
      .sequential, .read, blockSize: 65_536, depth: 4, count: 1600, range: 0..<(1600 * 65_536))
    var loop = ClosedLoop()
    loop.run(workload, on: &model, stream: RandomStream(seed: 1, name: "queued")) { _, _, _ in }
    let rate = Double(1600 * 65_536) * 1e9 / Double(loop.now.nanoseconds)
    #expect(abs(rate / 205e6 - 1) < 0.05, "\(rate)")
  }

  // MARK: Writes

  @Test func aCachedWriteCostsItsOverheadAndTheBus() throws {
    let model = try smallDrive(["write_cache": "64KiB", "hit_overhead": "5us", "bus": "512MB/s"])
    let done = run(model) {
      $0.add(.write, sector: 1000, at: 0)
      $0.add(.write, sector: 2000, at: 0)
      $0.add(.write, sector: 3000, count: 16, at: 100_000)
      // Still in the cache, and read from it.
      $0.add(.read, sector: 3004, at: 200_000)
      // A forced one is done on the medium.
      $0.add(.write, sector: 4000, at: 300_000, isForced: true)
    }
    #expect(Array(done.prefix(4)) == [13_000, 26_000, 121_000, 213_000])
    #expect(done[4] > 300_000 + 800_000)
  }

  @Test func aFullCacheMakesWritesWait() throws {
    let name = "write_cache"
    func model(_ size: String) throws -> HDDModel {
      try smallDrive([name: .string(size), "hit_overhead": "5us", "scheduler": "sptf"])
    }
    // All over the disk, none beside another.
    let sectors = (0..<400 as Range<UInt64>).map { $0 * 157 % 475 * 16 }
    var rates: [Double] = []
    for size in ["0", "4KiB", "64KiB", "512KiB"] {
      var (model, loop) = (try model(size), HDDTrace())
      for sector in sectors { loop.add(.write, sector: sector, at: 0) }
      let done = loop.run(&model)
      let early = done.filter { $0 <= 400 * 5000 }.count
      // What fits is done at once: each is 4 KiB, and one may be on its way to the medium.
      let fits = model.parameters.writeCacheSectors / 8
      #expect(size == "0" ? early < 2 : early >= fits && early <= fits + 2, "\(size): \(early)")
      rates.append(400e9 / Double(done.max() ?? 1))
      #expect(model.counter("stalled_writes") >= (size == "0" ? 0 : 400 - fits - 1))
    }
    #expect(rates[3] > rates[1])
  }

  @Test func aWriteLargerThanTheCacheGoesToTheMedium() throws {
    let model = try smallDrive(["write_cache": "4KiB", "hit_overhead": "5us"])
    let done = run(model) {
      $0.add(.write, sector: 0, count: 9, at: 0)
      $0.add(.write, sector: 100, count: 8, at: 0)
    }
    #expect(done == [900_000, 5_000])
  }

  @Test func aReaderAndAFullCacheTakeTurns() throws {
    var (model, trace) = (
      try smallDrive(["write_cache": "64KiB", "hit_overhead": "5us", "scheduler": "sptf"]), HDDTrace()
    )
    var random = RandomStream(seed: 6, name: "turns")
    for index in 0..<300 as Range<UInt64> {
      trace.add(index % 2 == 0 ? .read : .write, sector: random.below(950) * 8, at: index)
    }
    let done = trace.run(&model)
    let half = done.sorted()[150]
    let (reads, writes) = (0..<300).reduce(into: (0, 0)) { sum, index in
      if done[index] > half { return }
      if index % 2 == 0 { sum.0 += 1 } else { sum.1 += 1 }
    }
    // The first 16 writes are free.
    #expect(reads > 50 && writes > 50, "\(reads) \(writes)")
  }

  // MARK: Flush

  @Test func aFlushWritesEverythingAndHoldsTheRest() throws {
    for window in [0, 3] as [ParameterValue] {
      var (model, trace) = (
        try smallDrive([
          "write_cache": "128KiB", "hit_overhead": "5us", "flush_overhead": "7us",
          "write_back_window": window,
          "scheduler": "sptf",
        ]), HDDTrace()
      )
      for index in 0..<20 as Range<UInt64> { trace.add(.write, sector: index * 384, at: index * 10_000) }
      trace.add(.flush, count: 0, at: 200_000)
      trace.add(.read, sector: 3000, at: 200_001)
      trace.add(.write, sector: 5000, at: 200_002)
      trace.add(.flush, count: 0, at: 200_003)
      trace.add(.read, sector: 3008, at: 200_004)
      let done = trace.run(&model)
      #expect(done[..<20].allSatisfy { $0 < 210_000 })
      // 20 tracks: a seek and a transfer each, at least.
      #expect(done[20] > 20 * 800_000 + 19 * 500_000)
      // A read and a write of the first flush's replay, then the second flush, then the last read.
      #expect(done[21] >= done[20] + 800_000)
      #expect(done[22] == done[20] + 5000)
      #expect(done[23] > done[22] + 800_000 && done[23] >= done[21])
      #expect(done[24] >= done[23] + 800_000)
      #expect(model.counter("write_backs") == 21)
      #expect(model.counter("held_by_flush") == 4)
      #expect(model.dirty.isEmpty && model.dirty.sectors == 0)
    }
  }

  @Test func aFlushOfNothingCostsItsOverhead() throws {
    let cached = try smallDrive(["write_cache": "64KiB", "hit_overhead": "5us", "flush_overhead": "7us"])
    let through = try smallDrive(["flush_overhead": "7us"])
    for model in [cached, through] {
      let done = run(model) {
        $0.add(.flush, count: 0, at: 0)
        $0.add(.read, sector: 0, at: 100)
        $0.add(.flush, count: 0, at: 900_000_000)
      }
      #expect(done[0] == 7000 && done[2] == 900_007_000)
      // The read comes too late for its sector either way.
      #expect(done[1] == 7_200_000)
    }
  }

  @Test func anIdleDriveEmptiesItsCache() throws {
    let model = try smallDrive(["write_cache": "128KiB", "hit_overhead": "5us", "flush_overhead": "7us"])
    let done = run(model) {
      for index in 0..<20 as Range<UInt64> { $0.add(.write, sector: index * 384, at: 0) }
      $0.add(.flush, count: 0, at: 500_000_000)
    }
    #expect(done[20] == 500_007_000)
  }

  @Test func flushesOfTheConsumersDriveCostWhatWasMeasured() throws {
    // ST2000DM006 (ublk-disksim): 127 ms after 8 scattered writes, 630 ms after 64; its own fit 103 and 656.
    for (count, low, high) in [(8, 80.0, 150.0), (64, 500.0, 760.0)] {
      var total = 0.0
      for seed in 0..<12 as Range<UInt64> {
        var (model, trace) = (try Preset.hdd("hdd-7200-consumer", seed: seed), HDDTrace())
        var random = RandomStream(seed: seed, name: "flush")
        for _ in 0..<count {
          trace.add(.write, sector: random.below(3_900_000_000) / 8 * 8, at: 0)
        }
        trace.add(.flush, count: 0, at: 10_000_000)
        let done = trace.run(&model)
        total += Double(done[count] - 10_000_000) / 1e6
      }
      #expect((low...high).contains(total / 12), "\(count) writes: \(total / 12) ms")
    }
  }

  // MARK: Discard and zeroes

  @Test func aDiscardCostsTheElectronicsOnly() throws {
    let model = try smallDrive([
      "write_cache": "64KiB", "discard_overhead": "9us", "discard_per_4mib": "2us", "hit_overhead": "5us",
    ])
    var (one, trace) = (model, HDDTrace())
    trace.add(.write, sector: 1000, at: 0)
    trace.add(.write, sector: 2000, at: 0)
    trace.add(.discard, sector: 1900, count: 300, at: 100)
    trace.add(.discard, sector: 0, count: 8192, at: 50_000)
    trace.add(.discard, sector: 0, count: 8193, at: 100_000)
    trace.add(.writeZeroes, sector: 40, count: 8, at: 100_000_000)
    let done = trace.run(&one)
    #expect(done[2] == 10_000 + 11_000)
    #expect(done[3] == 61_000 && done[4] == 113_000)
    // The second write was forgotten before it was on the medium.
    #expect(one.counter("write_backs") == 1)
    #expect(done[5] >= 100_000_000 + 800_000)
  }
}
