// ttblk run
import ArgumentParser
import Glibc
import Linux
import Scenario
import Telemetry
import TimeTravel

struct RunCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Simulate nodes on disks, as a scenario file says.",
    discussion: """
      Makes the overlays, starts the controller, the disks and the nodes, waits for the nodes to end, and \
      prints per disk what was asked of it and how long it took in simulated time, the digest of all \
      completions, and a hash of what each disk holds. Equal scenarios give equal digests and hashes, in \
      every run. The JSON also has what each disk's model counted: seeks, collected pages, throttled time.
      The output folder receives overlays, consoles, the clients' log, and report.json; what an earlier run \
      left there is removed first. With faults also faults.jsonl, a line for each thing that went wrong.
      """)

  @Argument(help: "The scenario, a TOML file.", completion: .file(extensions: ["toml"]))
  var scenario: String

  @Option(
    help: ArgumentHelp("The output folder; the scenario's name with .run if not given.", valueName: "folder"),
    completion: .directory)
  var output: String?

  @Option(help: "shared-memory or message, instead of the scenario's.")
  var transport: Controller.Transport?

  @Option(help: "Another seed than the scenario's.")
  var seed: UInt64?

  @Option(
    help: ArgumentHelp(
      "Let the faults happen that this log (faults.jsonl of an earlier run) has, and no others.",
      valueName: "file"))
  var replayFaults: String?

  @Flag(help: "Controller and disks as processes of their own, instead of in this one.")
  var separate = false

  @Option(
    help: ArgumentHelp(
      "The processor to run on, or any. If not given, a run whose parties take turns stays on one.",
      valueName: "n|any"))
  var cpu: String?

  @Flag(help: "Print the report as JSON.")
  var json = false

  func run() throws {
    var loaded = try Scenario.load(path: scenario)
    if let transport { loaded.transport = transport }
    if let seed { loaded.seed = seed }
    let folder = output ?? "\(loaded.name).run"
    var options = Runner.Options(output: folder)
    options.isSeparate = separate
    options.replay = replayFaults
    switch cpu {
    case nil: break
    case "any": options.processor = .any
    case let text?:
      guard let number = Int(text), number >= 0 else {
        throw CommandFailure(.usage, "--cpu \(text): the number of a processor, or any")
      }
      options.processor = .number(number)
    }
    for note in loaded.notes { warn(note) }
    let signals = try Signals([SIGINT, SIGTERM, SIGHUP])
    var runner = Runner(loaded, options: options)
    runner.report = warn
    let display = ProgressDisplay()
    runner.onProgress = { display.show($0) }
    defer { display.clear() }
    let report = try runner.run(signals: signals)
    display.clear()
    announce(json ? report.json.indented : report.text)
    if !json { announce("consoles, overlays and report.json are in \(folder)") }
  }
}

/// One line on a terminal that says how far a run is; nothing elsewhere.
final class ProgressDisplay {
  private let isTerminal = isatty(STDERR_FILENO) == 1
  private var isShown = false

  func show(_ progress: Runner.Progress) {
    guard isTerminal else { return }
    var parts = ["\(progress.nodesRunning) node\(progress.nodesRunning == 1 ? "" : "s") running"]
    if let time = progress.time, time > 0 {
      let speed = Double(time) / 1000 / Double(max(progress.wallMicroseconds, 1))
      parts.append("simulated \(fixed(Double(time) / 1e9, 3)) s (\(fixed(speed, 2)) of real time)")
    }
    if let requests = progress.requests { parts.append("\(requests) requests") }
    parts.append("\(fixed(Double(progress.wallMicroseconds) / 1e6, 1)) s")
    writeText("\r\u{1b}[K" + parts.joined(separator: ", "), to: STDERR_FILENO)
    isShown = true
  }

  func clear() {
    if isShown { writeText("\r\u{1b}[K", to: STDERR_FILENO) }
    isShown = false
  }
}
