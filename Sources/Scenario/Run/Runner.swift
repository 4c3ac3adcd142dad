// From a scenario to its report.
import BlockDevice
import BlockIO
import DiskImage
import Glibc
package import Linux
import Simulation
import Telemetry
import TimeTravel

/// Runs scenarios: makes overlays, starts everything, waits for the nodes, and leaves no process behind.
package struct Runner {
  package struct Options {
    /// The folder for overlays, consoles and the report.
    package var output: String
    /// Controller and disks as processes of their own.
    package var isSeparate = false
    /// The `ttblk` program, for the processes of a separate run.
    package var executable = "/proc/self/exe"
    /// The library that seeds the guests' entropy; nil takes the one of the newest guest.
    package var preload: String?
    /// Where a run whose parties take turns stays; the others go where the kernel puts them.
    package var processor = Processor.present
    /// Whether every disk is read to its end for its hash.
    package var hashesDisks = true
    /// The log of an earlier run, whose faults are repeated; nil lets them happen as they are asked for.
    package var replay: String?

    package init(output: String) { self.output = output }
  }

  /// Which processor a run uses.
  package enum Processor: Equatable, Sendable {
    /// The one it was started on.
    case present
    case number(Int)
    /// All.
    case any
  }

  /// How far a run is.
  package struct Progress {
    package var time: UInt64?
    package var requests: UInt64?
    package var nodesRunning: Int
    package var wallMicroseconds: UInt64
  }

  private let scenario: Scenario
  private let options: Options
  /// Called a few times a second.
  package var onProgress: ((Progress) -> Void)?
  /// Called for each line of a node's console.
  package var onConsoleLine: ((_ node: String, _ line: Substring) -> Void)?
  /// Takes one line for each thing that went wrong on the way to a good end.
  package var report: (String) -> Void = { _ in }

  package init(_ scenario: Scenario, options: Options) {
    self.scenario = scenario
    self.options = options
  }

  /// Runs to the end, or throws what went wrong first; either way nothing is left running.
  package func run(signals: borrowing Signals) throws(RunError) -> RunReport {
    do throws(ConfigurationError) { try scenario.validate() } catch { throw .configuration(error) }
    try requireOneProcess()
    let preload = try findPreload()
    let folder = try RunFolder(output: options.output)
    let registry = FileRegistry()
    var disks: [DiskConfiguration] = []
    for node in scenario.nodes {
      for disk in node.disks {
        disks.append(
          try folder.prepare(
            disk, of: node, index: disks.count, seed: scenario.seed, registry: registry))
      }
    }
    let started = HostClock.microseconds
    var result = try simulate(
      disks, try decisions(disks, folder), folder, registry, preload, signals, started)
    if options.hashesDisks { try result.hashDisks(disks) }
    do throws(LinuxError) {
      try writeFile(folder.output + "/report.json", result.json.indented + "\n")
    } catch { throw .system(error) }
    return result
  }

  /// The power of a node and its end are one event for a single process only.
  private func requireOneProcess() throws(RunError) {
    guard options.isSeparate else { return }
    for node in scenario.nodes where node.faults.contains(where: { $0.kind == .powerCut }) {
      throw .configuration(
        ConfigurationError("node '\(node.name)' has a power cut: run it without --separate"))
    }
  }

  /// In a separate run the disks' process has its own.
  private func decisions(_ disks: [DiskConfiguration], _ folder: RunFolder) throws(RunError) -> FaultDecisions
  {
    let hasFaults = disks.contains { !$0.faults.isEmpty }
    guard hasFaults || options.replay == nil else {
      throw .configuration(ConfigurationError("no disk of this scenario has a fault to be replayed"))
    }
    guard hasFaults, !options.isSeparate else { return FaultDecisions() }
    do throws(ServiceError) {
      return try FaultDecisions(log: folder.faultLog, replaying: options.replay)
    } catch { throw .service(error) }
  }

  private func simulate(
    _ disks: [DiskConfiguration], _ decisions: FaultDecisions, _ folder: RunFolder, _ registry: FileRegistry,
    _ preload: String, _ signals: borrowing Signals, _ started: UInt64
  ) throws(RunError) -> RunReport {
    let loop: EventLoop
    do throws(LinuxError) { loop = try EventLoop() } catch { throw .system(error) }
    let affinity = try pin()
    defer { withExtendedLifetime(affinity) {} }
    let services: any RunServices =
      options.isSeparate
      ? try SeparateServices(
        scenario, disks: disks, replay: options.replay, folder: folder, executable: options.executable)
      : try EmbeddedServices(
        scenario, disks: disks, decisions: decisions, folder: folder, registry: registry, loop: loop)
    do throws(RunError) {
      let nodes = try startNodes(folder, preload, loop)
      services.onPowerCut = { name, time in nodes.first { $0.node.name == name }?.losePower(at: time) }
      let nodesStarted = HostClock.microseconds
      try waitForNodes(nodes, services, loop, signals, started)
      let nodesEnded = nodes.map(\.endTime).max() ?? nodesStarted
      let (serve, controller) = try services.finish(loop: loop)
      // After a bad end there is one line only; these would mostly be its consequences.
      for line in complaints(folder.controllerLog) + complaints(folder.diskLog) { report(line) }
      var result = RunReport(
        scenario, isSeparate: options.isSeparate, serve: serve, controller: controller,
        wallMicroseconds: nodesEnded - nodesStarted)
      result.powerCuts = nodes.compactMap { node in
        node.powerCut.map { RunReport.PowerCut(node: node.node.name, time: $0) }
      }
      return result
    } catch {
      services.abandon()
      throw error
    }
  }

  private func startNodes(
    _ folder: RunFolder, _ preload: String, _ loop: EventLoop
  ) throws(RunError) -> [NodeProcess] {
    var nodes: [NodeProcess] = []
    var firstDisk = 0
    do throws(LinuxError) {
      let reaper = try Reaper()
      try makeDirectory(folder.scratch + "/uml")
      for (index, node) in scenario.nodes.enumerated() {
        let command = KernelArguments(
          node: node, identifier: KernelArguments.identifier(ofNode: index),
          diskSockets: node.disks.indices.map { folder.socketName(ofDisk: firstDisk + $0) },
          scenario: scenario,
          folder: folder)
        firstDisk += node.disks.count
        try command.prepare()
        let process = try NodeProcess(command, preload: preload, reaper: reaper, loop: loop)
        if let onConsoleLine { process.onLine = { onConsoleLine(node.name, $0) } }
        nodes.append(process)
      }
    } catch { throw .system(error) }
    return nodes
  }

  /// Waits until every node has ended; the first one that ends badly ends the run.
  private func waitForNodes(
    _ nodes: [NodeProcess], _ services: any RunServices, _ loop: EventLoop, _ signals: borrowing Signals,
    _ started: UInt64
  ) throws(RunError) {
    var isInterrupted = false
    var hasNews = false
    var reported: UInt64 = 0
    for node in nodes { node.onEnd = { hasNews = true } }
    do throws(LinuxError) {
      let token = try loop.add(signals.descriptor.rawValue) { isInterrupted = true }
      defer { loop.remove(token) }
      while nodes.contains(where: { $0.outcome == nil }), !isInterrupted {
        // The loop takes several steps for each request: nothing here but the clock is looked at that often.
        var now = reported
        repeat {
          try loop.runOnce(timeout: 100)
          now = HostClock.microseconds
        } while !hasNews && !isInterrupted && now - reported < 100_000
        hasNews = false
        if nodes.contains(where: \.hasFailed) || services.complaint != nil { break }
        guard now - reported >= 100_000 else { continue }
        reported = now
        for node in nodes { node.enforceLimit() }
        let progress = services.progress
        onProgress?(
          Progress(
            time: progress?.time.nanoseconds, requests: progress?.requests,
            nodesRunning: nodes.count { $0.outcome == nil }, wallMicroseconds: now - started))
      }
    } catch { throw .system(error) }
    let failures = nodes.compactMap(\.failure)
    for node in nodes { node.stop("stopped") }
    if !failures.isEmpty {
      if let cause = cause(of: failures, services) { throw .simulation(cause) }
      throw .nodes(failures)
    }
    if isInterrupted { throw .interrupted }
    if let complaint = services.complaint { throw .simulation(complaint) }
  }

  /// A node whose controller or disks have gone ends badly, too, but is not to blame.
  private func cause(of failures: [String], _ services: any RunServices) -> [String]? {
    // What a kernel says of a socket that was closed, and of one that was closed before all was read from it.
    let signs = ["time-travel external link is broken", "invalid time-travel message - -104 bytes"]
    let hasLostController = failures.contains { failure in signs.contains { failure.contains($0) } }
    // Its sockets are closed a moment before it has ended.
    for _ in 0..<(hasLostController ? 100 : 1) {
      if let complaint = services.complaint, hasLostController || services.hasCrashed { return complaint }
      if hasLostController { usleep(10_000) }
    }
    return nil
  }

  /// Under external time travel only one party runs at a time, and a single node is but one party.
  private func pin() throws(RunError) -> ProcessorAffinity? {
    guard scenario.timeKeeping == .external || (scenario.timeKeeping == .infCPU && scenario.nodes.count == 1)
    else { return nil }
    let number: Int?
    switch options.processor {
    case .any: return nil
    case .present: number = nil
    case .number(let chosen): number = chosen
    }
    do throws(LinuxError) {
      return try ProcessorAffinity(processor: number)
    } catch {
      // Not being kept on the present one costs time and nothing else.
      guard let number else { return nil }
      throw .configuration(
        ConfigurationError(
          "processor \(number) is not one that we may use (\(error.reason)); nproc counts them"))
    }
  }

  private func findPreload() throws(RunError) -> String {
    let path = options.preload ?? guestDirectory(environment: environmentVariable) + "/libttblk-guest.so"
    guard fileExists(path) else {
      throw .configuration(
        ConfigurationError(
          "'\(path)', which seeds the guests' entropy, does not exist: run images/guest/build.sh"))
    }
    return path
  }
}

extension NodeProcess {
  /// When its power was cut, if it was.
  var powerCut: SimulationTime? {
    if case .poweredOff(let time) = outcome { time } else { nil }
  }

  var hasFailed: Bool { failure != nil }

  /// One line that names the node, if it ended badly.
  var failure: String? {
    if case .failed(let reason) = outcome { "node '\(node.name)' \(reason)" } else { nil }
  }
}
