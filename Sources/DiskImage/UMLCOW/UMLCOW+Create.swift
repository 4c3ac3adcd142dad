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
  ///   - force: accept a backing file so small that UML's ubd would die of it.
  package static func create(
    path: String, backing: String, format: ImageFormat? = nil, force: Bool = false, registry: FileRegistry,
    engine: any BlockEngine = SynchronousEngine()
  ) throws(DiskImageError) {
    // The C functions would take the part before a NUL for the path.
    guard !path.utf8.contains(0) else { throw .system(LinuxError("create", path, code: EINVAL)) }
    var existing = stat()
    guard lstat(path, &existing) != 0 else { throw .exists(path: path) }
    let header = try makeHeader(
      backing: backing, format: format, force: force, registry: registry, engine: engine)
    let temporary = "\(path).new-\(getpid())"
    do throws(LinuxError) {
      let flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC
      let file = Descriptor(owning: try retrying("create", temporary) { Glibc.open(temporary, flags, 0o644) })
      do throws(LinuxError) {
        try fill(file, temporary, header)
        try publish(temporary, as: path)
      } catch {
        unlink(temporary)
        throw error
      }
    } catch {
      throw error.code == EEXIST && error.subject == path ? .exists(path: path) : .system(error)
    }
  }

  private static func makeHeader(
    backing: String, format: ImageFormat?, force: Bool, registry: FileRegistry, engine: any BlockEngine
  ) throws(DiskImageError) -> Header {
    // The lock tells whether somebody is writing to it at this moment.
    let image = try openImage(
      path: backing, options: ImageOptions(format: format, readOnly: true), registry: registry, engine: engine
    )
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

  private static func fill(
    _ file: borrowing Descriptor, _ path: String, _ header: Header
  ) throws(LinuxError) {
    guard let geometry = try? header.geometry(),
      let size = off_t(exactly: geometry.dataOffset + header.backingSize)
    else { throw LinuxError("ftruncate", path, code: EFBIG) }
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
    _ = try retrying("fsync", path) { fsync(file.rawValue) }
  }

  /// Gives a complete file its name, unless the name is taken.
  private static func publish(_ temporary: String, as path: String) throws(LinuxError) {
    if CLinux_rename_without_replacing(temporary, path) == 0 { return }
    guard errno == EINVAL || errno == ENOSYS else { throw LinuxError("rename", path) }
    _ = try retrying("link", path) { link(temporary, path) }
    unlink(temporary)
  }
}
