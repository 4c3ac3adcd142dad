// Where journals are.
import CLinux
import Glibc
import Linux
import Synchronization

/// A folder in memory, which outlives a process that is killed, and not the power.
///
/// Nobody but its owner may look into it: a journal is the newest state of a disk.
package final class JournalFolder: Sendable {
  /// An absolute path.
  package let path: String
  private let wasSwept = Atomic(false)

  /// The folder that is used unless another one is named: in `/dev/shm`, one for each user.
  package static func standard() -> JournalFolder { JournalFolder(path: standardPath(of: geteuid())) }

  static func standardPath(of owner: UInt32) -> String { "/dev/shm/ttblk-\(owner)" }

  /// A folder that need not exist yet; it is looked at when it is needed.
  package init(path: String) {
    self.path = path
  }

  /// Looks whether journals can be made here.
  /// - Throws: why not.
  package func check() throws(JournalRefusal) { _ = try open(making: true) }

  /// The folder, as nobody else can have made or changed it.
  func open(making: Bool) throws(JournalRefusal) -> Descriptor {
    guard path.hasPrefix("/"), !path.utf8.contains(0), path.utf8.count <= Limits.journalFolderBytesMax else {
      throw JournalRefusal(
        "the journal folder '\(path)' is no absolute path of at most "
          + "\(Limits.journalFolderBytesMax) bytes: name another one")
    }
    let isNew = making && mkdir(path, 0o700) == 0
    do throws(JournalRefusal) { return try Self.openTrusted(path, owner: geteuid()) } catch {
      if isNew { rmdir(path) }
      throw error
    }
  }

  static func openTrusted(_ path: String, owner: UInt32) throws(JournalRefusal) -> Descriptor {
    let folder: Descriptor
    do throws(LinuxError) {
      folder = Descriptor(
        owning: try retrying("open", path) {
          Glibc.open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        })
    } catch { throw JournalRefusal("the journal folder cannot be opened: \(error)", code: error.code) }
    var status = stat()
    guard fstat(folder.rawValue, &status) == 0, status.st_uid == owner, status.st_mode & 0o077 == 0 else {
      throw JournalRefusal(
        "the journal folder '\(path)' is not one that only user \(owner) may look into: "
          + "remove it, or name another one")
    }
    guard CLinux_is_in_memory(folder.rawValue) else {
      throw JournalRefusal(
        "the journal folder '\(path)' is not in memory (tmpfs): name another one, or none")
    }
    return folder
  }

  /// Makes a journal for an image, which does not name it yet.
  func make(_ shape: JournalShape, for image: JournalImage, path: String) throws(JournalRefusal) -> Journal {
    let folder = try open(making: true)
    var token = [UInt8](repeating: 0, count: JournalName.tokenBytes)
    guard getentropy(&token, token.count) == 0 else {
      throw JournalRefusal(
        "a journal cannot be made: no random number: \(LinuxError("getentropy", "").reason)")
    }
    let header = JournalHeader(
      shape: shape, image: image, token: token, path: (try? absolutePath(path)) ?? path)
    let name = JournalName(token: token, owner: geteuid(), image: image, folder: self.path)
    let descriptor = try makeFile(header, named: name.fileName, in: folder)
    if !wasSwept.exchange(true, ordering: .relaxed) {
      var status = stat()
      if fstat(descriptor.rawValue, &status) == 0 {
        JournalSweep.run(folder, now: UInt64(status.st_mtim.tv_sec))
      }
    }
    return Journal(descriptor, name: name)
  }

  /// Locked and complete before it has a name, so that no sweep takes it for left.
  private func makeFile(
    _ header: JournalHeader, named name: String, in folder: borrowing Descriptor
  ) throws(JournalRefusal) -> Descriptor {
    let shape = header.shape
    let folder = folder.rawValue
    do throws(LinuxError) {
      let file = Descriptor(owning: try retrying("open", path) { CLinux_open_unnamed(folder) })
      let descriptor = file.rawValue
      var holder: pid_t = 0
      let code = CLinux_lock_whole_file(descriptor, true, &holder)
      guard code == 0 else { throw LinuxError("lock", path, code: code) }
      _ = try retrying("ftruncate", path) { ftruncate(descriptor, off_t(shape.byteCount)) }
      _ = try retrying("fallocate", path) {
        CLinux_fallocate_keep_size(descriptor, 0, Int64(shape.pagesOffset))
      }
      try file.write(header.encoded, at: 0)
      _ = try retrying("link", "\(path)/\(name)") { CLinux_link_unnamed(descriptor, folder, name) }
      return file
    } catch { throw JournalRefusal("a journal cannot be made: \(error)", code: error.code) }
  }
}

/// How a disk that is served keeps what is not flushed.
package struct JournalOptions: Sendable {
  let folder: JournalFolder
  let report: @Sendable (String) -> Void

  /// - Parameter report: takes one line about the disk, on any thread: when it has no journal, or no longer.
  package init(folder: JournalFolder, report: @escaping @Sendable (String) -> Void) {
    self.folder = folder
    self.report = report
  }
}

/// Why there is no journal, or why it is not used; one lower-case line.
package struct JournalRefusal: Error, CustomStringConvertible {
  package let description: String
  /// The value of `errno` where a call failed.
  let code: CInt

  init(_ description: String, code: CInt = 0) {
    self.description = description
    self.code = code
  }
}

/// A journal in use: a file that nobody else uses, as long as this lives.
struct Journal: ~Copyable {
  let descriptor: Descriptor
  let name: JournalName

  init(_ descriptor: consuming Descriptor, name: JournalName) {
    self.descriptor = descriptor
    self.name = name
  }

  /// Removes the file: nothing that it has is needed any more.
  func remove() { unlink("\(name.folderPath)/\(name.fileName)") }
}
