// A qcow2 file into its backing file.
import BlockIO

extension QCOW2 {
  /// The backing image gets everything and is on the medium before the qcow2 file loses anything. Interrupted
  /// at any moment the disk shows the same, and doing it again does no harm.
  static func commit(
    _ file: ImageFile, registry: FileRegistry, engine: any BlockEngine, progress: Progress
  ) throws(DiskImageError) -> Commit.Outcome {
    try growBacking(of: file, registry: registry, engine: engine)
    var options = ImageOptions(format: .qcow2)
    options.writesBacking = true
    let disk = try open(file, options: options, registry: registry, engine: engine, chain: try chain(file))
    guard let backing = disk.backing else { throw nothingBeneath(file) }
    let name = backing.path
    try Commit.requireNoDisguise(disk, on: backing)
    let count = try Commit.copyOwn(disk, to: backing, engine: engine, progress: progress)
    try disk.makeEmpty()
    try disk.close()
    return Commit.Outcome(backing: name, count: count, wasContinued: false)
  }

  private static func chain(_ file: ImageFile) throws(DiskImageError) -> Chain {
    try Chain().adding(file.identity, path: file.path)
  }

  private static func nothingBeneath(_ file: ImageFile) -> DiskImageError {
    .unsuitable(path: file.path, reason: "has no backing file: there is nothing to commit")
  }

  /// Makes a backing image as long as the disk, if it is shorter; what is new reads as zeros, as before.
  private static func growBacking(
    of file: ImageFile, registry: FileRegistry, engine: any BlockEngine
  ) throws(DiskImageError) {
    let options = ImageOptions(format: .qcow2, readOnly: true, lock: false)
    let (name, format, size): (String, ImageFormat, UInt64)
    do {
      let disk = try open(file, options: options, registry: registry, engine: engine, chain: try chain(file))
      guard let backing = disk.backing else { throw nothingBeneath(file) }
      guard backing.size < disk.size else { return }
      (name, format, size) = (backing.path, backing.format, disk.size)
    }
    let backing = try openImage(
      path: name, options: ImageOptions(format: format), registry: registry, engine: engine, chain: Chain(),
      lockStyle: .qemu)
    switch backing {
    case let backing as Disk: try backing.resize(to: size)
    case is RawDisk:
      do throws(BlockIOError) { try backing.files[0].setLength(size) } catch { throw .file(error) }
    default:
      throw .unsuitable(
        path: name,
        reason: "is shorter than the disk above it, and its format cannot grow: merge to a new file")
    }
    try backing.close()
  }
}
