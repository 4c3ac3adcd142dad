// A file that holds a disk, or part of one.
import CLinux
import Glibc
package import Linux
import Synchronization

/// An open file or block device, one object per inode and process.
///
/// Only `FileRegistry` makes them: locks belong to open files, so two of one inode would be in each other's
/// way.
/// The last reference closes the file and with it drops the lock.
package final class ImageFile {
  /// For system calls on the file; nobody duplicates or closes it.
  package let descriptor: Descriptor
  /// As it was named when it was opened.
  package let path: String
  /// Which file it is, whatever its name.
  package let identity: FileIdentity
  /// Whether it was opened with O_RDONLY.
  package let isReadOnly: Bool
  /// Whether it is a block device; otherwise it is a regular file.
  package let isBlockDevice: Bool
  /// Whether it is a file in memory (tmpfs, ramfs, hugetlbfs).
  package let isInMemory: Bool
  /// Length in bytes when it was opened; writes past it do not change this number.
  package let size: UInt64
  /// Whether it holds a lock that other processes (UML among them) see.
  package private(set) var isLocked = false
  /// The way past the page cache, once `useDirect` found one; queued engines take it.
  package internal(set) var direct: DirectAccess?
  /// A second descriptor that was opened with O_DIRECT; -1 if there is none. It lives as long as the first.
  var directDescriptor: CInt = -1
  private var lockStyle: LockStyle?
  private var isLockDivided = false
  /// What the file system was found to refuse; any thread finds it.
  let refusals = Refusals()

  init(
    owning descriptor: consuming Descriptor, path: String, isReadOnly: Bool, status: FileStatus
  ) {
    self.descriptor = descriptor
    self.path = path
    self.isReadOnly = isReadOnly
    identity = status.identity
    isBlockDevice = status.isBlockDevice
    // A device's node may be in memory; what it names is not.
    isInMemory = !status.isBlockDevice && CLinux_is_in_memory(self.descriptor.rawValue)
    size = status.size
  }

  deinit {
    if directDescriptor >= 0 { close(directDescriptor) }
  }

  /// What the file system says about the file now.
  package func status() throws(BlockIOError) -> FileStatus { try FileStatus(descriptor.rawValue, path: path) }

  /// The next extents from `offset` on: where data begins, and where it ends (`lseek(2)` with SEEK_DATA,
  /// SEEK_HOLE).
  ///
  /// Where the file system cannot tell, everything is data.
  /// - Returns: nil when only a hole follows.
  package func nextData(from offset: UInt64) -> Range<UInt64>? {
    guard let start = Int64(exactly: offset), offset < size else { return nil }
    let data = CLinux_seek_data(descriptor.rawValue, start)
    if data < 0 { return errno == ENXIO ? nil : offset..<size }
    let hole = CLinux_seek_hole(descriptor.rawValue, data)
    let lower = UInt64(data)
    guard hole > data else { return lower < size ? lower..<size : nil }
    return lower..<UInt64(hole)
  }

  /// Asks the file system for zeros (`fallocate(2)`), once; the length of the file stays.
  /// - Returns: 0, or the value of `errno`.
  func makeZero(_ offset: Int64, count: Int64, unmap: Bool) -> CInt {
    let result =
      unmap
      ? CLinux_fallocate_punch_hole(descriptor.rawValue, offset, count)
      : CLinux_fallocate_zero_range(descriptor.rawValue, offset, count)
    return result == 0 ? 0 : errno
  }

  /// Makes a range the same blocks as those of another file, until either is written (`FICLONERANGE`); a
  /// count of 0 stands for all up to the end.
  /// - Returns: whether the file system could.
  package func share(_ source: ImageFile, at offset: UInt64, count: UInt64, to target: UInt64) -> Bool {
    CLinux_clone_range(descriptor.rawValue, source.descriptor.rawValue, offset, count, target) == 0
  }

  /// Asks the kernel to begin to write a range to the medium (`sync_file_range(2)`); nothing is waited for,
  /// and nothing is promised.
  package func startWriteBack(_ range: Range<UInt64>) {
    CLinux_start_writeback(
      descriptor.rawValue, Int64(clamping: range.lowerBound),
      Int64(clamping: range.upperBound - range.lowerBound))
  }

  /// Lets `body` move bytes past the page cache (`O_DIRECT`, open(2)), if the file system can: then offset,
  /// count and memory must be aligned, or EINVAL is the answer. Nobody else uses the file meanwhile.
  /// - Returns: whether `body` was called.
  package func withDirectAccess(_ body: () throws(BlockIOError) -> Void) throws(BlockIOError) -> Bool {
    guard CLinux_set_direct(descriptor.rawValue, 1) == 0 else { return false }
    defer { _ = CLinux_set_direct(descriptor.rawValue, 0) }
    try body()
    return true
  }

  /// Takes the space of a range, whose holes then read as zeros and need none any more (`fallocate(2)`).
  package func reserve(_ range: Range<UInt64>) throws(BlockIOError) {
    guard !range.isEmpty else { return }
    let count = range.upperBound - range.lowerBound
    do throws(LinuxError) {
      _ = try retrying("fallocate", path) {
        CLinux_fallocate_keep_size(
          descriptor.rawValue, Int64(clamping: range.lowerBound), Int64(clamping: count))
      }
    } catch {
      throw .transfer(.reserve, path: path, offset: range.lowerBound, count: count, code: error.code)
    }
  }

  /// Sets the time of the last change of the contents, in seconds since 1970 (`futimens(2)`).
  package func setModified(_ seconds: Int64) throws(BlockIOError) {
    let times = [timespec(tv_sec: 0, tv_nsec: CLinux_omit_time), timespec(tv_sec: Int(seconds), tv_nsec: 0)]
    do throws(LinuxError) {
      _ = try retrying("futimens", path) { futimens(descriptor.rawValue, times) }
    } catch { throw .cannotOpen(error) }
  }

  /// Makes the file this long (`ftruncate(2)`); `size` keeps what it was when the file was opened.
  package func setLength(_ length: UInt64) throws(BlockIOError) {
    guard let length = Int64(exactly: length) else {
      throw .outOfRange(path: path, offset: 0, count: length)
    }
    do throws(LinuxError) {
      _ = try retrying("ftruncate", path) { ftruncate(descriptor.rawValue, off_t(length)) }
    } catch { throw .transfer(.resize, path: path, offset: 0, count: UInt64(length), code: error.code) }
  }

  /// Takes a lock that other programs see: to write what is writable, to read what is not.
  ///
  /// What has the lock for a moment is waited for. A process that was killed may be gone while the kernel
  /// still does what it had told io_uring to do, which would overwrite what others write; and a child of ours
  /// has a copy of every descriptor until it is another program.
  package func lock(_ style: LockStyle) throws(BlockIOError) {
    guard !isLocked else { return }
    var holder: pid_t = 0
    var code: CInt = 0
    for attempt in 0..<Limits.lockAttempts {
      code = style.take(descriptor.rawValue, exclusive: !isReadOnly, &holder)
      guard code == EAGAIN || code == EACCES else { break }
      if holder <= 0 { holder = lockHolder(of: identity) }
      let isChild = holder > 0 && parent(of: holder) == getpid()
      guard holder == 0 || (isChild && attempt < Limits.childLockAttempts) else { break }
      usleep(Limits.lockPauseMicroseconds)
    }
    switch code {
    case 0:
      isLocked = true
      lockStyle = style
      try divideLock()
    case EAGAIN, EACCES:
      throw .locked(path: path, holder: holder, command: commandName(of: holder))
    default: throw .cannotOpen(LinuxError("lock", path, code: code))
    }
  }

  /// Lets the direct descriptor hold the lock, too: when the process is killed, the kernel closes the first
  /// one at once, and keeps the other open until it has written what it was told to write.
  func divideLock() throws(BlockIOError) {
    guard let lockStyle, directDescriptor >= 0, !isReadOnly, !isLockDivided else { return }
    let code = lockStyle.divide(descriptor.rawValue, with: directDescriptor)
    guard code == 0 else { throw .cannotOpen(LinuxError("lock", path, code: code)) }
    isLockDivided = true
  }
}

/// What `fstat(2)` tells, as far as a disk image cares.
package struct FileStatus: Equatable, Sendable {
  /// Which file it is.
  package let identity: FileIdentity
  /// Whether it is a block device.
  package let isBlockDevice: Bool
  /// Length in bytes, of a block device too.
  package let size: UInt64
  /// Bytes that the file occupies.
  package let allocated: UInt64
  /// Seconds since 1970 of the last change of the contents.
  package let modified: Int64

  init(_ descriptor: CInt, path: String) throws(BlockIOError) {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw .cannotOpen(LinuxError("fstat", path)) }
    switch status.st_mode & S_IFMT {
    case S_IFREG:
      isBlockDevice = false
      size = UInt64(clamping: status.st_size)
    case S_IFBLK:
      isBlockDevice = true
      // An O_PATH descriptor cannot be asked; whoever opens it really asks again.
      size = UInt64(clamping: CLinux_block_device_size(descriptor))
    default: throw .notAFile(path: path)
    }
    identity = FileIdentity(status)
    allocated = UInt64(clamping: status.st_blocks) * 512
    modified = Int64(status.st_mtim.tv_sec)
  }
}
