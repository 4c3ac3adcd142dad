// ttblk image commit
import ArgumentParser
import BlockIO
import DiskImage
import Telemetry

struct ImageCommitCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "commit",
    abstract: "Write what an image has of its own into its backing file, and empty the image.",
    discussion: """
      The backing file is changed: every other image on top of it becomes worthless. When the command is \
      done, the image is empty and fits the changed backing file. It may be interrupted, even by a loss of \
      power: until it is called again and done, the image is refused, and nothing is lost.
      """)

  @Argument(help: "The image to commit.", completion: .file())
  var image: String

  @Option(help: "The format of the image, instead of a guess.")
  var format: ImageFormat?

  @Flag(
    help: """
      Let a UML COW file keep its space, for what is written to it next: file systems take long to take it \
      back. 'compact' gives it back later.
      """)
  var keepSpace = false

  @Flag(help: "Print what was done as JSON.")
  var json = false

  @OptionGroup var progress: ProgressOptions

  func run() throws {
    let progress = try progress.start("commit")
    let outcome = try Commit.run(
      path: image, format: format, keepingSpace: keepSpace, registry: makeRegistry(), progress: progress)
    guard json else { return }
    announce(
      JSONValue.object([
        "image": .string(image), "backing": .string(outcome.backing), "committed": .unsigned(outcome.count),
        "continued": .bool(outcome.wasContinued),
      ]).indented)
  }
}
