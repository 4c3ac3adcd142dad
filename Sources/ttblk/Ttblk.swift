// The command.
import ArgumentParser
import Glibc
import Linux
import Scenario

@main
struct Ttblk: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ttblk",
    abstract: "Copy-on-write disks for simulated machines.",
    discussion: """
      Exit codes: 0 done; 1 the operation failed; 3 an image is refused; 4 an image is locked; 5 a guest panicked, \
      hung or ended badly; 6 the simulation cannot go on; 64 wrong arguments or configuration.
      """,
    version: "0.1.0",
    subcommands: [ServeCommand.self, ControllerCommand.self])

  /// Every failure is one line on standard error and a documented exit code.
  static func main() {
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch {
      let failure: CommandFailure
      switch error {
      case let error as CommandFailure: failure = error
      case let error as ServiceError: failure = CommandFailure(error)
      case let error as LinuxError: failure = CommandFailure(error)
      case let error as ConfigurationError: failure = CommandFailure(error)
      default: exit(withError: error)
      }
      warn(failure.line)
      Glibc.exit(failure.code.rawValue)
    }
  }
}
