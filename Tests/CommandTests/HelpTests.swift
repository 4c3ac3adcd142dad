// What the command says of itself.
import Testing

@Suite("ttblk's help") struct HelpTests {
  /// Every subcommand, and an option or argument of it.
  static let subcommands: [(path: [String], option: String)] = [
    (["run"], "--separate"), (["serve"], "--time-travel"), (["controller"], "--clients"),
    (["image", "create"], "--backing"), (["image", "info"], "--json"),
    (["image", "check"], "--strict"), (["image", "repair"], "--undo"),
    (["image", "restamp"], "--original"), (["image", "rebase"], "--unsafe"),
    (["image", "compact"], "--progress"), (["image", "upgrade"], "--output"),
    (["image", "resize"], "--shrink"), (["image", "snapshot", "list"], "--json"),
    (["model", "list"], "--json"), (["model", "run"], "--workload"), (["model", "plot"], "--output"),
    (["model", "check"], "--disk-size"), (["model", "fit"], "--job"),
    (["bench", "time-travel"], "--requests"),
  ]

  @Test("completion scripts know every subcommand and its options", arguments: ["bash", "zsh", "fish"])
  func completion(shell: String) throws {
    let outcome = try runCommand(["--generate-completion-script", shell])
    #expect(outcome.code == 0 && outcome.error.isEmpty)
    for (path, option) in Self.subcommands {
      for word in path { #expect(outcome.output.contains(word), "\(shell): \(word)") }
      // fish writes an option without its dashes.
      #expect(outcome.output.contains(option.drop { $0 == "-" }), "\(shell): \(path) \(option)")
    }
  }

  @Test("an unknown shell is refused, and the known ones are named") func unknownShell() throws {
    let outcome = try runCommand(["--generate-completion-script", "csh"])
    #expect(outcome.code == 64 && outcome.error.contains("csh"))
  }

  @Test("every subcommand has help, on standard output", arguments: subcommands)
  func help(path: [String], option: String) throws {
    let outcome = try runCommand(path + ["--help"])
    #expect(outcome.code == 0 && outcome.error.isEmpty)
    #expect(outcome.output.contains("USAGE: ttblk \(path.joined(separator: " "))"))
    #expect(outcome.output.contains(option))
  }

  @Test("the help of the command lists the exit codes") func exitCodes() throws {
    let outcome = try runCommand(["--help"])
    #expect(outcome.code == 0)
    let text = outcome.output.split { $0.isWhitespace }.joined(separator: " ")
    for code in ["0 done", "1 failed", "4 the image is in use", "64 wrong usage"] {
      #expect(text.contains(code))
    }
  }
}
