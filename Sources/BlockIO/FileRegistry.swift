// Each inode is opened once.
import CLinux
import Glibc
import Linux

/// Opens files for disks, each inode once, so that a base which many overlays share costs one descriptor, and
/// so that closing one disk never drops the lock of another.
///
/// One thread owns it, and the last reference to a file is dropped on that thread. No other code of the
/// process may open the same files and close them again.
package final class FileRegistry {
  private struct Entry {
    weak var file: ImageFile?
  }

  /// Takes a line about a file that whoever opened it ought to know; for operations, which have no disk that
  /// could hold it.
  package let onNotice: ((String) -> Void)?
  private var entries: [FileIdentity: Entry] = [:]
  private var purgeCountdown = Limits.registryPurgeInterval

  /// A registry that knows no file yet.
  package init(onNotice: ((String) -> Void)? = nil) {
    self.onNotice = onNotice
  }

  /// Opens a regular file or a block device, or returns the one that is open already.
  ///
  /// Files that are only read are shared. A file that is written has one user, unless nobody asks for a lock;
  /// who neither writes nor locks may look at any file, and gets the object that writes. A file that is only
  /// read keeps its access time, where the kernel lets us (`O_NOATIME`).
  /// - Parameters:
  ///   - lock: whether to lock the file, and so to be its only user when it is written.
  ///   - style: whose lock to take; nil leaves that to the caller, who looks at the format first.
  package func open(
    _ path: String, writable: Bool, lock: Bool = true, style: LockStyle? = .uml
  ) throws(BlockIOError) -> ImageFile {
    let reference = try openReference(path)
    let identity = try FileStatus(reference.rawValue, path: path).identity
    if let file = entries[identity]?.file {
      return try share(file, path: path, writable: writable, lock: lock, style: style)
    }
    let descriptor = try openForReal(reference, path: path, writable: writable)
    let status = try FileStatus(descriptor.rawValue, path: path)
    let file = ImageFile(owning: descriptor, path: path, isReadOnly: !writable, status: status)
    if lock, let style { try file.lock(style) }
    purgeNowAndThen()
    entries[status.identity] = Entry(file: file)
    return file
  }

  /// What a path stands for, without opening it; the size of a block device is not told.
  package func status(of path: String) throws(BlockIOError) -> FileStatus {
    let reference = try openReference(path)
    return try FileStatus(reference.rawValue, path: path)
  }

  /// Closing a reference (O_PATH) drops no lock, and opening one waits for nobody, whatever the path names.
  private func openReference(_ path: String) throws(BlockIOError) -> Descriptor {
    // The C function would take the part before a NUL for the path.
    guard !path.utf8.contains(0) else { throw .cannotOpen(LinuxError("open", path, code: EINVAL)) }
    return Descriptor(owning: try call("open", path) { CLinux_open_reference(path) })
  }

  private func share(
    _ file: ImageFile, path: String, writable: Bool, lock: Bool, style: LockStyle?
  ) throws(BlockIOError) -> ImageFile {
    if file.isReadOnly, !writable {
      if lock, let style { try file.lock(style) }
      return file
    }
    // Who wants neither to write nor to lock only looks.
    if !lock, !writable { return file }
    guard !lock, !file.isLocked, !file.isReadOnly else {
      throw .inUse(path: path, writable: !file.isReadOnly)
    }
    return file
  }

  /// Opens what the reference stands for, not what the path may stand for by now.
  private func openForReal(
    _ reference: borrowing Descriptor, path: String, writable: Bool
  ) throws(BlockIOError) -> Descriptor {
    let name = "/proc/self/fd/\(reference.rawValue)"
    if !writable {
      let quiet = CLinux_open_without_access_time(name)
      if quiet >= 0 { return Descriptor(owning: quiet) }
    }
    let flags = (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC
    return Descriptor(owning: try call("open", path) { Glibc.open(name, flags) })
  }

  private func purgeNowAndThen() {
    purgeCountdown -= 1
    guard purgeCountdown <= 0 else { return }
    entries = entries.filter { $0.value.file != nil }
    purgeCountdown = max(Limits.registryPurgeInterval, entries.count)
  }
}

/// `retrying`, with this module's error.
private func call(_ name: String, _ path: String, _ body: () -> CInt) throws(BlockIOError) -> CInt {
  do throws(LinuxError) { return try retrying(name, path, body) } catch { throw .cannotOpen(error) }
}

/// The numbers that bound this module.
package enum Limits {
  /// How many files are opened between two looks for forgotten ones, at least.
  static let registryPurgeInterval = 64
  /// The most parts one system call takes (`IOV_MAX`).
  static let partsPerCall = 1024
  /// Zeros are written in pieces of this many bytes where the file system cannot make them.
  static let zeroBytesPerCall = 65536
  /// A lock whose holder is not to be seen is looked at so often, with such pauses: for ten seconds, in which
  /// the kernel has done what a killed process had told it to do, on a busy disk, too.
  static let lockAttempts = 500
  /// And so often, for two seconds, one that a child of ours has.
  static let childLockAttempts = 100
  static let lockPauseMicroseconds: UInt32 = 20_000
}
