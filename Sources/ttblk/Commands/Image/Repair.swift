// ttblk image repair
import ArgumentParser
import BlockIO
import DiskImage
import Linux
import Telemetry

struct ImageRepairCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "repair",
    abstract: "Put right what 'check' finds, as far as that is possible.",
    discussion: """
      What is missing cannot be brought back, and a changed backing file is a matter for 'restamp' or \
      'rebase'. UML COW files of version 3 (others: 'upgrade'), and qcow2.
      Always: bits of sectors that do not exist are cleared, and a file that is too short though nothing is \
      missing gets its length. On demand: pages that are in the file only in part are completed from the \
      backing file (--mixed-pages), and data that no bit claims is given back (--leaks); after a crash of \
      the host such data may be the guest's latest, which cannot be told. Of a qcow2 file counts, flags \
      and marks are put right, and clusters that nothing refers to are given back (--leaks).
      Before the first change, what will be changed is saved in FILE.repair-DATE-TIME (UTC), which --undo \
      takes as long as the image was not written to since (UML COW files only). The repair may be \
      interrupted, even by a loss of power, and repeated. Ends with 2 if damage remains.
      """)

  @Argument(help: "The disk image.", completion: .file())
  var file: String

  @Option(help: "The format, instead of a guess.")
  var format: ImageFormat?

  @Flag(help: "Complete pages that are in the file only in part.")
  var mixedPages = false

  @Flag(help: "Give back the space of data that no bit claims.")
  var leaks = false

  @Flag(help: "All of these.")
  var all = false

  @Flag(help: "Change nothing, only say what would be done.")
  var dryRun = false

  @Option(
    help: ArgumentHelp("Put back what a repair saved in this file, and repair nothing.", valueName: "saved"),
    completion: .file())
  var undo: String?

  @Flag(help: "Print JSON.")
  var json = false

  @OptionGroup var progress: ProgressOptions

  func run() throws {
    let registry = makeRegistry()
    if let undo {
      guard !(mixedPages || leaks || all || dryRun) else {
        throw CommandFailure(.usage, "--undo repairs nothing: leave the other options out")
      }
      return try Repair.undo(path: file, from: undo, registry: registry)
    }
    let options = Repair.Options(mixedPages: mixedPages || all, leaks: leaks || all, dryRun: dryRun)
    let outcome = try Repair.run(
      path: file, options: options, format: format, savingTo: savedPath, registry: registry,
      progress: try progress.start("repair"))
    announce(json ? outcome.json(dryRun: dryRun).indented : outcome.text(path: file, dryRun: dryRun))
    if outcome.remaining.contains(where: { $0.severity == .damage }) {
      throw ExitCode(ExitCodes.negative.rawValue)
    }
  }

  /// A name that is not taken, also when two repairs begin within a second.
  private var savedPath: String {
    let path = Repair.savedStart(of: file) + UTCTime.now.compact
    var candidate = path
    var number = 2
    while fileExists(candidate) {
      candidate = "\(path)-\(number)"
      number += 1
    }
    return candidate
  }
}

extension Repair.Outcome {
  fileprivate func json(dryRun: Bool) -> JSONValue {
    .object([
      "dryRun": .bool(dryRun), "repaired": .array(repaired.map(\.json)),
      "remaining": .array(remaining.map(\.json)), "saved": saved.map { .string($0) } ?? .null,
    ])
  }

  fileprivate func text(path: String, dryRun: Bool) -> String {
    var lines = repaired.map { "\(dryRun ? "would repair" : "repaired"): \($0.text)" }
    lines += remaining.map { "remains: \($0.text)" }
    if let saved { lines.append("what was changed is saved in '\(saved)'") }
    if repaired.isEmpty { lines.append("\(path): nothing was repaired") }
    return lines.joined(separator: "\n")
  }
}
