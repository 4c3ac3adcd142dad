// A disk into its own backing file.
package import BlockIO

/// Writing what an image has of its own into its backing image, and emptying it.
package enum Commit {
  /// What a commit did.
  package struct Outcome: Equatable, Sendable {
    /// The file that was written to.
    package let backing: String
    /// Bytes of the disk that the image had of its own.
    package let count: UInt64
    /// Whether it went on with one that was interrupted.
    package let wasContinued: Bool
  }

  /// Commits an image into its backing image, both of which nobody else uses meanwhile.
  ///
  /// It may be interrupted at any moment, also by a loss of power, and be called again: the image is refused
  /// by others until then, and nothing is lost, since the image keeps what it has until the backing image has
  /// it on the medium.
  /// - Parameter keepingSpace: let an emptied UML COW file keep the space of its sectors, for its next
  ///   ones; file
  ///   systems take long to take it back. A compaction gives it back later.
  package static func run(
    path: String, format: ImageFormat? = nil, keepingSpace: Bool = false, registry: FileRegistry,
    engine: any BlockEngine = SynchronousEngine(), progress: Progress
  ) throws(DiskImageError) -> Outcome {
    let (file, found) = try openOperationFile(
      path, format: format, writable: true, registry: registry, engine: engine)
    switch found {
    case .qcow2:
      return try QCOW2.commit(file, registry: registry, engine: engine, progress: progress)
    case .umlCOW:
      return try UMLCOW.commit(
        file, keepingSpace: keepingSpace, registry: registry, engine: engine, progress: progress)
    case .raw:
      throw .unsuitable(path: path, reason: "is raw and has no backing file: there is nothing to commit")
    }
  }

  /// Writes what a disk has of its own into its backing image, and makes it durable.
  /// - Returns: how many bytes of the disk that are.
  static func copyOwn(
    _ disk: any DiskImage, to backing: any DiskImage, engine: any BlockEngine, progress: Progress
  ) throws(DiskImageError) -> UInt64 {
    try progress.begin("committing", total: disk.size)
    guard backing.format == .raw, let file = backing.files.first else {
      let sink = ImageSink(backing, isFresh: false)
      let count = try Copier(disk, progress: progress).copyOwn(to: sink)
      try backing.close()
      return count
    }
    // On one thread: an image's own data is in short runs, and to wake another one for each takes longer
    // (measured: 0.9 s for 1 GiB in runs of 64 KiB, 0.6 s on one).
    let sink = RawSink(file, size: backing.exactSize, isFresh: false, engine: engine)
    let count = try Copier(disk, progress: progress).copyOwn(to: sink)
    do throws(BlockIOError) { try engine.synchronize(file) } catch { throw .file(error) }
    return count
  }

  /// A guest may have written the first bytes of another format; whoever guesses the backing file's format
  /// would follow them.
  /// Asked before anything is changed.
  static func requireNoDisguise(_ disk: any DiskImage, on backing: any DiskImage) throws(DiskImageError) {
    guard backing.format == .raw else { return }
    let bytes = try disk.readBytes(at: 0, count: min(disk.size, UInt64(Probe.byteCount)))
    guard Probe.examine(bytes) == .format(.raw) else { throw .wouldChangeFormat(path: backing.path) }
  }
}
