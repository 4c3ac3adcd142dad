// ttblk model run
import ArgumentParser
import DiskModel
import Scenario
import Simulation
import Telemetry

struct ModelRunCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Ask a model for a workload, and print what a guest would measure.",
    discussion: """
      A closed loop in simulated time: depth requests under way, the next one when one is done. The same \
      command prints the same digest everywhere; the host's time for a request is this machine's.
      """)

  @OptionGroup var model: ModelOptions

  @Option(
    help: ArgumentHelp(
      "read, write, randread, randwrite, trim or randtrim; then bytes of a request; depth=1, count=20000 and "
        + "size=, how much of the disk is used, if they are others.", valueName: ModelWorkload.form))
  var workload: String

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    let asked = try ModelWorkload(parsing: workload, diskSize: model.diskSize.bytes)
    let result = ModelMeasurement(asked, on: try model.make(), seed: model.seed)
    announce(json ? result.json(model).indented : result.text(model))
  }
}

extension ModelMeasurement {
  private static let percentiles: [(name: String, perThousand: Int)] = [
    ("p50", 500), ("p90", 900), ("p99", 990), ("p999", 999), ("max", 1000),
  ]

  fileprivate func json(_ model: ModelOptions) -> JSONValue {
    var members: [JSONValue.Member] = [
      .init("model", .string(model.name)), .init("diskSize", .unsigned(model.diskSize.bytes)),
      .init("seed", .unsigned(model.seed)), .init("requests", .unsigned(UInt64(latencies.count))),
      .init("depth", .unsigned(UInt64(workload.depth))), .init("blockSize", .unsigned(workload.blockSize)),
      .init("elapsedNanoseconds", .unsigned(elapsed.nanoseconds)),
      .init("requestsPerSecond", .number(perSecond)),
      .init("meanNanoseconds", .unsigned(mean)),
    ]
    for (name, perThousand) in Self.percentiles {
      members.append(.init("\(name)Nanoseconds", .unsigned(percentile(perThousand))))
    }
    members.append(
      .init("counters", .object(counters.map { JSONValue.Member($0.name, .unsigned($0.value)) })))
    members.append(.init("digest", .string(digest)))
    members.append(.init("hostNanosecondsPerRequest", .unsigned(hostNanoseconds)))
    return .object(members)
  }

  fileprivate func text(_ model: ModelOptions) -> String {
    func microseconds(_ value: UInt64) -> String { "\(fixed(Double(value) / 1000, 1)) us" }
    let bytes = perSecond.isFinite ? UInt64(min(perSecond * Double(workload.blockSize), 1e18)) : 0
    var rows = [
      ("model", "\(model.name), disk of \(ByteText.short(model.diskSize.bytes)), seed \(model.seed)"),
      ("requests", "\(latencies.count) at depth \(workload.depth), in \(microseconds(elapsed.nanoseconds))"),
      (
        "a second",
        perSecond.isFinite ? "\(fixed(perSecond, 1)), \(ByteText.short(bytes))/s" : "all at once"
      ),
      ("mean", microseconds(mean)),
    ]
    for (name, perThousand) in Self.percentiles {
      rows.append((name == "p999" ? "p99.9" : name, microseconds(percentile(perThousand))))
    }
    for counter in counters { rows.append((counter.name, "\(counter.value)")) }
    rows += [("digest", digest), ("host", "\(hostNanoseconds) ns of processor time for a request")]
    let width = rows.map(\.0.count).max() ?? 0
    return rows.map { $0 + String(repeating: " ", count: width - $0.count + 2) + $1 }.joined(separator: "\n")
  }
}
