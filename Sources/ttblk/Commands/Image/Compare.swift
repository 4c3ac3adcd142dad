// ttblk image compare
import ArgumentParser
import BlockIO
import DiskImage
import Telemetry

struct ImageCompareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare",
    abstract: "Say whether two images show the same.",
    discussion: """
      Ends with 0 when they do, with 2 when they differ, and says where first. A shorter image may be \
      followed by zeros, unless --strict.
      """)

  @Argument(help: "One image.", completion: .file())
  var first: String

  @Argument(help: "The other one.", completion: .file())
  var second: String

  @Option(help: "The format of the first image, instead of a guess.")
  var firstFormat: ImageFormat?

  @Option(help: "The format of the second image, instead of a guess.")
  var secondFormat: ImageFormat?

  @Flag(help: "Images of different lengths differ.")
  var strict = false

  @Flag(help: "Print JSON.")
  var json = false

  @OptionGroup var source: SourceOptions
  @OptionGroup var progress: ProgressOptions

  func run() throws {
    let registry = makeRegistry()
    let progress = try progress.start("compare")
    let one = try source.open(first, format: firstFormat, registry: registry)
    let two = try source.open(second, format: secondFormat, registry: registry)
    var difference = try Comparison(one, two, progress: progress).firstDifference()
    if strict, one.exactSize != two.exactSize {
      difference = min(difference ?? .max, min(one.exactSize, two.exactSize))
    }
    if json {
      announce(
        JSONValue.object([
          "same": .bool(difference == nil),
          "firstDifference": difference.map { .unsigned($0) } ?? .null,
          "sizes": .array([.unsigned(one.exactSize), .unsigned(two.exactSize)]),
        ]).indented)
    } else if let difference {
      announce("the images differ first at \(difference)")
    } else {
      announce("the images are the same")
    }
    if difference != nil { throw ExitCode(ExitCodes.negative.rawValue) }
  }
}
