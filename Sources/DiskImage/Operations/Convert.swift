// A disk in another file.
package import BlockIO
import Linux

/// Copying a whole disk into a new file.
package enum Convert {
  /// Writes the contents of a disk, its backing images included, to a new raw file.
  ///
  /// Zeros become holes; blocks are shared with the files they come from where the file system can. The file
  /// appears when it is complete and on the medium; it is exactly as long as the disk.
  package static func toRaw(
    _ image: any DiskImage, path: String, replacing: Bool, registry: FileRegistry,
    engine: any BlockEngine = SynchronousEngine(), progress: Progress
  ) throws(DiskImageError) {
    var output = try OutputFile(path: path, replacing: replacing, inputs: image.files.map(\.identity))
    try output.create()
    do {
      let file = try registry.openFile(output.temporary, writable: true, lock: false)
      do throws(BlockIOError) { try file.setLength(image.exactSize) } catch { throw .file(error) }
      try progress.begin("copying", total: image.size)
      var sink = RawSink(file, size: image.exactSize, isFresh: true, engine: engine)
      let copier = Copier(image, progress: progress)
      try copier.copy(to: &sink)
      do throws(BlockIOError) { try engine.synchronize(file) } catch { throw .file(error) }
    }
    try output.publish()
  }
}
