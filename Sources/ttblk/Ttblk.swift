// The command.
import ArgumentParser
import Glibc

@main
struct Ttblk: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ttblk",
    abstract: "Copy-on-write disks for simulated machines.",
    discussion: ExitCodes.table,
    version: "0.1.0",
    subcommands: [
      RunCommand.self, ServeCommand.self, ControllerCommand.self, ImageCommand.self, ModelCommand.self,
      BenchCommand.self,
    ])

  /// Every failure of ours is one line on standard error and a documented exit code.
  static func main() {
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch {
      guard let failure = CommandFailure(error) else { exit(withError: error) }
      warn(failure.line)
      Glibc.exit(failure.code.rawValue)
    }
  }
}
