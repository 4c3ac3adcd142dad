// ttblk image rebase
import ArgumentParser
import BlockIO
import DiskImage
import Telemetry

struct ImageRebaseCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rebase",
    abstract: "Give an image another backing file.",
    discussion: """
      Of a UML COW file both backing files are as long as the disk; an empty name takes a qcow2 file its \
      backing file. If both paths of a COW file have more than 479 bytes, a loss of power within the very \
      last write may leave a path that does not exist; '--unsafe' puts that right.
      What the disk shows stays the same: where the two differ, and the image has nothing of its own, what \
      the old one shows is copied first. With --unsafe nothing is read or copied, and the old backing file \
      need not exist any more: for one that was moved. If it was not the same, the disk is worthless.
      May be interrupted, even by a loss of power, and repeated: until the end the old backing file counts.
      """)

  @Argument(help: "The COW or qcow2 file.", completion: .file())
  var file: String

  @Option(help: ArgumentHelp("The new backing file.", valueName: "file"), completion: .file())
  var backing: String

  @Option(help: "The format of the new backing file, instead of a guess.")
  var backingFormat: ImageFormat?

  @Flag(help: "Change only the path and the time in the header.")
  var unsafe = false

  @Flag(help: "Print JSON.")
  var json = false

  @OptionGroup var progress: ProgressOptions

  func run() throws {
    let outcome = try Rebase.run(
      path: file, backing: backing, backingFormat: backingFormat, unsafe: unsafe, registry: makeRegistry(),
      progress: try progress.start("rebase"))
    if json {
      let members: KeyValuePairs<String, JSONValue> = [
        "path": .string(file), "backing": .string(outcome.backing), "copied": .unsigned(outcome.copied),
      ]
      announce(JSONValue.object(members).indented)
    } else {
      let base = outcome.backing.isEmpty ? "without a backing file" : "on '\(outcome.backing)'"
      announce("\(file): now \(base), \(ByteText.long(outcome.copied)) copied")
    }
  }
}
