// The command.
import ArgumentParser

@main
struct Ttblk: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ttblk",
    abstract: "Copy-on-write disks for simulated machines.",
    discussion: ExitCodes.table,
    version: "0.1.0",
    subcommands: [ImageCommand.self])
}
