// ttblk controller
import ArgumentParser
import Glibc
import Linux
import Scenario
import TimeTravel

struct ControllerCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "controller",
    abstract: "Keep simulated time for clients of other processes (the calendar of time-travel=ext:).",
    discussion: """
      Waits for N clients, boots them in the order of their ids, and gives the turn to one at a time: by \
      time, then priority, then id. Ends when no client is left or nobody has anything to do (exit 0), or \
      when clients wait for ever (exit 7, and it says who).
      """)

  @Option(help: ArgumentHelp("Where clients connect.", valueName: "path"))
  var socket: String

  @Option(help: ArgumentHelp("Wait for so many clients before anybody boots.", valueName: "n"))
  var clients: Int

  @Option(help: "shared-memory (clients that cannot are served by messages) or message.")
  var transport = Controller.Transport.sharedMemory

  @Option(help: ArgumentHelp("The time of day at simulated time zero, ns since 1970.", valueName: "ns"))
  var timeAtStart: UInt64 = 0

  @Option(
    help: ArgumentHelp(
      "Ties at one time go to the lower priority first: ID=PRIORITY, 0 to 255; 100 if not given. Repeatable.",
      valueName: "id=p"))
  var priority: [String] = []

  @Option(help: ArgumentHelp("Append every client's and our own log lines to this file.", valueName: "file"))
  var log: String?

  @Option(help: ArgumentHelp("Write what was done to this file at the end, as TOML.", valueName: "file"))
  var report: String?

  func run() throws {
    guard (1...Limits.clientsMax).contains(clients) else {
      throw CommandFailure(.usage, "--clients \(clients): 1 to \(Limits.clientsMax) clients")
    }
    var options = Controller.Options()
    options.transport = transport
    options.expectedClients = clients
    options.timeAtStart = timeAtStart
    for text in priority {
      let parts = text.split(separator: "=")
      guard parts.count == 2, let identifier = UInt64(parts[0]), let value = UInt8(parts[1]) else {
        throw CommandFailure(.usage, "--priority \(text): write ID=PRIORITY, the priority from 0 to 255")
      }
      options.priorities[identifier] = value
    }
    let signals = try Signals([SIGINT, SIGTERM, SIGHUP])
    let loop = try EventLoop()
    let clientLog = try log.map { (path) throws(LinuxError) in try ClientLog(path: path) }
    if let clientLog { options.logDescriptor = clientLog.descriptor.rawValue }
    let service = try ControllerLoop(options: options, path: socket, loop: loop) { line in
      warn(line)
      clientLog?.append(line)
    }
    announce("ready: \(clients) client\(clients == 1 ? "" : "s") expected")
    let ending = try service.run(signals: signals)
    if let report { try ControllerReport(service).write(to: report) }
    if case .stuck(let lines) = ending {
      for line in lines { warn(line) }
      throw CommandFailure(.simulation, "nobody can ever run again")
    }
  }
}

extension Controller.Transport: ExpressibleByArgument {}
