// Locks that other programs see, and who holds them.
import CLinux
import Glibc
import Linux

/// Whose way of locking a file.
///
/// The two see each other: a lock on the whole file conflicts with one on any of its bytes.
package enum LockStyle: Sendable {
  /// A lock on the whole file, as UML's ubd takes it.
  case uml
  /// Open-file-description locks on single bytes, as QEMU takes them (block/file-posix.c): a read lock on
  /// byte 100 + i says "I use permission i", one on byte 200 + i "nobody else may". Readers let each other
  /// be, which a lock on the whole file would not.
  case qemu

  /// - Returns: 0, or the value of `errno`; on EAGAIN or EACCES `holder` is who is in the way, if the
  ///   kernel tells.
  func take(_ descriptor: CInt, exclusive: Bool, _ holder: inout pid_t) -> CInt {
    switch self {
    case .uml: CLinux_lock_whole_file(descriptor, exclusive, &holder)
    case .qemu: CLinux_lock_as_qemu(descriptor, exclusive)
    }
  }

  /// Lets a second open file of the same inode have an exclusive lock, too.
  /// - Returns: 0, or the value of `errno`.
  func divide(_ descriptor: CInt, with other: CInt) -> CInt {
    switch self {
    case .uml: CLinux_divide_lock(descriptor, other)
    case .qemu: CLinux_divide_lock_as_qemu(other)
    }
  }
}

/// Who holds a lock on a file, found in `/proc`: the kernel does not tell it of locks that belong to an open
/// file rather than to a process.
/// - Returns: 0 when nobody is found, or when we may not look.
func lockHolder(of file: FileIdentity) -> pid_t {
  let own = getpid()
  for process in entries("/proc").compactMap({ pid_t($0) }).sorted() where process != own {
    let folder = "/proc/\(process)/fd"
    for entry in entries(folder) {
      var status = stat()
      guard stat("\(folder)/\(entry)", &status) == 0, FileIdentity(status) == file else { continue }
      if text(of: "/proc/\(process)/fdinfo/\(entry)").contains("\nlock:") { return process }
    }
  }
  return 0
}

/// The name of a process (`/proc/PID/comm`), or a question mark.
func commandName(of process: pid_t) -> String {
  guard process > 0 else { return "?" }
  let name = text(of: "/proc/\(process)/comm").prefix { $0 != "\n" }
  // A process chooses its own name: nothing that could end the line or move the cursor.
  let safe = name.unicodeScalars.map { $0.value < 32 || $0.value == 127 ? "?" : Character($0) }
  return safe.isEmpty ? "?" : String(safe)
}

/// The parent of a process; 0 when it is not known.
func parent(of process: pid_t) -> pid_t {
  // The name before may have blanks and parentheses.
  let fields = text(of: "/proc/\(process)/stat").split(separator: ")").last?.split(separator: " ") ?? []
  return fields.count > 1 ? pid_t(fields[1]) ?? 0 : 0
}

private func text(of path: String) -> String {
  String(decoding: (try? readFile(path, limit: 65536)) ?? [], as: UTF8.self)
}

private func entries(_ path: String) -> [String] { (try? directoryEntries(path)) ?? [] }
