// Making a COW file.
package import BlockIO
import CLinux
import Glibc
import Linux

extension UMLCOW {
  /// Makes a COW file of version 3 that changes nothing yet.
  ///
  /// The path of the backing file is stored as UML stores it: absolute, the folder without symbolic links,
  /// the name as given. The file appears under its name when it is complete, and never replaces another; what
  /// was made is removed if anything fails.
  /// - Parameters:
  ///   - format: of the backing file, where it is known.
  ///   - full: take the space of the whole disk at once, so that no later write finds the file system full.
  ///   - force: accept a backing file so small that UML's ubd would die of it.
  package static func create(
    path: String, backing: String, format: ImageFormat? = nil, force: Bool = false, full: Bool = false,
    registry: FileRegistry,
    engine: any BlockEngine = SynchronousEngine()
  ) throws(DiskImageError) {
    var output = try OutputFile(path: path)
    try fill(
      output, backing: backing, format: format, force: force, full: full, registry: registry, engine: engine)
    try output.publish()
  }

  /// Writes a COW file that changes nothing yet under its temporary name.
  static func fill(
    _ output: borrowing OutputFile, backing: String, format: ImageFormat?, force: Bool, full: Bool = false,
    like model: ImageFile? = nil, registry: FileRegistry, engine: any BlockEngine
  ) throws(DiskImageError) {
    let header = try makeHeader(
      backing: backing, format: format, force: force, registry: registry, engine: engine)
    try output.fill(like: model) { (file, name) throws(LinuxError) in
      let size = try putHeader(header, to: file, name)
      if full {
        _ = try retrying("fallocate", name) { CLinux_fallocate_keep_size(file.rawValue, 0, Int64(size)) }
      }
    }
  }

  private static func makeHeader(
    backing: String, format: ImageFormat?, force: Bool, registry: FileRegistry, engine: any BlockEngine
  ) throws(DiskImageError) -> Header {
    // The lock tells whether somebody is writing to it at this moment.
    let image = try openImage(
      path: backing, options: ImageOptions(format: format, readOnly: true), registry: registry, engine: engine
    )
    return try header(for: image, named: backing, force: force)
  }

  /// The header of a COW file for an open backing image, by the absolute path that belongs to a name of it.
  static func header(
    for image: any DiskImage, named backing: String, force: Bool
  ) throws(DiskImageError) -> Header {
    let size = image.exactSize
    let status: FileStatus
    do throws(BlockIOError) { status = try image.files[0].status() } catch { throw .file(error) }
    guard image.format == .raw || status.size != size else { throw .backingAmbiguous(backing: backing) }
    guard size > Limits.umlBackingSizeMin || force else {
      throw .backingTooSmall(backing: backing, size: size)
    }
    guard let modified = UInt32(exactly: status.modified) else {
      throw .backingTimeUnrepresentable(backing: backing, time: status.modified)
    }
    let name = try absolutePath(of: backing)
    guard name.utf8.count <= Limits.backingPathBytesMax else {
      throw .pathTooLong(path: name, bytes: name.utf8.count)
    }
    let header = Header(
      backingPath: Array(name.utf8), backingModified: modified, backingSize: size)
    guard (try? header.geometry()) != nil else { throw .backingTooLarge(backing: backing, size: size) }
    return header
  }

  /// The folder's real path and the last component as given, so that a link to a base stays a link.
  private static func absolutePath(of path: String) throws(DiskImageError) -> String {
    let slash = path.lastIndex(of: "/")
    let folder = slash.map { String(path[...$0]) } ?? "."
    let name = slash.map { path[path.index(after: $0)...] } ?? path[...]
    guard let resolved = realpath(folder, nil) else { throw .system(LinuxError("realpath", folder)) }
    defer { free(resolved) }
    let real = String(cString: resolved)
    return real == "/" ? "/\(name)" : "\(real)/\(name)"
  }

  /// Writes a header, and gives the file the length of its data.
  /// - Returns: that length.
  @discardableResult
  static func putHeader(
    _ header: Header, to file: borrowing Descriptor, _ name: String
  ) throws(LinuxError) -> Int64 {
    guard let geometry = try? header.geometry(),
      let size = Int64(exactly: geometry.dataOffset + header.backingSize)
    else { throw LinuxError("ftruncate", name, code: EFBIG) }
    try write(header.encoded(), at: 0, to: file, name)
    _ = try retrying("ftruncate", name) { ftruncate(file.rawValue, off_t(size)) }
    return size
  }
}
