// Files that appear when they are complete.
package import BlockIO
import CLinux
import Glibc
package import Linux

/// A file that is written under a temporary name, in the folder where it will be, and gets its name when it
/// is complete and on the medium.
///
/// What was made is removed if it is not published. A process that was killed leaves its temporary file; the
/// next output of the same name removes it.
package struct OutputFile: ~Copyable {
  /// The name that it will have.
  package let path: String
  /// The name that it has until then.
  package let temporary: String
  private let isReplacing: Bool
  private var isPublished = false

  /// Chooses the temporary name; makes no file yet.
  /// - Parameters:
  ///   - replacing: whether a file of that name may be replaced.
  ///   - inputs: files that are read meanwhile; none of them may be the output, under whatever name.
  ///   - family: how the paths of all outputs begin of which this is one, when each has another name.
  package init(
    path: String, replacing: Bool = false, inputs: [FileIdentity] = [], family: String? = nil
  ) throws(DiskImageError) {
    // The C functions would take the part before a NUL for the path.
    guard !path.utf8.contains(0), !path.isEmpty else {
      throw .system(LinuxError("create", path, code: EINVAL))
    }
    var existing = stat()
    if stat(path, &existing) == 0, inputs.contains(FileIdentity(existing)) {
      throw .outputIsInput(path: path)
    }
    if lstat(path, &existing) == 0 {
      guard replacing else { throw .exists(path: path) }
      guard existing.st_mode & S_IFMT == S_IFREG else { throw .file(.notAFile(path: path)) }
    }
    self.path = path
    isReplacing = replacing
    temporary = "\(path)\(mark)\(getpid())"
    removeAbandoned(family ?? path + mark)
  }

  deinit { if !isPublished { unlink(temporary) } }

  /// Makes an empty file under the temporary name.
  /// - Parameter model: a file whose contents it will have: it gets its permissions, so that nobody reads
  ///   there what he may not read here. Without one everybody may read it, as the umask allows.
  package func create(like model: ImageFile? = nil) throws(DiskImageError) {
    try fill(like: model) { (_, _) throws(LinuxError) in }
  }

  /// Makes the file under its temporary name, and lets `body` write to it.
  func fill(
    like model: ImageFile? = nil,
    _ body: (_ file: borrowing Descriptor, _ name: String) throws(LinuxError) -> Void
  ) throws(DiskImageError) {
    let permissions: mode_t
    do throws(BlockIOError) { permissions = try model?.permissions() ?? 0o644 } catch { throw .file(error) }
    do throws(LinuxError) {
      let flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC
      let file = Descriptor(
        owning: try retrying("create", path) { open(temporary, flags, permissions | S_IWUSR | S_IRUSR) })
      // Not less than the model has, either, whatever the umask is.
      if model != nil { fchmod(file.rawValue, permissions | S_IWUSR | S_IRUSR) }
      try body(file, temporary)
    } catch { throw .system(error) }
  }

  /// Makes the file durable and gives it its name, with the owner and the permissions of the file that it
  /// replaces.
  package mutating func publish() throws(DiskImageError) {
    do throws(LinuxError) {
      var existing = stat()
      if isReplacing, stat(path, &existing) == 0 {
        // Only root can give a file away; anybody else keeps what he makes.
        chown(temporary, existing.st_uid, existing.st_gid)
        chmod(temporary, existing.st_mode & 0o7777)
      }
      try synchronize(temporary)
      try isReplacing ? replace() : putInPlace()
      isPublished = true
      try synchronize(directoryName(path))
    } catch {
      throw error.code == EEXIST && error.subject == path ? .exists(path: path) : .system(error)
    }
  }

  private func replace() throws(LinuxError) {
    _ = try retrying("rename", path) { rename(temporary, path) }
  }

  private func putInPlace() throws(LinuxError) {
    if CLinux_rename_without_replacing(temporary, path) == 0 { return }
    guard errno == EINVAL || errno == ENOSYS else { throw LinuxError("rename", path) }
    _ = try retrying("link", path) { link(temporary, path) }
    unlink(temporary)
  }
}

/// Makes a file, or the names in a folder, durable (`fsync(2)`).
func synchronize(_ path: String) throws(LinuxError) {
  let file = Descriptor(owning: try retrying("open", path) { open(path, O_RDONLY | O_CLOEXEC) })
  // A file system whose folders cannot be synchronised keeps its names its own way.
  if fsync(file.rawValue) != 0, errno != EINVAL { throw LinuxError("fsync", path) }
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

/// What temporary names have before the number of their process.
private let mark = ".new-"

/// Removes temporary files whose paths begin like this and whose process is gone; also those of an output
/// that was made for a temporary name.
private func removeAbandoned(_ start: String) {
  let folder = directoryName(start)
  let prefix = baseName(start)
  for name in (try? directoryEntries(folder)) ?? [] where name.hasPrefix(prefix) {
    // The path itself may have the mark in it.
    let rest = name.dropFirst(prefix.count - (prefix.hasSuffix(mark) ? mark.count : 0))
    let numbers = rest.split(separator: mark, omittingEmptySubsequences: false).dropFirst().map { pid_t($0) }
    guard let last = numbers.last, let process = last, process > 0, process != getpid(),
      !numbers.contains(nil)
    else { continue }
    if kill(process, 0) != 0, errno == ESRCH { unlink(folder + "/" + name) }
  }
}
