// Named copies of an image.
package import BlockIO
import Glibc
import Linux

/// Named copies of an image file beside it: `FILE@NAME`, each an image of its own.
///
/// A copy shares its blocks with the file where the file system can (FICLONERANGE), and is sparse elsewhere.
/// A copy of a COW file stands on the same backing file.
package enum Snapshot {
  /// Where a snapshot is.
  package enum Kind: Equatable, Sendable {
    /// A file of its own: its length, and the bytes that it occupies, those that it shares included.
    case file(size: UInt64, allocated: UInt64)
    /// Within a qcow2 file, by this id: the length of its disk.
    case `internal`(identifier: String, diskSize: UInt64)
  }

  /// What is known of a snapshot.
  package struct Entry: Equatable, Sendable {
    /// Without the name of the image.
    package let name: String
    /// Where it is.
    package let kind: Kind
    /// The file that it is in.
    package let path: String
    /// When it was made or last written to, in seconds since 1970.
    package let modified: Int64
    /// Why it cannot be opened, with the remedy; nil when it can.
    package let problem: String?
  }

  /// Copies an image; refused while somebody writes to it.
  package static func create(
    of path: String, name: String, registry: FileRegistry, engine: any BlockEngine = SynchronousEngine(),
    progress: Progress
  ) throws(DiskImageError) {
    let target = try snapshotPath(of: path, name)
    try completeForCopy(path, registry: registry, engine: engine)
    let (file, _) = try openOperationFile(
      path, format: nil, writable: false, registry: registry, engine: engine)
    guard !file.isBlockDevice else {
      throw .unsuitable(path: path, reason: "is a block device: a snapshot is a copy of a file")
    }
    try copy(file, to: target, replacing: false, registry: registry, engine: engine, progress: progress)
  }

  /// The snapshots of an image: those within it, and then those beside it by name. The image itself need not
  /// exist, nor make sense: it may be the one to be replaced by a snapshot.
  package static func list(
    of path: String, registry: FileRegistry, engine: any BlockEngine = SynchronousEngine()
  ) throws(DiskImageError) -> [Entry] {
    let folder = directoryName(path)
    let prefix = baseName(path) + "@"
    let names: [String]
    do throws(LinuxError) { names = try directoryEntries(folder) } catch { throw .system(error) }
    var entries = (try? internalEntries(of: path, registry: registry, engine: engine)) ?? []
    for file in names where file.hasPrefix(prefix) {
      let name = String(file.dropFirst(prefix.count))
      guard defect(of: name) == nil else { continue }
      let place = path.contains("/") ? "\(folder == "/" ? "" : folder)/\(file)" : file
      guard let status = try? registry.status(of: place), !status.isBlockDevice else { continue }
      entries.append(
        Entry(
          name: name, kind: .file(size: status.size, allocated: status.allocated), path: place,
          modified: status.modified, problem: problem(of: place, registry: registry, engine: engine)))
    }
    return entries
  }

  private static func internalEntries(
    of path: String, registry: FileRegistry, engine: any BlockEngine
  ) throws(DiskImageError) -> [Entry] {
    let (file, format) = try openOperationFile(
      path, format: nil, writable: false, lock: false, registry: registry, engine: engine)
    guard format == .qcow2 else { return [] }
    let header = try QCOW2.readHeader(file, engine: engine)
    var entries: [Entry] = []
    for one in try QCOW2.readSnapshots(header, of: file, engine: engine) {
      var problem: String?
      let options = ImageOptions(format: .qcow2, readOnly: true, lock: false, snapshot: one.identifier)
      do throws(DiskImageError) {
        _ = try openImage(path: path, options: options, registry: registry, engine: engine)
      } catch { problem = error.description }
      entries.append(
        Entry(
          name: one.name, kind: .internal(identifier: one.identifier, diskSize: one.size), path: path,
          modified: Int64(one.taken), problem: problem))
    }
    return entries
  }

  /// Puts a copy of a snapshot in the place of the image, which nobody uses meanwhile and whose contents are
  /// lost.
  ///
  /// The image is the old one or the new one at every moment, also when the power goes.
  package static func apply(
    to path: String, name: String, registry: FileRegistry, engine: any BlockEngine = SynchronousEngine(),
    progress: Progress
  ) throws(DiskImageError) {
    let source = try snapshotPath(of: path, name)
    let (file, _) = try openOperationFile(
      source, format: nil, writable: false, registry: registry, engine: engine)
    if let problem = problem(of: source, registry: registry, engine: engine) {
      throw .unsuitable(path: source, reason: "cannot be opened, and would replace the image: \(problem)")
    }
    // Held until the name stands for the new file.
    let former =
      access(path, F_OK) == 0
      ? try openOperationFile(path, format: nil, writable: true, registry: registry, engine: engine).file
      : nil
    guard former?.isBlockDevice != true else {
      throw .unsuitable(path: path, reason: "is a block device: a snapshot replaces a file")
    }
    try copy(file, to: path, replacing: true, registry: registry, engine: engine, progress: progress)
  }

  /// Removes a snapshot that nobody uses.
  package static func delete(
    of path: String, name: String, registry: FileRegistry, engine: any BlockEngine = SynchronousEngine()
  ) throws(DiskImageError) {
    let place = try snapshotPath(of: path, name)
    // Whoever reads it has a lock, too. Its contents do not matter any more, nor what they look like.
    let file = try registry.openFile(place, writable: true, lock: true)
    guard !file.isBlockDevice else {
      throw .unsuitable(path: place, reason: "is a block device, and no snapshot")
    }
    do throws(LinuxError) {
      _ = try retrying("unlink", place) { unlink(place) }
      try synchronize(directoryName(place))
    } catch { throw .system(error) }
  }

  private static func snapshotPath(of path: String, _ name: String) throws(DiskImageError) -> String {
    if let defect = defect(of: name) {
      throw .unsuitable(path: name, reason: "is no name for a snapshot: \(defect)")
    }
    return "\(path)@\(name)"
  }

  /// What a name must not be, so that each snapshot belongs to one image, and none is a temporary file.
  private static func defect(of name: String) -> String? {
    if name.isEmpty { return "it is empty" }
    if name.utf8.contains(where: { $0 < 32 || $0 == 127 }) { return "it has control characters" }
    if name.contains("/") || name.contains("@") { return "it has a slash or an @" }
    if name.contains(".new-") { return "'.new-' marks temporary files" }
    if name.contains(".repair-") { return "'.repair-' marks what a repair saved" }
    if name.utf8.count > 128 { return "it has more than 128 bytes" }
    return nil
  }

  private static func problem(
    of path: String, registry: FileRegistry, engine: any BlockEngine
  ) -> String? {
    do throws(DiskImageError) {
      return try ImageInfo(path: path, registry: registry, engine: engine).cow?.problem
    } catch { return error.description }
  }

  private static func copy(
    _ source: ImageFile, to path: String, replacing: Bool, registry: FileRegistry, engine: any BlockEngine,
    progress: Progress
  ) throws(DiskImageError) {
    var output = try OutputFile(path: path, replacing: replacing, inputs: [source.identity])
    try output.create(like: source)
    do {
      let target = try registry.openFile(output.temporary, writable: true, lock: false)
      try progress.begin("copying", total: source.size)
      // Zero bytes stand for all that follow (ioctl_ficlonerange(2)).
      if !target.share(source, at: 0, count: 0, to: 0) {
        do throws(BlockIOError) { try target.setLength(source.size) } catch { throw .file(error) }
        let image = RawDisk(source, readOnly: true, wasGuessed: false, engine: engine)
        let sink = RawSink(target, size: source.size, isFresh: true, engine: engine)
        let copier = Copier(image, progress: progress)
        try copier.copy(to: sink)
      }
      do throws(BlockIOError) { try engine.synchronize(target) } catch { throw .file(error) }
    }
    try output.publish()
  }
}
