// ttblk image create
import ArgumentParser
import BlockIO
import DiskImage

struct ImageCreateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create",
    abstract: "Make a COW file of a backing file.",
    discussion: """
      The COW file is empty at first: the disk is the backing file's. It holds the backing file's absolute \
      path, length and time of change; change the backing file, and the COW file is worthless.
      Limits: no existing file is replaced; the backing file is raw, more than 32 KiB and less than 8 TiB \
      long.
      """)

  @Argument(help: ArgumentHelp("The COW file to make.", valueName: "file.cow"), completion: .file())
  var path: String

  @Option(
    help: ArgumentHelp("The raw disk image or block device beneath.", valueName: "file"), completion: .file())
  var backing: String

  @Flag(help: "Accept a backing file of 32 KiB or less, which UML's own ubd driver does not survive.")
  var force = false

  func run() throws {
    let registry = FileRegistry()
    try UMLCOW.create(path: path, backing: backing, force: force, registry: registry)
    let image = try openImage(path: path, options: ImageOptions(readOnly: true), registry: registry)
    for warning in image.warnings { warn(warning) }
  }
}
