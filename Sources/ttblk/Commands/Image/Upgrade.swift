// ttblk image upgrade
import ArgumentParser
import BlockIO
import DiskImage
import Telemetry

struct ImageUpgradeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "upgrade",
    abstract: "Bring a UML COW or qcow2 file of an old version to the current one.",
    discussion: """
      The backing file must be there and be the right one: pages that the old file has only in part are \
      completed from it. Sectors without a bit, at the end of a disk of version 1 or 2, are the backing \
      file's, as they were.
      The new file (version 3, sectors of 512 bytes, aligned to 4096) appears when it is complete and \
      compared with the old one. Without --output it takes the old file's name, and the old one is kept as \
      FILE.v1, FILE.v2 or FILE.v3; nothing is ever overwritten. A file that is current already stays as it is.
      A qcow2 file of version 2 gets a header of version 3 in place.
      """)

  @Argument(help: "The COW file.", completion: .file())
  var file: String

  @Option(help: ArgumentHelp("The new file, which must not exist.", valueName: "file"), completion: .file())
  var output: String?

  @Option(
    help: ArgumentHelp("A backing file to use in place of the header's.", valueName: "file"),
    completion: .file())
  var backing: String?

  @Flag(help: "Print JSON.")
  var json = false

  @OptionGroup var progress: ProgressOptions

  func run() throws {
    let outcome = try Upgrade.run(
      path: file, output: output, backing: backing, registry: makeRegistry(),
      progress: try progress.start("upgrade"))
    if json {
      let members: KeyValuePairs<String, JSONValue> = [
        "path": .string(file), "version": .string(outcome.version),
        "output": outcome.output.map { .string($0) } ?? .null,
        "kept": outcome.kept.map { .string($0) } ?? .null,
      ]
      return announce(JSONValue.object(members).indented)
    }
    guard let made = outcome.output else { return announce("\(file): is current, nothing to do") }
    let kept = outcome.kept.map { ", the old file is '\($0)'" } ?? ""
    announce("\(file): version \(outcome.version) rewritten as '\(made)'\(kept)")
  }
}
