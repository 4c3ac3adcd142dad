// ttblk image compact
import ArgumentParser
import BlockIO
import DiskImage
import Telemetry

struct ImageCompactCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compact",
    abstract: "Make an image occupy less, in place; it shows the same.",
    discussion: """
      The file becomes no shorter, only sparser: the file system must know holes. Blocks of 4 KiB of zeros \
      become holes; a COW file lets go of pages that are the same as its backing file's, and of data that no \
      bit claims. A raw image keeps its time of change, which COW files on top of it hold.
      May be interrupted, even by a loss of power, and repeated. UML COW files of older versions: 'upgrade'.
      """)

  @Argument(help: "The disk image.", completion: .file())
  var file: String

  @Option(help: "The format, instead of a guess.")
  var format: ImageFormat?

  @Flag(help: "Print JSON.")
  var json = false

  @OptionGroup var progress: ProgressOptions

  func run() throws {
    let outcome = try Compact.run(
      path: file, format: format, registry: makeRegistry(), progress: try progress.start("compact"))
    if json {
      let members: KeyValuePairs<String, JSONValue> = [
        "path": .string(file), "before": .unsigned(outcome.before), "after": .unsigned(outcome.after),
        "freed": .unsigned(outcome.freed),
      ]
      announce(JSONValue.object(members).indented)
    } else {
      announce(
        "\(file): \(ByteText.long(outcome.freed)) given back, occupies \(ByteText.long(outcome.after))")
    }
  }
}
