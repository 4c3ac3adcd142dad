// ttblk serve
import ArgumentParser
import Glibc
import Linux
import Scenario
import Telemetry

struct ServeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve",
    abstract: "Serve disks to vhost-user clients: UML kernels, QEMU.",
    discussion: """
      Each disk listens on its own socket and has one client at a time. A model charges its latency in \
      simulated time, and needs external time travel. Ends on SIGINT or SIGTERM, or with the simulation; \
      then every image is flushed and closed. SIGUSR1 has the sizes of the images looked at again: after \
      'truncate -s' on a raw image its guest sees a longer disk.
      """)

  @Option(
    name: .customLong("disk"),
    help: ArgumentHelp(
      """
      A disk: name=NAME,image=PATH,socket=PATH[,model=zero|affine:50us[:500MB/s]]\
      [,format=raw|uml-cow][,readonly]. \
      A comma in a path is written twice. Repeatable.
      """,
      valueName: "disk"))
  var diskOptions: [String] = []

  @Option(help: ArgumentHelp("A TOML file with [[disk]] tables of the same keys.", valueName: "file"))
  var config: String?

  @Option(
    help: ArgumentHelp("off, inf-cpu, or external=CONTROLLER_SOCKET.", valueName: "mode"))
  var timeTravel = "off"

  @Option(help: ArgumentHelp("Our name at the controller; ties at one time go to the lower.", valueName: "n"))
  var timeTravelId: UInt64 = 0

  @Option(help: ArgumentHelp("Write what was done to this file at the end, as TOML.", valueName: "file"))
  var report: String?

  func run() throws {
    var disks: [DiskConfiguration] = []
    if let config { disks += try loadServeConfiguration(path: config) }
    for option in diskOptions { disks.append(try DiskConfiguration(parsing: option)) }
    try validateServeConfiguration(disks)
    let mode: TimeTravelMode
    switch timeTravel {
    case "off": mode = .off
    case "inf-cpu": mode = .infiniteCPU
    case let text where text.hasPrefix("external=") && text.count > 9:
      mode = .external(controller: String(text.dropFirst(9)), identifier: timeTravelId)
    default:
      throw CommandFailure(
        .usage, "--time-travel \(timeTravel): use off, inf-cpu or external=CONTROLLER_SOCKET")
    }
    let signals = try Signals([SIGINT, SIGTERM, SIGHUP, SIGUSR1])
    let loop = try EventLoop()
    let service = try ServeLoop(disks: disks, mode: mode, loop: loop, report: warn)
    announce("ready: \(disks.count) disk\(disks.count == 1 ? "" : "s")")
    let complaint = try service.run(signals: signals)
    let losses = service.server.close()
    for line in losses { warn(line) }
    if let report { try ServeReport(service).write(to: report) }
    if !losses.isEmpty { throw CommandFailure(.failed, "some of what was written may be lost") }
    if let complaint { throw CommandFailure(.simulation, complaint) }
  }
}
