// Why a run ended badly.
package import DiskImage
package import Linux

/// A run that did not get to its end, or whose end was bad.
package enum RunError: Error, CustomStringConvertible {
  case configuration(ConfigurationError)
  case image(DiskImageError)
  case service(ServiceError)
  case system(LinuxError)
  /// A process of a separate run did not start: how it ended, and its own line.
  case command(ExitStatus?, String)
  /// The output folder holds something else.
  case outputTaken(String)
  /// Nodes that panicked, hung, or ended badly: a line each, which names the node.
  case nodes([String])
  /// The simulation stopped by itself: a line each.
  case simulation([String])
  /// A signal asked us to stop.
  case interrupted

  package var description: String {
    switch self {
    case .configuration(let error): error.description
    case .image(let error): error.description
    case .service(let error): error.description
    case .system(let error): "cannot \(error)"
    case .command(_, let line): line
    case .outputTaken(let path):
      "output folder '\(path)' holds something that is not the output of a run: name another one by --output"
    case .nodes(let lines), .simulation(let lines): lines.joined(separator: "; ")
    case .interrupted: "interrupted"
    }
  }
}
