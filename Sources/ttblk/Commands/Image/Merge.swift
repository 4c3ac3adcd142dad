// ttblk image merge
import ArgumentParser
import BlockIO
import DiskImage

struct ImageMergeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "merge",
    abstract: "Write an image and all that is beneath it to one new raw file.",
    discussion: """
      As uml_moo does, and safe to interrupt: the new file appears under its name when it is complete and \
      on the medium. Zeros become holes; where the file system can, blocks are shared with the files they \
      come from. No input is changed.
      """)

  @Argument(help: "The image to read.", completion: .file())
  var image: String

  @Argument(help: "The raw file to make.", completion: .file())
  var output: String

  @Option(help: "The format of the image, instead of a guess.")
  var format: ImageFormat?

  @Option(help: ArgumentHelp("A backing file to use in place of the header's.", valueName: "file"))
  var backing: String?

  @Flag(help: "Replace the output if there is one.")
  var force = false

  @OptionGroup var source: SourceOptions
  @OptionGroup var progress: ProgressOptions

  func run() throws {
    let registry = makeRegistry()
    let progress = try progress.start("merge")
    let input = try source.open(image, format: format, backing: backing, registry: registry)
    try Convert(input, to: output, replacing: force, registry: registry, progress: progress).toRaw()
  }
}
