// `ttblk bench time-travel`: what simulated disk time costs, in messages and in real time.
package import Linux
package import Simulation
package import Telemetry
import TimeTravel

/// Real UML nodes, direct 4 KiB reads at queue depth 1, in every combination of transport and process.
package struct TimeTravelBench {
  package enum Case: String, CaseIterable, Sendable {
    case separateMessage = "separate-message"
    case separateShared = "separate-shared"
    case embeddedMessage = "embedded-message"
    case embeddedShared = "embedded-shared"
    case zeroExternal = "zero-external"
    case zeroInfCPU = "zero-inf-cpu"
  }

  /// What one case showed.
  package struct Row {
    package let name: Case
    package let requests: Int
    /// Messages of the run, less those of a run of as much guest time with half the requests, per request:
    /// the guest's own timer ticks and its boot are not the disk's.
    package let messagesPerRequest: Double
    /// Guest time for all requests, as the guest measures it.
    package let guestNanoseconds: UInt64
    /// Real time between the guest's first and last line, per request; the median of all rounds.
    package let wallMicrosecondsPerRequest: Double
    package let digest: String
    /// Whether guest time, messages and digest were the same in every round.
    package let isRepeatable: Bool
  }

  package var requests = 2000
  package var latency = SimulationDuration(nanoseconds: 50_000)
  package var rounds = 5
  /// A folder of its own, emptied by every run.
  package var output: String
  package var executable = "/proc/self/exe"
  package var onRun: ((String) -> Void)?

  package init(output: String) { self.output = output }

  private struct Sample {
    var messages: UInt64
    var guestNanoseconds: UInt64
    var wallMicroseconds: UInt64
    var digest: String
  }

  /// Runs all cases, alternating, so that a noisy moment of the machine meets them all.
  package func run(signals: borrowing Signals) throws(RunError) -> [Row] {
    var samples = [[Sample]](repeating: [], count: Case.allCases.count)
    var baselines: [UInt64] = []
    for one in Case.allCases {
      onRun?("\(one.rawValue), half the requests")
      baselines.append(
        try sample(one, requests: requests - requests / 2, slowly: true, signals: signals).messages)
    }
    for round in 1...rounds {
      for (index, one) in Case.allCases.enumerated() {
        onRun?("\(one.rawValue), round \(round) of \(rounds)")
        samples[index].append(try sample(one, requests: requests, slowly: false, signals: signals))
      }
    }
    var rows: [Row] = []
    for (index, one) in Case.allCases.enumerated() {
      let all = samples[index]
      let walls = all.map(\.wallMicroseconds).sorted()
      rows.append(
        Row(
          name: one, requests: requests,
          messagesPerRequest: (Double(all[0].messages) - Double(baselines[index])) / Double(requests / 2),
          guestNanoseconds: all[0].guestNanoseconds,
          wallMicrosecondsPerRequest: Double(walls[walls.count / 2]) / Double(requests),
          digest: all[0].digest,
          isRepeatable: all.allSatisfy {
            $0.digest == all[0].digest && $0.guestNanoseconds == all[0].guestNanoseconds
              && $0.messages == all[0].messages
          }))
    }
    return rows
  }

  private func sample(
    _ one: Case, requests: Int, slowly: Bool, signals: borrowing Signals
  ) throws(RunError) -> Sample {
    var options = Runner.Options(output: output)
    options.isSeparate = one == .separateMessage || one == .separateShared
    options.executable = executable
    options.hashesDisks = false
    let console = ConsoleTimes()
    var runner = Runner(scenario(one, requests: requests, slowly: slowly), options: options)
    runner.onConsoleLine = { console.take($1) }
    let report = try runner.run(signals: signals)
    guard let guest = console.guestNanoseconds, let wall = console.wallMicroseconds else {
      throw .nodes(["node 'bench' printed no result; is the guest of images/guest/build.sh up to date?"])
    }
    return Sample(
      messages: report.messages, guestNanoseconds: guest, wallMicroseconds: wall, digest: report.digest)
  }

  /// What a request costs our guest beside the disk: its kernel reads the clock once.
  private static let guestOverhead: UInt64 = 256

  /// - Parameter slowly: at twice the time for each request, the guest's part included.
  private func scenario(_ one: Case, requests: Int, slowly: Bool) -> Scenario {
    var scenario = Scenario(name: one.rawValue)
    scenario.transport = one == .separateMessage || one == .embeddedMessage ? .message : .sharedMemory
    scenario.timeKeeping = one == .zeroInfCPU ? .infCPU : .external
    let guest = guestDirectory(environment: environmentVariable)
    var node = Scenario.Node(name: "bench", kernel: guest + "/linux")
    node.initramfs = guest + "/initramfs.cpio.gz"
    node.jobs = ["io:/dev/vda,--begin,--total,--requests,\(requests)"]
    let twice = SimulationDuration(nanoseconds: 2 * latency.nanoseconds + Self.guestOverhead)
    let isZero = one == .zeroExternal || one == .zeroInfCPU
    node.disks = [
      Scenario.Disk(
        name: "disk", source: .blank(64 << 20), isOverlay: true,
        model: isZero ? "zero" : "affine:\(slowly ? twice : latency)")
    ]
    scenario.nodes = [node]
    return scenario
  }
}

/// Reads the guest's two lines: `io begin`, and the result.
private final class ConsoleTimes {
  private var began: UInt64?
  private(set) var guestNanoseconds: UInt64?
  private(set) var wallMicroseconds: UInt64?

  func take(_ line: Substring) {
    if line == "io begin" {
      began = HostClock.microseconds
    } else if line.hasPrefix("io op="), let began {
      wallMicroseconds = HostClock.microseconds - began
      for field in line.split(separator: " ") where field.hasPrefix("total_ns=") {
        guestNanoseconds = UInt64(field.dropFirst("total_ns=".count))
      }
    }
  }
}

extension TimeTravelBench.Row {
  /// With the documented keys.
  package var json: JSONValue {
    .object([
      "case": .string(name.rawValue),
      "requests": .integer(Int64(requests)),
      "messagesPerRequest": .number(messagesPerRequest),
      "guestNanoseconds": .unsigned(guestNanoseconds),
      "wallMicrosecondsPerRequest": .number(wallMicrosecondsPerRequest),
      "digest": .string(digest),
    ])
  }
}

extension TimeTravelBench {
  /// The table for people, with the two ratios that matter.
  package static func text(_ rows: [Row]) -> String {
    var table = TextTable(columns: [
      "case", "requests", "messages/request", "guest ns", "wall us/request", "repeatable", "digest",
    ])
    for row in rows {
      table.add([
        row.name.rawValue, "\(row.requests)", fixed(row.messagesPerRequest, 3), "\(row.guestNanoseconds)",
        fixed(row.wallMicrosecondsPerRequest, 1), row.isRepeatable ? "yes" : "no", row.digest,
      ])
    }
    func wall(_ name: Case) -> Double {
      rows.first { $0.name == name }?.wallMicrosecondsPerRequest ?? .nan
    }
    func ratio(_ a: Case, _ b: Case) -> String { fixed(wall(a) / max(wall(b), 0.001), 2) }
    return """
      \(table.text)
      separate: message mode takes \(ratio(.separateMessage, .separateShared)) times as long as shared memory
      shared memory: embedded takes \(ratio(.embeddedShared, .separateShared)) of separate
      message mode: embedded takes \(ratio(.embeddedMessage, .separateMessage)) of separate
      """
  }
}
