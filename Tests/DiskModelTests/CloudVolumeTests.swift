// Volumes that are sold by requests and bytes, against their vendors' arithmetic.
import DiskModel
import Simulation
import Testing

@Suite struct CloudVolumeTests {
  private let second: UInt64 = 1_000_000_000

  /// When `count` requests that come at once at `start` are let through, ns.
  private func admissions(
    _ model: inout any DiskModel, count: Int, bytes: UInt64, start: UInt64 = 0
  ) -> [UInt64] {
    var finished: [ModelCompletion] = []
    for sequence in 0..<count {
      model.submit(
        ModelRequest(operation: .read, offset: 0, length: bytes, sequence: UInt64(sequence)),
        at: SimulationTime(nanoseconds: start), into: &finished)
    }
    return finished.map(\.time.nanoseconds)
  }

  /// A preset that takes no time of its own and saves nothing, its bandwidth not limited if `unlimited`.
  private func bare(_ name: String, _ changes: ParameterTable = [:], unlimited: Bool = false) throws
    -> ParameterTable
  {
    var table = try ModelDescription.preset(name).parameters.merging(changes)
    for key in ["read", "write", "flush", "discard"] { table[key] = nil }
    if unlimited {
      for key in ["throughput", "small_throughput", "small_size"] { table[key] = nil }
    }
    table["latency"] = "0"
    table["slack"] = "0"
    return table
  }

  @Test func gp2Of100GiBBurstsFor2000SecondsAndThenGives300() throws {
    // A request of 1,000 units costs as much as 1,000 requests, and is one call.
    let table = try bare("gp2", ["size": "100GiB", "io_unit": 4096], unlimited: true)
    var model = try makeModel(table, size: 1 << 20)
    let times = admissions(&model, count: 7000, bytes: 1000 * 4096)
    // 3,000 a second while the credit lasts, which is 5.4e6 / (3000 - 300) s.
    #expect(times[3000] == 1000 * second)
    #expect(times[5998] == (5_998_000 * second + 2999) / 3000)
    #expect(times[5999] == 2000 * second)
    // Then 300 a second.
    #expect(times[6999] - times[6699] == 1000 * second)
    #expect(times[6300] - times[6000] == 1000 * second)
  }

  @Test func gp2CreditIsFullAgainAfter18000Seconds() throws {
    let table = try bare("gp2", ["size": "100GiB", "io_unit": 4096], unlimited: true)
    var model = try makeModel(table, size: 1 << 20)
    // All of the credit at once: a request of 5.4 million.
    let first = admissions(&model, count: 1, bytes: 5_400_000 * 4096)
    #expect(first == [0])
    func credit() -> UInt64 { model.counters.first { $0.name == "burst_credit" }?.value ?? 0 }
    #expect(credit() == 0)
    var finished: [ModelCompletion] = []
    for (time, expected) in [
      (9000, 2_700_000), (17_999, 5_399_700), (18_000, 5_400_000), (19_000, 5_400_000),
    ] {
      let flush = ModelRequest(operation: .flush, offset: 0, length: 0, sequence: UInt64(time))
      model.submit(flush, at: SimulationTime(nanoseconds: UInt64(time) * second), into: &finished)
      #expect(credit() == UInt64(expected), "\(time)")
    }
  }

  @Test func gp2DependsOnTheVolumesSize() throws {
    for (size, base, burst, bytes) in [
      ("1GiB", 100, 3000, 128), ("100GiB", 300, 3000, 128), ("170GiB", 510, 3000, 128),
      ("171GiB", 513, 3000, 250),
      ("1000GiB", 3000, 3000, 250), ("2TiB", 6144, 6144, 250), ("16TiB", 16_000, 16_000, 250),
    ] as [(String, UInt64, UInt64, UInt64)] {
      // Without credit there is the base rate alone.
      var poor = try makeModel(
        try bare("gp2", ["size": .string(size), "burst_credit": 1], unlimited: true), size: 1 << 20)
      let slow = admissions(&poor, count: Int(base) + 2, bytes: 4096)
      #expect((second - 1...second + 1).contains(slow[slow.count - 1] - slow[1]), "\(size)")
      var rich = try makeModel(try bare("gp2", ["size": .string(size)], unlimited: true), size: 1 << 20)
      let quick = admissions(&rich, count: Int(burst) + 1, bytes: 4096)
      #expect(quick[Int(burst)] == second, "\(size)")
      var wide = try makeModel(try bare("gp2", ["size": .string(size)]), size: 1 << 20)
      let large = admissions(&wide, count: Int(bytes) * 4 + 1, bytes: 256 << 10)
      #expect(large[Int(bytes) * 4] == second, "\(size)")
    }
  }

  @Test func gp3IsBoundByBytesFromTheCrossoverOn() throws {
    for (bytes, perSecond) in [(256 << 10, 500), (16 << 10, 3000), (4096, 3000), (1 << 20, 125)]
      as [(UInt64, Int)]
    {
      var model = try makeModel(try bare("gp3"))
      let times = admissions(&model, count: 3 * perSecond + 1, bytes: bytes)
      for index in 1...3 { #expect(times[index * perSecond] == UInt64(index) * second, "\(bytes)") }
    }
    // 125 MiB over 3,000: 43,690.67 bytes. At that size both are used up.
    for (bytes, isBoundByBytes) in [(43_520, false), (44_032, true)] as [(UInt64, Bool)] {
      var model = try makeModel(try bare("gp3"))
      let times = admissions(&model, count: 3001, bytes: bytes)
      #expect((times[3000] > second) == isBoundByBytes, "\(bytes)")
    }
  }

  @Test func whatIsNotUsedIsSavedForASlack() throws {
    var table = try bare("gp3")
    table["slack"] = "10ms"
    var model = try makeModel(table)
    // 30 requests of 10 ms at once, then one each 1/3000 s.
    let times = admissions(&model, count: 40, bytes: 512)
    #expect(times[29] == 0 && times[30] > 0 && times[39] == (10 * second + 2999) / 3000)
    let later = admissions(&model, count: 31, bytes: 512, start: 3600 * second)
    #expect(later[29] == 3600 * second && later[30] > 3600 * second)
  }

  @Test func aRequestThatIsLargerThanTheBucketLeavesADebt() throws {
    var model = try makeModel(try bare("gp3"))
    let first = admissions(&model, count: 2, bytes: 125 << 20)
    #expect(first == [0, second])
    // A whole volume at once takes its time, and nothing overflows.
    let huge = admissions(&model, count: 3, bytes: .max)
    #expect(huge == huge.sorted() && huge[2] < .max)
  }

  @Test func flushAndDiscardWaitTheirTurnAndCostNothing() throws {
    var table = try bare("gp3")
    table["discard"] = "3us"
    var model = try makeModel(table)
    var finished: [ModelCompletion] = []
    for (sequence, operation) in [
      ModelRequest.Operation.read, .read, .flush, .discard, .discard, .read, .writeZeroes,
    ].enumerated() {
      model.submit(
        ModelRequest(operation: operation, offset: 0, length: 512, sequence: UInt64(sequence)), at: .zero,
        into: &finished)
    }
    #expect(
      finished.map(\.time.nanoseconds) == [0, 333_334, 333_334, 336_334, 336_334, 666_667, 1_000_000])
    #expect(
      model.counters.prefix(2) == [ModelCounter("throttled", 6), ModelCounter("throttled_ns", 3_000_003)])
  }

  @Test func aNoisyVolumeGivesLessInSomeSeconds() throws {
    var table = try bare("gp3-noisy", ["slow_seconds_per_1000": 250, "slow_rate_percent": 50])
    table["iops"] = 10
    var model = try makeModel(table)
    let times = admissions(&model, count: 20_000, bytes: 512)
    var perSecond: [Int: Int] = [:]
    for time in times.dropFirst() { perSecond[Int((time - 1) / second), default: 0] += 1 }
    let whole = (0..<Int(times[19_999] / second)).map { perSecond[$0] ?? 0 }
    #expect(whole.allSatisfy { (4...11).contains($0) })
    let slow = whole.count { $0 <= 6 }
    #expect((whole.count / 5...whole.count * 3 / 10).contains(slow), "\(slow) of \(whole.count)")
    #expect(abs(Int(model.counters.first { $0.name == "slow_seconds" }?.value ?? 0) - slow) <= 2)
    // Where nothing is slow there is no difference to the volume that is not noisy.
    var (quiet, plain) = (try makeModel("gp3-noisy"), try makeModel("gp3"))
    #expect(
      admissions(&quiet, count: 50, bytes: 4096).count == admissions(&plain, count: 50, bytes: 4096).count)
  }

  @Test func latenciesComeOnTop() throws {
    var model = try makeModel("gp3")
    let latencies = (0..<1000 as Range<UInt64>).map { index in
      admissions(&model, count: 1, bytes: 4096, start: index * second)[0] - index * second
    }.sorted()
    #expect((570_000...630_000).contains(latencies[500]))
    #expect((1_200_000...2_000_000).contains(latencies[990]))
  }
}
