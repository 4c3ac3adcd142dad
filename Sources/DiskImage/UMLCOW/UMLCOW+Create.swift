// Making a COW file.
package import BlockIO
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
  ///   - force: accept a backing file so small that UML's ubd would die of it.
  package static func create(
    path: String, backing: String, format: ImageFormat? = nil, force: Bool = false, registry: FileRegistry,
    engine: any BlockEngine = SynchronousEngine()
  ) throws(DiskImageError) {
    var output = try OutputFile(path: path)
    let header = try makeHeader(
      backing: backing, format: format, force: force, registry: registry, engine: engine)
    try output.create()
    do throws(LinuxError) { try fill(output.temporary, header) } catch { throw .system(error) }
    try output.publish()
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

  static func fill(_ path: String, _ header: Header) throws(LinuxError) {
    guard let geometry = try? header.geometry(),
      let size = off_t(exactly: geometry.dataOffset + header.backingSize)
    else { throw LinuxError("ftruncate", path, code: EFBIG) }
    let file = Descriptor(owning: try retrying("open", path) { Glibc.open(path, O_WRONLY | O_CLOEXEC) })
    let bytes = header.encoded()
    var done = 0
    while done < bytes.count {
      done += try retrying("write", path) {
        bytes.withUnsafeBytes {
          pwrite(file.rawValue, $0.baseAddress.map { $0 + done }, bytes.count - done, off_t(done))
        }
      }
    }
    _ = try retrying("ftruncate", path) { ftruncate(file.rawValue, size) }
  }
}
