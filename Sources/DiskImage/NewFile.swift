// Files that appear when they are complete.
import CLinux
import Glibc
import Linux

/// Makes a file that appears under its name when it is complete and durable, and never replaces another; what
/// was made is removed if anything fails.
/// - Parameter fill: writes the contents; gets the name that the file has until then.
func makeFile(
  _ path: String, fill: (_ file: borrowing Descriptor, _ name: String) throws(LinuxError) -> Void
) throws(DiskImageError) {
  try requireNoFile(path)
  let temporary = "\(path).new-\(getpid())"
  do throws(LinuxError) {
    let flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC
    let file = Descriptor(owning: try retrying("create", temporary) { Glibc.open(temporary, flags, 0o644) })
    do throws(LinuxError) {
      try fill(file, temporary)
      _ = try retrying("fsync", temporary) { fsync(file.rawValue) }
      try publish(temporary, as: path)
    } catch {
      unlink(temporary)
      throw error
    }
  } catch {
    throw error.code == EEXIST && error.subject == path ? .exists(path: path) : .system(error)
  }
}

/// Refuses a name that is taken, before any work is done for it.
func requireNoFile(_ path: String) throws(DiskImageError) {
  // The C functions would take the part before a NUL for the path.
  guard !path.utf8.contains(0) else { throw .system(LinuxError("create", path, code: EINVAL)) }
  var existing = stat()
  guard lstat(path, &existing) != 0 else { throw .exists(path: path) }
}

/// Writes an array to a place in a new file.
func write(
  _ bytes: [UInt8], at offset: UInt64, to file: borrowing Descriptor, _ name: String
) throws(LinuxError) {
  var done = 0
  while done < bytes.count {
    done += try retrying("write", name) {
      bytes.withUnsafeBytes {
        pwrite(
          file.rawValue, $0.baseAddress.map { $0 + done }, bytes.count - done, off_t(offset) + off_t(done))
      }
    }
  }
}

/// Gives a complete file its name, unless the name is taken.
private func publish(_ temporary: String, as path: String) throws(LinuxError) {
  if CLinux_rename_without_replacing(temporary, path) == 0 { return }
  guard errno == EINVAL || errno == ENOSYS else { throw LinuxError("rename", path) }
  _ = try retrying("link", path) { link(temporary, path) }
  unlink(temporary)
}
