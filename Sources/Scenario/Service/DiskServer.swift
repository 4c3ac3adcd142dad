// Disks, their clients and simulated time, on one loop.
import BlockDevice
package import BlockIO
package import DiskImage
import DiskModel
package import Linux
package import NBD
package import Simulation
package import Telemetry
package import TimeTravel
import VhostUser
import VirtioBlock

/// How simulated time is kept, and so when requests complete.
package enum Timing {
  /// The guest's clock moves only by its own reads: requests complete inside the kick, and cost nothing.
  case infiniteCPU
  /// A controller gives turns: requests complete inside the kick without a model, and at the model's time
  /// with one.
  case simulated(any SimulationClient)
}

/// Serves disks over vhost-user in simulated time. One disk has one client at a time.
///
/// Everything of a simulation hangs off this value and its loop: order is a property of the structure.
package final class DiskServer: DiskService {
  package let log: CompletionLog
  package private(set) var disks: [ServedDisk] = []
  private let timing: Timing
  private let report: (String) -> Void
  private let clock: any Clock
  /// In the middle of a turn: calls were made whose replies have not come.
  private var isHoldingTurn = false
  /// Called when the power of a node goes, before that of its disks: nothing more is expected from it.
  /// Returns whether it was at work; if it had ended before, its disks had come to an orderly end, too.
  package var onPowerCut: ((_ node: String, SimulationTime) -> Bool)?

  /// Opens every image and listens on every socket; what was opened is closed again if one of them fails.
  /// - Parameter report: takes one line for each thing that goes wrong later.
  package init(
    disks configurations: [DiskConfiguration], timing: Timing, decisions: FaultDecisions = FaultDecisions(),
    registry: FileRegistry, loop: EventLoop, report: @escaping (String) -> Void
  ) throws(ServiceError) {
    self.timing = timing
    self.report = report
    log = CompletionLog()
    switch timing {
    case .infiniteCPU: clock = StandingClock()
    case .simulated(let client): clock = client
    }
    try decisions.check(configurations)
    for (index, configuration) in configurations.enumerated() {
      do throws(ConfigurationError) {
        try requireTime(configuration.faults, timing.keeping, "disk '\(configuration.name)'")
      } catch { throw .configuration(error) }
      let model: ModelDescription
      do throws(ConfigurationError) { model = try configuration.describeModel(note: report) } catch {
        throw .configuration(ConfigurationError("disk '\(configuration.name)': \(error)"))
      }
      if model.takesTime, !timing.chargesTime {
        throw .configuration(
          ConfigurationError(
            "disk '\(configuration.name)': model \(model.specification) needs external time travel: "
              + "\(timing.name) has nobody to charge it to; use model=zero"))
      }
      disks.append(
        try ServedDisk(
          configuration, identifier: UInt32(index), model: model, clock: clock,
          options: timing.sessionOptions,
          log: log, decisions: decisions, registry: registry, loop: loop, report: report))
    }
    for disk in disks {
      disk.onCallsSettled = { [unowned self] in finishTurnIfSettled() }
      guard let node = disk.configuration.node else { continue }
      disk.device.onPowerCut = { [unowned self] event in
        cutPower(of: node, by: event.fault, at: event.time)
      }
    }
    if case .simulated(let client) = timing {
      client.onTurn = { [unowned self] in takeTurn() }
    }
  }

  /// Whether any client is connected.
  package var isBusy: Bool { disks.contains { $0.isConnected } }

  /// Whether a client that was at work went without a word.
  package var hasLostClient: Bool { disks.contains { $0.backend.endedAbruptly } }

  /// In simulated time nothing may depend on when somebody in real time does something.
  package func refreshSizes() {
    report("sizes are looked at again in real time only")
  }

  /// The power of a node goes: of all its disks at once, and of whoever uses them.
  package func cutPower(of node: String, by fault: String, at now: SimulationTime) {
    // The machine first: it must not see what its disks do.
    guard onPowerCut?(node, now) ?? true else { return }
    for disk in disks where disk.configuration.node == node {
      disk.device.cutPower(named: fault, at: now)
      disk.loseClient()
    }
    // What was to complete there does not.
    if case .simulated(let client) = timing {
      (client as? LocalClient)?.replaceWake(by: disks.compactMap { $0.device.nextWake }.min())
    }
  }

  /// Flushes and closes every image; a line for each that could not be.
  package func close() -> [String] {
    let now = clock.now
    return disks.compactMap { $0.close(at: now) }
  }

  package var engines: [String] { [] }

  package var reports: [DiskReport] {
    let now = clock.now
    return disks.map {
      var report = DiskReport(
        name: $0.device.name, model: $0.configuration.model, $0.device.statistics)
      report.faults = $0.device.faultCount
      report.counters = $0.device.modelCounters(at: now)
      return report
    }
  }

  package var completions: UInt64 { log.count }

  package var digest: String { log.digest }

  private func takeTurn() {
    let now = clock.now
    isHoldingTurn = true
    // In the order of the disks: the order of events that happen at one time.
    for disk in disks { if let wake = disk.device.nextWake, wake <= now { disk.backend.advance(to: now) } }
    finishTurnIfSettled()
  }

  /// The turn goes on only when every guest has seen its interrupt: then it has asked for its own turn.
  private func finishTurnIfSettled() {
    guard isHoldingTurn, case .simulated(let client) = timing,
      disks.allSatisfy({ $0.callsAwaitingReply == 0 })
    else { return }
    isHoldingTurn = false
    client.finishTurn(next: disks.compactMap { $0.device.nextWake }.min())
  }
}

extension Timing {
  /// Whether somebody can be charged a latency.
  fileprivate var chargesTime: Bool { if case .simulated = self { true } else { false } }

  fileprivate var keeping: Scenario.TimeKeeping {
    switch self {
    case .infiniteCPU: .infCPU
    case .simulated: .external
    }
  }

  fileprivate var name: String {
    switch self {
    case .infiniteCPU: "inf-cpu"
    case .simulated: "external time travel"
    }
  }

  /// In band: descriptors have no order.
  fileprivate var sessionOptions: SessionOptions {
    switch self {
    case .infiniteCPU: SessionOptions(inBand: true, callReply: .afterKickReply)
    case .simulated: SessionOptions(inBand: true, callReply: .beforeKickReply)
    }
  }
}

/// Why disks could not be served.
package enum ServiceError: Error, CustomStringConvertible {
  case configuration(ConfigurationError)
  case image(DiskImageError)
  /// The socket of this disk.
  case socket(String, LinuxError)
  case system(LinuxError)
  case nbd(NBDError)
  /// The controller at this path.
  case controller(String, TimeTravelError)

  package var description: String {
    switch self {
    case .configuration(let error): error.description
    case .image(let error): error.description
    case .nbd(let error): error.description
    case .system(let error): "cannot \(error)"
    case .socket(let path, let error): describeSocketFailure(path, error)
    case .controller(let path, let error): "no controller at '\(path)': \(error)"
    }
  }
}
