// Latencies that are drawn.
import DiskModel
import Simulation
import Testing

@Suite struct DistributionModelTests {
  private func submit(
    _ model: inout any DiskModel, _ operation: ModelRequest.Operation, _ sequence: UInt64,
    at time: UInt64 = 0
  ) -> UInt64 {
    var finished: [ModelCompletion] = []
    let request = ModelRequest(operation: operation, offset: 0, length: 4096, sequence: sequence)
    model.submit(request, at: SimulationTime(nanoseconds: time), into: &finished)
    return finished[0].time.nanoseconds - time
  }

  private let mixed: ParameterTable = [
    "kind": "distribution", "read": ["p50": "100us", "p99": "1ms"], "write": ["latency": "7us"],
    "flush": "3ms",
  ]

  @Test func eachOperationHasItsOwnDistributionAndTheRestThatOfWrites() throws {
    var model = try makeModel(mixed)
    #expect(submit(&model, .write, 0) == 7000)
    #expect(submit(&model, .flush, 1) == 3_000_000)
    #expect(submit(&model, .discard, 2) == 7000 && submit(&model, .writeZeroes, 3) == 7000)
    let reads = (4..<504).map { submit(&model, .read, $0) }.sorted()
    #expect((90_000...110_000).contains(reads[250]) && reads[0] != reads[499])
    #expect(model.minimumLatency.nanoseconds <= 7000)
    var common = try makeModel("distribution:latency=5us")
    #expect(ModelRequest.Operation.allCases.allSatisfy { submit(&common, $0, 9) == 5000 })
    var readOnly = try makeModel(["kind": "distribution", "read": ["latency": "5us"]])
    #expect(ModelRequest.Operation.allCases.allSatisfy { submit(&readOnly, $0, 9) == 5000 })
  }

  @Test func oneNumberIsDrawnForEachRequestWhateverItIs() throws {
    var (a, b) = (try makeModel(mixed), try makeModel(mixed))
    for sequence in 0..<50 as Range<UInt64> {
      _ = submit(&a, sequence % 3 == 0 ? .flush : .write, sequence)
      _ = submit(&b, .read, sequence)
    }
    #expect((50..<100).map { submit(&a, .read, $0) } == (50..<100).map { submit(&b, .read, $0) })
  }

  @Test func anotherDiskOrSeedDrawsOtherNumbersAndTheSameOnesTheSame() throws {
    func draws(_ seed: UInt64, _ name: String) throws -> [UInt64] {
      var model = try makeModel(mixed, seed: seed, name: name)
      return (0..<100).map { submit(&model, .read, $0) }
    }
    #expect(try draws(1, "a-disk") == draws(1, "a-disk"))
    #expect(try draws(1, "a-disk") != draws(1, "b-disk"))
    #expect(try draws(1, "a-disk") != draws(2, "a-disk"))
    let digest = traceHash(try draws(1, "a-disk"))
    #expect(digest == 850_483_357_543_183_384)
  }

  @Test func burstsSlowRequestsDownForTheirShareOfTheTime() throws {
    var table: ParameterTable = ["kind": "distribution", "latency": "10us"]
    table["bursts"] = ["calm": "90ms", "length": "10ms", "factor": 20]
    var model = try makeModel(table)
    var slow = 0
    var changes = 0
    var last = false
    for index in 0..<100_000 as Range<UInt64> {
      let latency = submit(&model, .read, index, at: index * 1_000_000)
      #expect(latency == 10_000 || latency == 200_000)
      let isSlow = latency == 200_000
      slow += isSlow ? 1 : 0
      changes += isSlow != last ? 1 : 0
      last = isSlow
    }
    // 100 s: a tenth of it in a thousand bursts of 10 ms, of which a request each millisecond sees most.
    #expect((9000...11_000).contains(slow), "\(slow)")
    #expect((1500...2000).contains(changes), "\(changes)")
    let counters = model.counters
    #expect(counters.first { $0.name == "burst_requests" }?.value == UInt64(slow))
    #expect((900...1100).contains(counters.first { $0.name == "bursts" }?.value ?? 0))
    // A day without a request is no reason to hang.
    #expect(submit(&model, .read, 1_000_000, at: 86_400_000_000_000 + 100_000_000_000) <= 200_000)
  }

  @Test func serversMakeRequestsWait() throws {
    var model = try makeModel("distribution:latency=10us:servers=2")
    #expect((0..<5).map { submit(&model, .read, $0) } == [10_000, 10_000, 20_000, 20_000, 30_000])
  }
}
