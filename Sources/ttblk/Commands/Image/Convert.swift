// ttblk image convert
import ArgumentParser
import BlockIO
import DiskImage

struct ImageConvertCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "convert",
    abstract: "Write what an image shows to a new file of any format.",
    discussion: """
      Reads raw, UML COW and qcow2, with all that is beneath; writes raw, qcow2 of version 3, and UML COW \
      of version 3. With --backing the new file holds only what differs from that file (qcow2 and uml-cow; \
      a uml-cow file needs one, of the same length). Internal snapshots, dirty bitmaps and encryption are \
      not carried over. The new file appears when it is complete and on the medium; no input is changed.
      """)

  @Argument(help: "The image to read.", completion: .file())
  var image: String

  @Argument(help: "The file to make.", completion: .file())
  var output: String

  @Option(name: .long, help: "The format of the new file.")
  var to: ImageFormat

  @Option(help: "The format of the image, instead of a guess.")
  var format: ImageFormat?

  @Option(
    help: ArgumentHelp("An internal snapshot of a qcow2 image to read, by id or name.", valueName: "name"))
  var snapshot: String?

  @Option(
    help: ArgumentHelp(
      "What the new file stands on; a relative path is seen from here, and stored as seen from the new file.",
      valueName: "file"),
    completion: .file())
  var backing: String?

  @Option(help: "The format of the backing file, instead of a guess.")
  var backingFormat: ImageFormat?

  @Option(help: "Compress clusters (qcow2): deflate or zstd.")
  var compress: CompressedCluster.Method?

  @Option(help: ArgumentHelp("How hard to compress: deflate 1 to 9 (6), zstd 1 to 19 (3).", valueName: "n"))
  var level: Int32?

  @Option(help: "Bytes in a cluster (qcow2): a power of two from 512 to 2M.")
  var clusterSize = ByteCount(bytes: 65536)

  @Flag(help: "Replace the output if there is one.")
  var force = false

  @OptionGroup var source: SourceOptions
  @OptionGroup var progress: ProgressOptions

  func validate() throws {
    try clusterSize.requireClusterSize()
    guard to == .qcow2 || compress == nil else { throw ValidationError("only qcow2 has compressed clusters") }
    guard compress == nil || backing == nil else {
      throw ValidationError("--compress and --backing do not go together")
    }
    guard to != .raw || backing == nil else { throw ValidationError("a raw file has no backing file") }
    guard to != .umlCOW || backing != nil else { throw ValidationError("a uml-cow file needs --backing") }
    if let level {
      guard let compress, (1...(compress == .deflate ? 9 : 19)).contains(level) else {
        throw ValidationError("--level goes with --compress: deflate has 1 to 9, zstd 1 to 19")
      }
    }
  }

  func run() throws {
    let registry = makeRegistry()
    let progress = try progress.start("convert")
    let input = try source.open(image, format: format, snapshot: snapshot, registry: registry)
    let conversion = Convert(input, to: output, replacing: force, registry: registry, progress: progress)
    switch to {
    case .raw: try conversion.toRaw()
    case .qcow2: try conversion.toQCOW2(try qcow2Options(registry))
    case .umlCOW: try conversion.toCOW(backing: backing ?? "", format: backingFormat)
    }
  }

  private func qcow2Options(_ registry: FileRegistry) throws -> Convert.QCOW2Options {
    var options = Convert.QCOW2Options()
    options.clusterBits = UInt32(clusterSize.bytes.trailingZeroBitCount)
    options.compression = compress
    options.level = level
    if let backing {
      options.backing = try QCOW2.Backing(
        backing, format: backingFormat, for: output, registry: registry)
    }
    return options
  }
}

extension CompressedCluster.Method: ExpressibleByArgument {
  public init?(argument: String) {
    switch argument {
    case "deflate", "zlib": self = .deflate
    case "zstd": self = .zstd
    default: return nil
    }
  }

  public static var allValueStrings: [String] { ["deflate", "zstd"] }
}
