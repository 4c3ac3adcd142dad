// `ttblk serve`: disks for clients of other processes, until a signal or the end of the simulation.
import BlockIO
package import DiskImage
import Glibc
package import Linux
package import NBD
import Simulation
import TimeTravel

/// How `ttblk serve` keeps time.
package enum TimeTravelMode: Sendable {
  case off
  case infiniteCPU
  case external(controller: String, identifier: UInt64)
}

/// Serves disks until the controller ends the simulation, or a signal comes.
package final class ServeLoop {
  package let server: any DiskService
  private let loop: EventLoop
  private let client: Client?
  private var failure: TimeTravelError?
  private let report: (String) -> Void
  /// Whether to end when a client has gone, as soon as no other is left.
  package var endsWithClient = false
  private var hasLostSession = false
  /// What the disks said during the present step; when the controller goes, that is but a consequence.
  private let held = HeldLines()

  /// Opens, listens, and then connects to the controller.
  /// - Parameters:
  ///   - journals: where changes are kept, in real time, that are not flushed.
  ///   - tls: what NBD clients need TLS for.
  package init(
    disks: [DiskConfiguration], mode: TimeTravelMode, decisions: FaultDecisions = FaultDecisions(),
    journals: JournalFolder?, tls: TLSCredentials.Files, loop: EventLoop, report: @escaping (String) -> Void
  ) throws(ServiceError) {
    self.loop = loop
    self.report = report
    let registry = FileRegistry()
    let hold: (String) -> Void = { [held] in held.append($0) }
    switch mode {
    case .off:
      client = nil
      let realTime = try RealTimeServer(
        disks: disks, registry: registry, journals: journals, tls: tls, loop: loop, report: hold)
      server = realTime
      realTime.onSessionEnd = { [unowned self] in hasLostSession = true }
      return
    case .infiniteCPU:
      client = nil
      server = try DiskServer(
        disks: disks, timing: .infiniteCPU, decisions: decisions, registry: registry, loop: loop,
        report: hold)
    case .external(let controller, let identifier):
      let client: Client
      do throws(TimeTravelError) {
        client = try Client(controllerPath: controller, identifier: identifier, loop: loop)
      } catch { throw .controller(controller, error) }
      self.client = client
      server = try DiskServer(
        disks: disks, timing: .simulated(client), decisions: decisions, registry: registry, loop: loop,
        report: hold)
    }
    client?.onFailure = { [unowned self] error in failure = error }
  }

  /// Time-travel messages of this process.
  package var messageCount: UInt64 { client?.messageCount ?? 0 }

  /// Runs until the end; SIGUSR1 has the images' sizes looked at.
  /// - Returns: nil for an orderly end: a signal, or a controller that went when no guest was connected any
  ///   more.
  package func run(signals: borrowing Signals) throws(LinuxError) -> String? {
    var hasSignal = false
    let descriptor = signals.descriptor.rawValue
    let token = try loop.add(descriptor) { hasSignal = true }
    defer { loop.remove(token) }
    var isStopping = false
    var wasBusy = false
    while !isStopping, failure == nil {
      wasBusy = server.isBusy
      let hadLostClient = server.hasLostClient
      try loop.runOnce()
      // A controller that is killed takes the guests along: its end came before theirs, and is heard of now.
      if client != nil, !hadLostClient, server.hasLostClient { try loop.runOnce(timeout: 0) }
      if hasSignal {
        hasSignal = false
        while let signal = signals.next() {
          if signal == SIGUSR1 { server.refreshSizes() } else { isStopping = true }
        }
      }
      if failure == nil { held.release(to: report) }
      if endsWithClient, hasLostSession, !server.isBusy { isStopping = true }
    }
    if let failure {
      // A controller that ends when its work is done goes after the guests. With one that is killed we hear
      // of both at once: then a guest that did not stop its ring was not done.
      let isDone = !server.isBusy && !(wasBusy && server.hasLostClient)
      if case .disconnected = failure, isDone { return nil }
      return "the controller ended the simulation: \(failure)"
    }
    return nil
  }
}

/// Lines that wait to be said.
private final class HeldLines {
  private var lines: [String] = []

  func append(_ line: String) { lines.append(line) }

  func release(to report: (String) -> Void) {
    for line in lines { report(line) }
    lines.removeAll(keepingCapacity: true)
  }
}
