// Against DiskSim 4.0: the figures of shared validation runs of 20,000 requests.
import DiskModel
import Foundation
import Simulation
import Testing

/// One run of a reference simulator, and ours with the same parameters.
struct HDDReference {
  var name: String
  var drive: String
  var changes: ParameterTable = [:]
  var operation = ModelRequest.Operation.read
  var depth = 1
  /// What the reference measured, in milliseconds or requests a second, and how far ours may be, in percent.
  var expected: [(figure: String, value: Double, tolerance: Double)]

  /// The preset's drive as Western Digital's fork of DiskSim has it.
  private static let asTheForkHasIt: ParameterTable = [
    "age_bound": "0", "transfer_overlap": false, "estimate": "disksim-g4",
  ]

  /// Of a queue 6 % is asked for; half of that would not have hidden what `HDDEstimate` is about.
  static let diskSim: [HDDReference] = [
    HDDReference(
      name: "cheetah9LP, 4k random read, depth 1", drive: "cheetah9lp",
      expected: [("mean", 9.640, 1.5), ("p50", 9.581, 2.5), ("p90", 13.176, 2.5), ("p99", 15.694, 2.5)]),
    HDDReference(
      name: "atlas10k, 4k random read, depth 1", drive: "atlas10k",
      expected: [("mean", 9.367, 1.5), ("p50", 9.335, 2.5), ("p90", 12.779, 2.5), ("p99", 15.233, 2.5)]),
    HDDReference(
      name: "barracuda, 4k random read, depth 1", drive: "barracuda",
      expected: [("mean", 15.116, 1.5), ("p50", 15.054, 2.5), ("p90", 20.275, 2.5), ("p99", 23.863, 2.5)]),
    HDDReference(
      name: "Maxtor 10K V, 4k random read, depth 1", drive: "hdd-10k-300g", changes: asTheForkHasIt,
      expected: [("iops", 127.0, 1.5)]),
    HDDReference(
      name: "cheetah9LP, 4k random write", drive: "cheetah9lp", operation: .write,
      expected: [("mean", 10.08, 2.5)]),
    HDDReference(
      name: "atlas10k, 4k random write", drive: "atlas10k", operation: .write,
      expected: [("mean", 9.70, 2.5)]),
    HDDReference(
      name: "barracuda, 4k random write", drive: "barracuda", operation: .write,
      expected: [("mean", 14.46, 2.5)]),
    HDDReference(
      name: "Maxtor 10K V, 4k random write", drive: "hdd-10k-300g", changes: asTheForkHasIt,
      operation: .write,
      expected: [("mean", 7.88, 2.5)]),
    HDDReference(
      name: "cheetah9LP, C-LOOK, depth 32", drive: "cheetah9lp", changes: ["scheduler": "c-look"], depth: 32,
      expected: [("iops", 164.2, 3), ("mean", 194.7, 3)]),
    HDDReference(
      name: "cheetah9LP, SSTF, depth 32", drive: "cheetah9lp", changes: ["scheduler": "sstf"], depth: 32,
      expected: [("iops", 164.9, 3)]),
    HDDReference(
      name: "cheetah9LP, SPTF, depth 4", drive: "cheetah9lp", changes: ["scheduler": "sptf"], depth: 4,
      expected: [("iops", 135.1, 3)]),
    HDDReference(
      name: "cheetah9LP, SPTF, depth 8", drive: "cheetah9lp", changes: ["scheduler": "sptf"], depth: 8,
      expected: [("iops", 156.0, 3)]),
    HDDReference(
      name: "cheetah9LP, SPTF, depth 16", drive: "cheetah9lp", changes: ["scheduler": "sptf"], depth: 16,
      expected: [("iops", 176.6, 3)]),
    HDDReference(
      name: "cheetah9LP, SPTF, depth 32", drive: "cheetah9lp", changes: ["scheduler": "sptf"], depth: 32,
      expected: [("iops", 197.0, 3), ("mean", 162.3, 3)]),
    HDDReference(
      name: "Maxtor 10K V, SPTF, depth 4", drive: "hdd-10k-300g", changes: asTheForkHasIt, depth: 4,
      expected: [("iops", 163.2, 3)]),
    HDDReference(
      name: "Maxtor 10K V, SPTF, depth 8", drive: "hdd-10k-300g", changes: asTheForkHasIt, depth: 8,
      expected: [("iops", 195.7, 3)]),
    HDDReference(
      name: "Maxtor 10K V, SPTF, depth 16", drive: "hdd-10k-300g", changes: asTheForkHasIt, depth: 16,
      expected: [("iops", 230.0, 3)]),
    HDDReference(
      name: "Maxtor 10K V, SPTF, depth 32", drive: "hdd-10k-300g", changes: asTheForkHasIt, depth: 32,
      expected: [("iops", 265.9, 3)]),
  ]

  /// Drives of today as ublk-disksim measured its own fits, and one real drive.
  static let fits: [HDDReference] = [
    HDDReference(
      name: "7K8 (ublk-disksim), 4k random read, depth 1", drive: "hdd-7200", expected: [("mean", 12.27, 3)]),
    HDDReference(
      name: "7K8 (ublk-disksim), depth 32", drive: "hdd-7200", depth: 32, expected: [("iops", 195, 10)]),
    HDDReference(
      name: "ST2000DM006 (real), 4k random read, depth 1", drive: "hdd-7200-consumer",
      expected: [("mean", 17.5, 5)]),
    HDDReference(
      name: "ST2000DM006 (real), depth 32", drive: "hdd-7200-consumer", depth: 32,
      expected: [("iops", 94, 20)]),
  ]

  /// Runs ours, and gives its figures in the order of `expected`.
  func measure(_ count: Int, seed: UInt64 = 11) throws -> [Double] {
    var model = try Preset.hdd(drive, changes)
    let workload = ModelWorkload(
      .random, operation, depth: depth, count: count,
      range: 0..<(model.parameters.sectors * 512 / 4096 * 4096))
    var (loop, times, steady) = (ClosedLoop(), [UInt64](), UInt64(0))
    loop.run(workload, on: &model, stream: RandomStream(seed: seed, name: name)) { _, from, to in
      times.append(to.since(from).nanoseconds)
      // Until then `depth` of them are there: whoever was passed over is served when no others come.
      if times.count == count - depth { steady = to.nanoseconds }
    }
    times.sort()
    let total = times.reduce(0.0) { $0 + Double($1) }
    return expected.map { figure, _, _ in
      switch figure {
      case "iops": Double(count - depth) * 1e9 / Double(steady)
      case "mean": total / Double(count) / 1e6
      case "p50": Double(times[count / 2]) / 1e6
      case "p90": Double(times[count * 9 / 10]) / 1e6
      default: Double(times[count * 99 / 100]) / 1e6
      }
    }
  }
}

@Suite struct HDDReferenceTests {
  @Test func oursIsAsNearToDiskSimAsItMustBe() throws {
    for reference in HDDReference.diskSim + HDDReference.fits {
      let count = reference.depth == 1 && reference.operation == .read ? 6000 : 2500
      for (found, (figure, value, tolerance)) in zip(try reference.measure(count), reference.expected) {
        // Fewer requests than the reference's: their mean alone strays by half a percent.
        let slack = figure == "mean" || figure == "iops" ? 0.5 : 1.0
        let difference = (found / value - 1) * 100
        #expect(abs(difference) <= tolerance + slack, "\(reference.name) \(figure): \(found), not \(value)")
      }
    }
  }

  /// `TTBLK_HDD_REPORT=200000 swift test -c release …` prints the tables of bench/RESULTS.md.
  @Test(.enabled(if: ProcessInfo.processInfo.environment["TTBLK_HDD_REPORT"] != nil))
  func report() throws {
    let count = Int(ProcessInfo.processInfo.environment["TTBLK_HDD_REPORT"] ?? "") ?? 100_000
    print(
      "| run | figure | ours | reference (DiskSim 4.0 unless said otherwise) | difference | allowed |\n|---|---|---|---|---|---|"
    )
    for reference in HDDReference.diskSim + HDDReference.fits {
      for (found, (figure, value, tolerance)) in zip(try reference.measure(count), reference.expected) {
        let difference = (found / value - 1) * 100
        #expect(abs(difference) <= tolerance, "\(reference.name) \(figure)")
        let unit = figure == "iops" ? "/s" : " ms"
        let row = String(
          format: "%.3f%@ | %.3f%@ | %+.2f %% | %.1f %%", found, unit, value, unit, difference, tolerance)
        print("| \(reference.name) | \(figure) | \(row) |")
      }
    }
    print("\n| drive, depth | processor time for a request |\n|---|---|")
    for (drive, changes, operation, depth) in [
      ("cheetah9lp", ["scheduler": "sptf"], .read, 32), ("cheetah9lp", [:], .read, 1),
      ("hdd-10k-300g", [:], .read, 32), ("hdd-7200", [:], .read, 32), ("hdd-7200", [:], .write, 32),
      ("hdd-7200-consumer", [:], .write, 32), ("hdd-15k", [:], .read, 32),
    ] as [(String, ParameterTable, ModelRequest.Operation, Int)] {
      var rounds: [Double] = []
      for _ in 0..<7 {
        rounds.append(try Self.cost(drive, changes, operation, depth: depth, count: count))
      }
      let row = String(
        format: "%.0f ns (%.0f to %.0f)", rounds.sorted()[3], rounds.min() ?? 0, rounds.max() ?? 0)
      print("| \(drive), random 4k \(operation), depth \(depth) | \(row) |")
    }
  }

  /// Processor time of the model alone: a ring of `depth` requests, driven by its own completions.
  private static func cost(
    _ drive: String, _ changes: ParameterTable, _ operation: ModelRequest.Operation, depth: Int, count: Int
  ) throws -> Double {
    var model = try Preset.hdd(drive, changes)
    let blocks = model.parameters.sectors / 8
    var stream = RandomStream(seed: 5, name: "cost")
    let offsets = (0..<count).map { _ in stream.below(blocks) * 4096 }
    var (finished, due) = ([ModelCompletion](), EventQueue())
    let begin = processorTime()
    var (issued, now) = (0, SimulationTime.zero)
    while issued < count {
      while issued < count, issued < depth || !finished.isEmpty || due.nextTime.map({ $0 <= now }) == true {
        if issued >= depth, due.popDue(at: now) == nil { break }
        let request = ModelRequest(
          operation: operation, offset: offsets[issued], length: 4096, sequence: UInt64(issued))
        model.submit(request, at: now, into: &finished)
        issued += 1
        for one in finished { due.insert(one.sequence, at: EventKey(time: one.time, sequence: one.sequence)) }
        finished.removeAll(keepingCapacity: true)
      }
      now = min(due.nextTime ?? .never, model.nextWake ?? .never)
      model.advance(to: now, into: &finished)
      for one in finished { due.insert(one.sequence, at: EventKey(time: one.time, sequence: one.sequence)) }
      finished.removeAll(keepingCapacity: true)
    }
    return (processorTime() - begin) / Double(count)
  }

  /// Nanoseconds of this thread.
  private static func processorTime() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) * 1e9 + Double(time.tv_nsec)
  }
}
