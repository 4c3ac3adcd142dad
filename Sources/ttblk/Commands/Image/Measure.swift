// ttblk image measure
import ArgumentParser
import BlockIO
import DiskImage
import Telemetry

struct ImageMeasureCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "measure",
    abstract: "Say how long a file would be that holds an image, or a disk of some length, in some format.",
    discussion: """
      'required' is for what is stored now, 'fully allocated' for when everything has been written to. Zeros \
      that are stored count as data; compression is not taken into account.
      """)

  @Argument(help: "The image; or give --size.", completion: .file())
  var image: String?

  @Option(help: ArgumentHelp("The length of a disk, instead of an image.", valueName: "bytes"))
  var size: ByteCount?

  @Option(help: "The format of the file to be made.")
  var to: ImageFormat

  @Option(help: "The format of the image, instead of a guess.")
  var format: ImageFormat?

  @Option(help: "Bytes in a cluster (qcow2): a power of two from 512 to 2M.")
  var clusterSize = ByteCount(bytes: 65536)

  @Flag(help: "Print JSON.")
  var json = false

  @OptionGroup var source: SourceOptions

  func validate() throws {
    try clusterSize.requireClusterSize()
    guard (image == nil) != (size == nil) else { throw ValidationError("name an image, or give --size") }
  }

  func run() throws {
    let clusterBits = UInt32(clusterSize.bytes.trailingZeroBitCount)
    let outcome: Measure.Outcome
    if let image {
      let input = try source.open(image, format: format, registry: makeRegistry())
      outcome = try Measure.image(input, as: to, clusterBits: clusterBits)
    } else {
      outcome = try Measure.disk(size?.bytes ?? 0, as: to, clusterBits: clusterBits)
    }
    if json {
      announce(
        JSONValue.object([
          "required": .unsigned(outcome.required), "fullyAllocated": .unsigned(outcome.fullyAllocated),
        ]).indented)
    } else {
      announce("required         \(ByteText.long(outcome.required))")
      announce("fully allocated  \(ByteText.long(outcome.fullyAllocated))")
    }
  }
}
