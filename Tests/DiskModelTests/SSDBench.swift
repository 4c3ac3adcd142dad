// A drive under test, and what is measured of it.
import DiskModel
import Simulation
import Testing

/// A drive with its own clock, so that workloads follow each other.
struct SSDBench {
  var model: SSDModel
  let disk: UInt64
  var loop = ClosedLoop()
  private var runs = 0

  static let page: UInt64 = 4096

  /// - Parameter changes: of the preset; keys that it has not are added.
  init(
    _ preset: String = "ssd-nvme-mlc", disk: UInt64 = 64 << 20, seed: UInt64 = 1,
    _ changes: ParameterTable = [:]
  ) throws {
    self.disk = disk
    model = try Self.model(preset, disk: disk, seed: seed, changes)
  }

  static func parameters(_ preset: String, _ changes: ParameterTable) throws -> SSDParameters {
    let found = try #require(Preset.all.first { $0.name == preset })
    var table = found.parameters.merging(changes)
    table["kind"] = nil
    table["queue_depth"] = nil
    return try SSDParameters(ParameterReader(table))
  }

  static func model(
    _ preset: String, disk: UInt64, seed: UInt64 = 1, _ changes: ParameterTable
  ) throws -> SSDModel {
    try SSDModel(parameters(preset, changes), for: ModelContext(diskSize: disk, seed: seed, name: "a/disk"))
  }

  struct Result {
    /// In order of completion.
    var latencies: [UInt64] = []
    /// From the first submission, or from the end of the warm-up, to the last completion.
    var elapsed: UInt64 = 0

    var perSecond: Double { Double(latencies.count) * 1e9 / Double(elapsed) }
    var mean: Double { Double(latencies.reduce(0, +)) / Double(latencies.count) }
    func percentile(_ percent: Int) -> UInt64 { latencies.sorted()[latencies.count * percent / 100] }
  }

  /// - Parameter warmUp: requests that come first and do not count.
  mutating func run(
    _ operation: ModelRequest.Operation, _ pattern: ModelWorkload.Pattern = .random, blockSize: UInt64 = 4096,
    depth: Int = 1, count: Int, warmUp: Int = 0
  ) -> Result {
    runs += 1
    var result = Result()
    var (start, done) = (loop.now.nanoseconds, 0)
    let workload = ModelWorkload(
      pattern, operation, blockSize: blockSize, depth: depth, count: warmUp + count, range: 0..<disk)
    loop.run(workload, on: &model, stream: RandomStream(seed: UInt64(runs), name: "workload")) {
      _, submitted, end in
      done += 1
      if done == warmUp { start = end.nanoseconds }
      if done > warmUp { result.latencies.append(end.nanoseconds - submitted.nanoseconds) }
    }
    result.elapsed = loop.now.nanoseconds - start
    return result
  }

  func counter(_ name: String) -> UInt64 { model.counters.first { $0.name == name }?.value ?? 0 }
}

/// One request at a time, by hand: what is told, and when.
struct SSDProbe {
  var model: SSDModel
  private(set) var now: UInt64 = 0
  private var sequence: UInt64 = 0
  private(set) var ends: [UInt64: UInt64] = [:]

  init(_ model: SSDModel) { self.model = model }

  /// Submits; returns the request's number.
  mutating func submit(
    _ operation: ModelRequest.Operation, page: UInt64 = 0, pages: UInt64 = 1, forced: Bool = false
  ) -> UInt64 {
    submit(operation, offset: page * 4096, length: operation == .flush ? 0 : pages * 4096, forced: forced)
  }

  mutating func submit(
    _ operation: ModelRequest.Operation, offset: UInt64, length: UInt64, forced: Bool = false
  ) -> UInt64 {
    var finished: [ModelCompletion] = []
    let request = ModelRequest(
      operation: operation, offset: offset, length: length, sequence: sequence, isForced: forced)
    sequence += 1
    model.submit(request, at: SimulationTime(nanoseconds: now), into: &finished)
    note(finished)
    return request.sequence
  }

  /// Advances to `time`.
  mutating func run(until time: UInt64) {
    while let wake = model.nextWake, wake.nanoseconds <= time {
      now = wake.nanoseconds
      var finished: [ModelCompletion] = []
      model.advance(to: wake, into: &finished)
      note(finished)
    }
    now = max(now, time)
  }

  /// Advances until nothing more happens.
  mutating func drain() {
    while let wake = model.nextWake { run(until: wake.nanoseconds) }
    now = max(now, ends.values.max() ?? 0)
  }

  /// The latency of one request, with everything around it at rest.
  mutating func latency(
    _ operation: ModelRequest.Operation, page: UInt64 = 0, pages: UInt64 = 1, forced: Bool = false
  ) -> UInt64 {
    let start = now
    let request = submit(operation, page: page, pages: pages, forced: forced)
    drain()
    return (ends[request] ?? .max) - start
  }

  private mutating func note(_ finished: [ModelCompletion]) {
    for one in finished {
      if ends[one.sequence] != nil { Issue.record("request \(one.sequence) ends twice") }
      ends[one.sequence] = one.time.nanoseconds
    }
  }
}
