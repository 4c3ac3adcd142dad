// A fixed time for each request, and a time for each byte.
import DiskModel
import Simulation
import Testing

@Suite struct AffineModelTests {
  private func duration(_ model: AffineModel, _ operation: ModelRequest.Operation, _ length: UInt64) -> UInt64
  {
    model.duration(of: ModelRequest(operation: operation, offset: 0, length: length, sequence: 1)).nanoseconds
  }

  @Test func latencyAndBandwidthAddUp() throws {
    let model = AffineModel(latency: SimulationDuration(nanoseconds: 50_000), bandwidth: 500_000_000)
    #expect(duration(model, .read, 0) == 50_000)
    #expect(duration(model, .read, 4096) == 50_000 + 8192)
    #expect(duration(model, .write, 1) == 50_000 + 2)
    // Rounded up.
    let third = AffineModel(latency: .zero, bandwidth: 3)
    #expect(duration(third, .read, 1) == 333_333_334)
    #expect(duration(third, .read, 3) == 1_000_000_000)
    for operation in [ModelRequest.Operation.flush, .discard, .writeZeroes] {
      #expect(duration(model, operation, 1 << 40) == 50_000)
    }
    let free = AffineModel(latency: SimulationDuration(nanoseconds: 7))
    #expect(duration(free, .read, .max) == 7)
  }

  @Test func itIsTheClosedFormForAnyNumbers() {
    let seed: UInt64 = 3
    print("seed \(seed)")
    var random = RandomStream(seed: seed, name: "affine")
    for _ in 0..<20_000 {
      let latency = random.next() >> UInt64.random(in: 0..<64, using: &random)
      let bandwidth = max(1, random.next() >> UInt64.random(in: 0..<64, using: &random))
      let length = random.next() >> UInt64.random(in: 0..<64, using: &random)
      let model = AffineModel(latency: SimulationDuration(nanoseconds: latency), bandwidth: bandwidth)
      let numerator = UInt128(length) * 1_000_000_000 + UInt128(bandwidth) - 1
      let exact = UInt128(latency) + numerator / UInt128(bandwidth)
      #expect(duration(model, .read, length) == UInt64(exactly: min(exact, UInt128(UInt64.max))))
    }
  }

  @Test func completionsComeAtOnceAndNeverOverflow() {
    var model = AffineModel(latency: SimulationDuration(nanoseconds: 10), bandwidth: 1)
    var finished: [ModelCompletion] = []
    let request = ModelRequest(operation: .read, offset: 0, length: .max, sequence: 9)
    model.submit(request, at: SimulationTime(nanoseconds: 5), into: &finished)
    #expect(finished == [ModelCompletion(sequence: 9, time: .never)])
    finished = []
    let small = ModelRequest(operation: .flush, offset: 0, length: 0, sequence: 10)
    model.submit(small, at: SimulationTime(nanoseconds: 5), into: &finished)
    model.submit(small, at: SimulationTime(nanoseconds: 5), into: &finished)
    model.advance(to: .never, into: &finished)
    #expect(finished.map(\.time.nanoseconds) == [15, 15])
    #expect(model.nextWake == nil)
    #expect(model.minimumLatency.nanoseconds == 10)
  }

  @Test func specificationsAreRead() throws {
    func make(_ text: String) throws -> AffineModel? {
      try ModelDescription(parsing: text).make(for: ModelContext(diskSize: 1 << 20)) as? AffineModel
    }
    #expect(try ModelDescription(parsing: "zero").make(for: ModelContext(diskSize: 1 << 20)) == nil)
    for (text, latency, bandwidth) in [
      ("affine:50us", 50_000, nil), ("affine:0:1B/s", 0, 1), ("affine:1.5ms:500MB/s", 1_500_000, 500_000_000),
      ("affine:latency=1s:bandwidth=2GiB/s", 1_000_000_000, 2 << 30),
      ("affine:2us:bandwidth=3kB/s", 2_000, 3_000),
    ] as [(String, UInt64, UInt64?)] {
      let model = try #require(try make(text))
      #expect(model.parameters.latencies[.read].nanoseconds == latency)
      #expect(model.parameters.bandwidth == bandwidth)
    }
  }

  @Test func whatIsNoModelIsRefusedInOneLine() {
    for text in [
      "", "Zero", "zero:1", "affine", "affine:", "affine:5", "affine:50us:", "affine:50us:0B/s",
      "affine:50us:5",
      "affine:50us:5MB", "affine:50us:-5MB/s", "affine:50us:5MB/s:1", "hdd",
      "affine:50us:18446744073709551615GB/s",
      "affine::5MB/s", "affine:50us:MB/s",
    ] {
      do {
        _ = try ModelDescription(parsing: text)
        Issue.record("'\(text)' was taken")
      } catch {
        #expect(!error.description.contains("\n") && !error.description.isEmpty)
      }
    }
  }
}
