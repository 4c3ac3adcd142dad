// `ttblk controller`: simulated time for clients of other processes.
import Glibc
package import Linux
package import TimeTravel

/// Runs a controller until the simulation is over, or a signal comes.
package final class ControllerLoop {
  package let controller: Controller
  private let loop: EventLoop
  private var ending: Controller.Ending?

  package init(
    options: Controller.Options, path: String, loop: EventLoop, report: @escaping (String) -> Void
  ) throws(ServiceError) {
    self.loop = loop
    do throws(LinuxError) {
      controller = try Controller(options: options, path: path, loop: loop)
    } catch { throw .socket(path, error) }
    controller.log = report
    controller.onEnd = { [unowned self] in ending = $0 }
  }

  /// - Returns: nil when a signal ended it.
  package func run(signals: borrowing Signals) throws(LinuxError) -> Controller.Ending? {
    var isStopping = false
    let token = try loop.add(signals.descriptor.rawValue) { isStopping = true }
    defer { loop.remove(token) }
    while ending == nil, !isStopping { try loop.runOnce() }
    return ending
  }
}

/// The file in which every client's lines are, in order: each client has a descriptor that appends to it.
package final class ClientLog {
  package let descriptor: Descriptor

  package init(path: String) throws(LinuxError) {
    descriptor = Descriptor(
      owning: try retrying("open", path) { open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644) })
  }

  package func append(_ line: String) {
    writeText(line + "\n", to: descriptor.rawValue)
  }
}
