// ttblk bench time-travel
import ArgumentParser
import Glibc
import Linux
import Scenario
import Simulation
import Telemetry

struct BenchTimeTravelCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "time-travel",
    abstract: "Measure what simulated disk time costs: time messages and real time per request.",
    discussion: """
      Boots the guest of images/guest/build.sh and reads 4 KiB at a time, O_DIRECT, one request at a time: \
      message mode and shared memory, controller and disks as processes of their own and embedded, and the \
      zero model under external time travel and inf-cpu. Messages are those of the requests alone, without \
      the guest's boot and timer ticks; they, guest time and digest are exact. Wall time is this machine's: \
      the median of all rounds, which alternate between the cases.
      """)

  @Option(help: ArgumentHelp("Requests of a run.", valueName: "n"))
  var requests = 2000

  @Option(help: ArgumentHelp("What a request costs in simulated time.", valueName: "time"))
  var latency = "50us"

  @Option(help: ArgumentHelp("How often every case runs.", valueName: "n"))
  var rounds = 5

  @Flag(help: "Print JSON: an array of objects, one for each case.")
  var json = false

  func run() throws {
    guard (2...10_000_000).contains(requests) else {
      throw CommandFailure(.usage, "--requests \(requests): 2 to 10000000")
    }
    guard (1...1000).contains(rounds) else { throw CommandFailure(.usage, "--rounds \(rounds): 1 to 1000") }
    guard let latency = SimulationDuration(parsing: latency), latency > .zero else {
      throw CommandFailure(.usage, "--latency \(latency): write a time like 50us, more than zero")
    }
    let signals = try Signals([SIGINT, SIGTERM, SIGHUP])
    let folder = try makeTemporaryDirectory(
      under: environmentVariable("TMPDIR") ?? "/tmp", prefix: "ttblk-bench-")
    defer { removeTree(folder) }
    var bench = TimeTravelBench(output: folder)
    bench.requests = requests
    bench.rounds = rounds
    bench.latency = latency
    let isTerminal = isatty(STDERR_FILENO) == 1
    if isTerminal { bench.onRun = { writeText("\r\u{1b}[K\($0)", to: STDERR_FILENO) } }
    defer { if isTerminal { writeText("\r\u{1b}[K", to: STDERR_FILENO) } }
    let rows = try bench.run(signals: signals)
    if isTerminal { writeText("\r\u{1b}[K", to: STDERR_FILENO) }
    announce(json ? JSONValue.array(rows.map(\.json)).indented : TimeTravelBench.text(rows))
  }
}

struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Measure.",
    subcommands: [BenchTimeTravelCommand.self, BenchBlockCommand.self])
}
