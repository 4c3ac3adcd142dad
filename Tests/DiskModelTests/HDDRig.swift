// Hard disks to test: chosen ones, random ones, and what drives them.
import DiskModel
import Simulation
import Testing

func nanoseconds(_ value: UInt64) -> SimulationTime { SimulationTime(nanoseconds: value) }

extension RandomStream {
  mutating func below(_ bound: UInt64) -> UInt64 { next(upperBound: bound) }
}

extension Preset {
  /// A preset's drive for a disk, with some parameters changed.
  static func hdd(
    _ name: String, _ changes: ParameterTable = [:], size: UInt64? = nil, seed: UInt64 = 1
  ) throws -> HDDModel {
    let preset = try #require(Preset.all.first { $0.name == name })
    return try HDDModel.make(preset.parameters.merging(changes), size: size, seed: seed)
  }
}

extension HDDModel {
  /// - Parameter size: of the disk, in bytes; the whole drive if nil.
  static func make(_ table: ParameterTable, size: UInt64? = nil, seed: UInt64 = 1) throws -> HDDModel {
    var table = table
    table["kind"] = nil
    let parameters = try HDDParameters(ParameterReader(table))
    return try HDDModel(
      parameters,
      for: ModelContext(diskSize: size ?? parameters.sectors * 512, seed: seed, name: "node/disk"))
  }

  func counter(_ name: String) -> UInt64 { counters.first { $0.name == name }?.value ?? 0 }
}

/// A drive of 40 cylinders, 3 surfaces and 64 sectors a track (3.75 MiB) without cache or overhead: a turn
/// takes 6.4 ms, a sector 100 us, a seek 500 us and 10 us for each further cylinder.
func smallDrive(_ changes: ParameterTable = [:]) throws -> HDDModel {
  let table: ParameterTable = [
    "rpm": 9375, "surfaces": 3, "zone": [["cylinders": 40, "sectors_per_track": 64]],
    "seek": "table", "seek_distances": [1, 39], "seek_times": ["500us", "880us"], "head_switch": "200us",
    "phase": "zero", "scheduler": "fcfs",
  ]
  return try HDDModel.make(table.merging(changes))
}

/// What a host asks, and when.
struct HDDTrace {
  struct Step: Equatable {
    var time: UInt64
    var request: ModelRequest

    static func == (a: Step, b: Step) -> Bool { a.request.sequence == b.request.sequence }
  }
  var steps: [Step] = []

  mutating func add(
    _ operation: ModelRequest.Operation, sector: UInt64 = 0, count: UInt64 = 8, at time: UInt64,
    isForced: Bool = false
  ) {
    steps.append(
      Step(
        time: time,
        request: ModelRequest(
          operation: operation, offset: sector * 512, length: count * 512, sequence: UInt64(steps.count),
          isForced: isForced)))
  }

  /// Requests of all kinds in bursts and with pauses.
  static func random(
    _ count: Int, size: UInt64, using random: inout RandomStream, isReadOnly: Bool = false
  ) -> HDDTrace {
    var trace = HDDTrace()
    let sectors = size / 512
    var (time, sector) = (UInt64(0), UInt64(0))
    for _ in 0..<count {
      switch UInt64.random(in: 0..<8, using: &random) {
      case 0: time += UInt64.random(in: 0..<60_000_000, using: &random)
      case 1, 2: time += UInt64.random(in: 0..<4_000_000, using: &random)
      case 3, 4: time += UInt64.random(in: 0..<30_000, using: &random)
      default: break
      }
      let length = UInt64.random(in: 1...(1 << UInt64.random(in: 0...8, using: &random)), using: &random)
      if !Bool.random(using: &random) { sector = UInt64.random(in: 0..<sectors, using: &random) }
      sector = min(sector, sectors - 1)
      let kind = isReadOnly ? 0 : UInt64.random(in: 0..<20, using: &random)
      let operation: ModelRequest.Operation =
        switch kind {
        case 0..<9: .read
        case 9..<17: .write
        case 17: .flush
        case 18: .discard
        default: .writeZeroes
        }
      let taken = operation == .flush ? 0 : min(length, sectors - sector)
      trace.add(operation, sector: sector, count: taken, at: time, isForced: kind == 9)
      sector += taken
    }
    return trace
  }

  /// Runs a model through it as a device does, and checks what must hold at every step.
  /// - Parameter prodding: also calls `advance` at times that it did not ask for.
  /// - Returns: when each request was done, by sequence.
  func run(_ model: inout HDDModel, prodding: RandomStream? = nil) -> [UInt64] {
    var prodding = prodding
    var done = [UInt64?](repeating: nil, count: steps.count)
    var (now, open) = (UInt64(0), 0)
    var finished: [ModelCompletion] = []

    func take() {
      for one in finished {
        let index = Int(one.sequence)
        #expect(done[index] == nil, "request \(index) completes twice")
        #expect(one.time.nanoseconds >= now, "request \(index) completes in the past")
        let least = steps[index].time + model.minimumLatency.nanoseconds
        #expect(one.time.nanoseconds >= least, "request \(index) completes early")
        done[index] = one.time.nanoseconds
        open -= 1
      }
      finished.removeAll(keepingCapacity: true)
      #expect(open == 0 || model.nextWake != nil, "\(open) requests and nothing to wait for")
      if let wake = model.nextWake { #expect(wake.nanoseconds >= now) }
    }

    func wake(until time: UInt64) {
      while let next = model.nextWake, next.nanoseconds <= time {
        if prodding != nil, next.nanoseconds > now, prodding?.below(3) == 0 {
          now += prodding?.below(next.nanoseconds - now) ?? 0
          model.advance(to: nanoseconds(now), into: &finished)
          take()
        }
        now = next.nanoseconds
        model.advance(to: next, into: &finished)
        take()
      }
    }

    for step in steps {
      wake(until: step.time - min(step.time, 1))
      // At the same time, the model is asked first or not at all.
      if prodding?.below(2) == 0 { wake(until: step.time) }
      now = step.time
      open += 1
      model.submit(step.request, at: nanoseconds(step.time), into: &finished)
      take()
    }
    wake(until: .max - 1)
    for (index, time) in done.enumerated() where time == nil {
      Issue.record("request \(index) never completes")
    }
    return done.map { $0 ?? 0 }
  }
}

/// A drive's parameters by chance: every key, small numbers.
func randomDrive(using random: inout RandomStream) -> ParameterTable {
  func pick(_ range: ClosedRange<Int64>) -> Int64 { Int64.random(in: range, using: &random) }
  func time(_ range: ClosedRange<Int64>) -> ParameterValue { .string("\(pick(range))ns") }
  var table: ParameterTable = [
    "rpm": .integer(pick(3000...9000)), "surfaces": .integer(pick(1...5)),
    "run_cylinders": .integer(pick(0...1) == 0 ? 1 : pick(2...9)),
    "head_switch": time(0...900_000), "write_settle": time(0...400_000),
    "read_overhead": time(0...300_000), "write_overhead": time(0...300_000),
    "hit_overhead": time(0...90_000), "flush_overhead": time(0...90_000),
    "discard_overhead": time(0...90_000), "discard_per_4mib": time(0...3000),
    "bus": .string("\(pick(3...300))MB/s"), "command_overlap": .boolean(pick(0...1) == 0),
    "transfer_overlap": .boolean(pick(0...1) == 0),
    "depth": .integer(pick(1...20)), "segments": .integer(pick(0...5)),
    "segment_size": .integer(512 * pick(1...200)), "read_ahead": .integer(512 * pick(0...200)),
    "write_cache": .integer(pick(0...1) * 512 * pick(1...2000)),
    "write_back_window": .integer(pick(0...1) * pick(1...9)),
    "age_bound": time(0...80_000_000), "phase": pick(0...1) == 0 ? "random" : "zero",
  ]
  table["estimate"] = .string(HDDEstimate.allCases[Int(pick(0...2))].rawValue)
  table["scheduler"] = .string(HDDScheduler.allCases[Int(pick(0...3))].rawValue)
  table["zone"] = .array(
    (0..<pick(1...4)).map { _ in
      [
        "cylinders": .integer(pick(1...40)), "sectors_per_track": .integer(pick(3...150)),
        "spare_cylinders": .integer(pick(0...1)),
      ]
    })
  switch pick(0...3) {
  case 0:
    table = table.merging([
      "seek": "table", "seek_distances": [1, 4, 30, 90], "seek_times": ["700us", "900us", "880us", "4ms"],
    ])
  case 1:
    table = table.merging([
      "seek": "two-piece", "seek_knee": 20, "seek_base": "600us", "seek_root": "150us",
      "seek_far_base": "1ms", "seek_per_1000": "14ms",
    ])
  case 2:
    table = table.merging([
      "seek": "lee", "seek_minimum": "600us", "seek_average": "2ms", "seek_full": "3500us",
    ])
  default: table = table.merging(["seek": "root", "seek_minimum": "500us", "seek_average": "2ms"])
  }
  return table
}
