// The disks and the controller of a run: in this process, or in processes of their own.
import BlockDevice
import BlockIO
import DiskImage
import Glibc
import Linux
import Simulation
import Telemetry
import TimeTravel

/// What the nodes of a run need around them.
protocol RunServices: AnyObject {
  /// Why the simulation cannot go on, a line each; nil while it can, and after an orderly end.
  var complaint: [String]? { get }
  /// Whether a signal took one of them; that is never a node's doing.
  var hasCrashed: Bool { get }
  /// Simulated time and requests so far, where they are known.
  var progress: (time: SimulationTime, requests: UInt64)? { get }
  /// Called when a node has lost its power, before anything else happens at that time.
  var onPowerCut: ((_ node: String, SimulationTime) -> Void)? { get set }
  /// Ends everything when the nodes have gone: flushes and closes the images.
  /// - Returns: what the disks and the controller did.
  func finish(loop: EventLoop) throws(RunError) -> (ServeReport, ControllerReport)
  /// Ends everything at once.
  func abandon()
}

/// The controller and the disks on our own loop: disks cost no message.
final class EmbeddedServices: RunServices {
  private let controller: Controller?
  private let server: any DiskService
  private var ending: Controller.Ending?
  private let clientLog: ClientLog
  var onPowerCut: ((_ node: String, SimulationTime) -> Void)?
  private let powerSwitch: PowerSwitch?

  init(
    _ scenario: Scenario, disks: [DiskConfiguration], decisions: FaultDecisions, folder: RunFolder,
    registry: FileRegistry, loop: EventLoop
  ) throws(RunError) {
    let diskLog: ClientLog
    let controllerLog: ClientLog
    do throws(LinuxError) {
      clientLog = try ClientLog(path: folder.clientLog)
      diskLog = try ClientLog(path: folder.diskLog)
      controllerLog = try ClientLog(path: folder.controllerLog)
    } catch { throw .system(error) }
    var timing: Timing?
    switch scenario.timeKeeping {
    case .off: controller = nil
    case .infCPU: (timing, controller) = (.infiniteCPU, nil)
    case .external:
      var options = Controller.Options()
      options.transport = scenario.transport
      options.expectedClients = scenario.nodes.count
      options.timeAtStart = scenario.timeOfDay
      options.logDescriptor = clientLog.descriptor.rawValue
      let path = folder.controllerSocket
      do throws(LinuxError) {
        let controller = try Controller(options: options, path: path, loop: loop)
        timing = .simulated(controller.makeLocalClient(name: diskServerIdentifier))
        self.controller = controller
      } catch { throw .service(.socket(path, error)) }
    }
    do throws(ServiceError) {
      if let timing {
        let simulated = try DiskServer(
          disks: disks, timing: timing, decisions: decisions, registry: registry, loop: loop,
          report: diskLog.append)
        server = simulated
        let cuts = PowerSwitch.cuts(of: scenario, disks, replaying: decisions.replay)
        powerSwitch = cuts.isEmpty ? nil : controller.map { PowerSwitch(cuts, $0, simulated) }
        simulated.onPowerCut = { [unowned self] node, now in
          guard let index = scenario.nodes.firstIndex(where: { $0.name == node }) else { return false }
          let identifier = KernelArguments.identifier(ofNode: index)
          guard controller?.isPresent(name: identifier) ?? true else { return false }
          onPowerCut?(node, now)
          controller?.dismiss(name: identifier)
          return true
        }
      } else {
        powerSwitch = nil
        server = try RealTimeServer(
          disks: disks, registry: registry, journals: .standard(), loop: loop, report: diskLog.append)
      }
    } catch { throw .service(error) }
    controller?.log = controllerLog.append
    controller?.onEnd = { [unowned self] in ending = $0 }
  }

  var complaint: [String]? {
    if case .stuck(let lines) = ending { lines } else { nil }
  }

  var hasCrashed: Bool { false }

  var progress: (time: SimulationTime, requests: UInt64)? {
    (controller?.now ?? .zero, server.completions)
  }

  func finish(loop: EventLoop) throws(RunError) -> (ServeReport, ControllerReport) {
    // The nodes' sockets are closed; let the loop see that, so that sessions end in order.
    do throws(LinuxError) {
      while server.isBusy, try loop.runOnce(timeout: 1000) {}
    } catch { throw .system(error) }
    let time = controller?.now ?? .zero
    let losses = server.close()
    guard losses.isEmpty else { throw .simulation(losses) }
    return (
      ServeReport(server), ControllerReport(messages: controller?.messageCount ?? 0, time: time.nanoseconds)
    )
  }

  func abandon() { _ = server.close() }
}

/// `ttblk controller` and `ttblk serve`, each a process of its own, as somebody would start them by hand.
final class SeparateServices: RunServices {
  /// Never: nobody here knows the time.
  var onPowerCut: ((_ node: String, SimulationTime) -> Void)?
  private var controller: ChildProcess?
  /// nil when there is no disk.
  private let server: ChildProcess?
  private let controllerReport: String
  private let serveReport: String
  private let serveLog: String
  private let controllerLog: String

  init(
    _ scenario: Scenario, disks: [DiskConfiguration], replay: String?, folder: RunFolder, executable: String
  ) throws(RunError) {
    controllerReport = folder.scratch + "/controller.toml"
    serveReport = folder.scratch + "/disks.toml"
    serveLog = folder.diskLog
    controllerLog = folder.controllerLog
    do throws(LinuxError) {
      let disks = disks.map(\.toml).joined(separator: "\n")
      try writeFile(folder.scratch + "/serve.toml", "seed = \(scenario.seed)\n\n" + disks)
    } catch { throw .system(error) }
    var faultOptions: [String] = []
    if disks.contains(where: { !$0.faults.isEmpty }) {
      faultOptions = ["--fault-log", folder.faultLog] + (replay.map { ["--replay-faults", $0] } ?? [])
    }
    let clients = scenario.nodes.count + (disks.isEmpty ? 0 : 1)
    do throws(StartFailure) {
      var timeTravel = "off"
      switch scenario.timeKeeping {
      case .off: break
      case .infCPU: timeTravel = "inf-cpu"
      case .external:
        timeTravel = "external=" + folder.controllerSocket
        controller = try startAndAwaitReady(
          executable,
          [
            "controller", "--socket", folder.controllerSocket, "--clients", "\(clients)",
            "--transport", scenario.transport.rawValue, "--time-at-start", "\(scenario.timeOfDay)", "--log",
            folder.clientLog, "--report", controllerReport,
          ], log: controllerLog)
      }
      server =
        disks.isEmpty
        ? nil
        : try startAndAwaitReady(
          executable,
          [
            "serve", "--config", folder.scratch + "/serve.toml", "--time-travel", timeTravel,
            "--time-travel-id", "\(diskServerIdentifier)", "--report", serveReport,
          ] + faultOptions, log: serveLog)
    } catch {
      switch error {
      case .system(let error): throw .system(error)
      case .refused(let status, let line): throw .command(status, line)
      }
    }
  }

  var complaint: [String]? {
    if let status = server?.poll(), status != .exited(0) {
      return ["the disks' process ended with \(status)" + lastLine(of: serveLog)]
    }
    if let status = controller?.poll(), status != .exited(0) {
      return ["the controller's process ended with \(status)" + lastLine(of: controllerLog)]
    }
    return nil
  }

  private func lastLine(of log: String) -> String { lastComplaint(log).map { ": \($0)" } ?? "" }

  var hasCrashed: Bool {
    [server, controller].contains { if case .killed = $0?.poll() { true } else { false } }
  }

  var progress: (time: SimulationTime, requests: UInt64)? { nil }

  func finish(loop: EventLoop) throws(RunError) -> (ServeReport, ControllerReport) {
    // The controller ends by itself when no node is left, and the disks with it; alone they need a word.
    if controller == nil { server?.signal(SIGTERM) }
    for process in [controller, server].compactMap({ $0 }) { awaitEnd(process) }
    if let complaint { throw .simulation(complaint) }
    do throws(ConfigurationError) {
      return (
        server == nil ? ServeReport() : try ServeReport(path: serveReport),
        controller == nil
          ? ControllerReport(messages: 0, time: 0) : try ControllerReport(path: controllerReport)
      )
    } catch { throw .configuration(error) }
  }

  func abandon() {
    server?.signal(SIGTERM)
    if let server { awaitEnd(server) }
    controller?.kill()
  }

  private func awaitEnd(_ process: ChildProcess) {
    var entry = pollfd(fd: process.descriptor.rawValue, events: Int16(POLLIN), revents: 0)
    if poll(&entry, 1, 10_000) > 0 { process.poll() }
    process.kill()
  }
}

/// The disks' name at the controller: they come before all nodes, at any one time.
private let diskServerIdentifier: UInt64 = 0

/// Why one of our own commands did not start.
private enum StartFailure: Error {
  case system(LinuxError)
  /// It said why, and ended.
  case refused(ExitStatus?, String)
}

/// Starts one of our own commands, and waits for its first line.
private func startAndAwaitReady(
  _ executable: String, _ arguments: [String], log: String
) throws(StartFailure) -> ChildProcess {
  var first: UInt8 = 0
  let process: ChildProcess
  do throws(LinuxError) {
    let errors = Descriptor(
      owning: try retrying("create", log) { open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644) })
    let nothing = Descriptor(
      owning: try retrying("open", "/dev/null") { open("/dev/null", O_RDONLY | O_CLOEXEC) })
    let pipe = try Descriptor.pipe()
    process = try ChildProcess(
      path: executable, name: "ttblk", arguments: arguments, input: nothing.rawValue,
      output: pipe.writer.rawValue, error: errors.rawValue)
    try pipe.reader.setNonblocking(true)
    var entries = [
      pollfd(fd: pipe.reader.rawValue, events: Int16(POLLIN), revents: 0),
      pollfd(fd: process.descriptor.rawValue, events: Int16(POLLIN), revents: 0),
    ]
    _ = try retrying("poll", executable) { poll(&entries, 2, 10_000) }
    if read(pipe.reader.rawValue, &first, 1) == 1 { return process }
  } catch { throw .system(error) }
  let status = process.poll()
  process.kill()
  throw .refused(status, lastComplaint(log) ?? "'ttblk \(arguments[0])' did not start, and did not say why")
}

/// The last line that one of our own commands wrote, without its name.
private func lastComplaint(_ log: String) -> String? { complaints(log).last }

/// What the disks or the controller had to say.
func complaints(_ log: String) -> [String] {
  guard let said = try? readFile(log, limit: 1 << 20) else { return [] }
  return String(decoding: said, as: UTF8.self).split(separator: "\n").map {
    String($0.hasPrefix("ttblk: ") ? $0.dropFirst(7) : $0)
  }
}

extension DiskConfiguration {
  /// As `ttblk serve --config` reads it.
  var toml: String {
    """
    [[disk]]
    name = \(tomlString(name))
    image = \(tomlString(image))
    socket = \(tomlString(socket ?? ""))
    model = \(tomlString(model))
    readonly = \(isReadOnly)
    \(format.map { "format = \"\($0.rawValue)\"" } ?? "")

    """ + faults.faults.map { $0.toml("disk.fault") }.joined(separator: "\n")
  }
}
