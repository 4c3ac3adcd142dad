// ttblk image create
import ArgumentParser
import BlockIO
import DiskImage

struct ImageCreateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create",
    abstract: "Make an image: a COW file of a backing file, a qcow2 file, or a raw one.",
    discussion: """
      With --backing the image is a UML COW file unless --format says qcow2; without, a raw file of \
      --size. A COW file is empty at first: the disk is the backing file's. It holds the backing file's \
      absolute path, length and time of change; change the backing file, and the COW file is worthless.
      Limits: no existing file is replaced; the backing file of a COW file is more than 32 KiB and less \
      than 8 TiB long.
      """)

  enum Space: String, ExpressibleByArgument, CaseIterable {
    case sparse, full, reflink
  }

  @Argument(help: ArgumentHelp("The file to make.", valueName: "file"), completion: .file())
  var path: String

  @Option(
    help: ArgumentHelp("The disk image or block device beneath.", valueName: "file"), completion: .file())
  var backing: String?

  @Option(help: "The format of the backing file, instead of a guess.")
  var backingFormat: ImageFormat?

  @Option(help: "The format of the new file: uml-cow with --backing, else raw, unless said otherwise.")
  var format: ImageFormat?

  @Option(
    help: ArgumentHelp(
      "How long the disk is: 64M, 4G; a COW file is as long as its backing file.", valueName: "bytes"))
  var size: ByteCount?

  @Option(
    help: """
      sparse: space is taken when it is written (default); full: all of it now, so that no write finds the \
      file system full (raw and uml-cow); reflink: a raw copy of --backing that shares its blocks, where \
      the file system can.
      """)
  var space = Space.sparse

  @Option(help: "Bytes in a cluster (qcow2): a power of two from 512 to 2M.")
  var clusterSize = ByteCount(bytes: 65536)

  @Flag(help: "Accept a backing file of 32 KiB or less, which UML's own ubd driver does not survive.")
  var force = false

  func validate() throws {
    try clusterSize.requireClusterSize()
    switch kind {
    case .raw:
      if space == .reflink {
        guard backing != nil, size == nil else {
          throw ValidationError("--space reflink copies --backing, and takes its size")
        }
      } else if backing != nil {
        throw ValidationError("a raw file has no backing file: name another --format, or --space reflink")
      } else if size == nil {
        throw ValidationError("say how long the disk is (--size), or what is beneath it (--backing)")
      }
    case .umlCOW:
      guard backing != nil else { throw ValidationError("a uml-cow file needs --backing") }
      guard size == nil else { throw ValidationError("a uml-cow file is as long as its backing file") }
    case .qcow2:
      guard backing != nil || size != nil else {
        throw ValidationError("say how long the disk is (--size), or what is beneath it (--backing)")
      }
      guard space == .sparse else { throw ValidationError("a qcow2 file is made sparse only") }
    }
    guard kind == .raw || space != .reflink else {
      throw ValidationError("--space reflink makes a raw copy of --backing")
    }
  }

  private var kind: ImageFormat { format ?? (backing == nil || space == .reflink ? .raw : .umlCOW) }

  func run() throws {
    let registry = makeRegistry()
    switch kind {
    case .raw:
      if let size {
        try Create.raw(path: path, size: size.bytes, full: space == .full, registry: registry)
      } else {
        try Create.reflink(path: path, of: backing ?? "", registry: registry)
      }
    case .qcow2:
      let beneath = try backing.map {
        try QCOW2.Backing($0, format: backingFormat, for: path, registry: registry)
      }
      try QCOW2.create(
        path: path, size: size?.bytes, clusterBits: UInt32(clusterSize.bytes.trailingZeroBitCount),
        backing: beneath, registry: registry)
    case .umlCOW:
      try UMLCOW.create(
        path: path, backing: backing ?? "", format: backingFormat, force: force, full: space == .full,
        registry: registry)
    }
    let image = try openImage(
      path: path, options: ImageOptions(format: kind, readOnly: true), registry: registry)
    for warning in image.warnings { warn(warning) }
  }
}
