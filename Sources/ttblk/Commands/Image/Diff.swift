// ttblk image diff
import ArgumentParser
import BlockIO
import DiskImage
import Telemetry

struct ImageDiffCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "diff",
    abstract: "List the ranges in which an image differs from its backing file, or from another image.",
    discussion: """
      Prints offset and length of each range, in bytes, in units of 512 bytes or as --unit says. Blocks \
      that an image has of its own and that say the same are no difference. Ends with 0 whether there are \
      any or not.
      """)

  @Argument(help: "The image.", completion: .file())
  var image: String

  @Argument(help: "Another image to compare with, instead of the backing file.", completion: .file())
  var other: String?

  @Option(help: "The format of the image, instead of a guess.")
  var format: ImageFormat?

  @Option(help: "The format of the other image, instead of a guess.")
  var otherFormat: ImageFormat?

  @Option(help: "What is listed as different at least: 512, 4k, 64k, …")
  var unit = ByteCount(bytes: 512)

  @Flag(help: "Print JSON.")
  var json = false

  @OptionGroup var source: SourceOptions
  @OptionGroup var progress: ProgressOptions

  func validate() throws {
    guard (512...(1 << 30)).contains(unit.bytes), unit.bytes.nonzeroBitCount == 1 else {
      throw ValidationError("--unit is a power of two from 512 to 1G")
    }
  }

  func run() throws {
    let registry = makeRegistry()
    let progress = try progress.start("diff")
    let one = try source.open(image, format: format, registry: registry)
    let two: any DiskImage
    if let other {
      two = try source.open(other, format: otherFormat, registry: registry)
    } else if let backing = one.backing {
      two = backing
    } else {
      throw CommandFailure(.usage, "'\(image)' has no backing file: name another image to compare it with")
    }
    var list = RecordList(json: json)
    try Comparison(one, two, progress: progress).differences(unit: Int(unit.bytes)) { range in
      list.add([
        .init("start", .unsigned(range.lowerBound)),
        .init("length", .unsigned(range.upperBound - range.lowerBound)),
      ])
    }
    list.finish()
  }
}
