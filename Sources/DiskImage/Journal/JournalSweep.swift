// Journals that nobody will ever ask for.
import CLinux
import Glibc
import Linux

/// Removes the journals of a folder whose image names another one, or none, or is gone for a day: until then
/// it may just have another name.
enum JournalSweep {
  private static let missingSecondsMax: UInt64 = 24 * 60 * 60

  /// - Parameter now: seconds since 1970.
  static func run(_ folder: borrowing Descriptor, now: UInt64) {
    let path = "/proc/self/fd/\(folder.rawValue)"
    for name in (try? directoryEntries(path)) ?? [] where JournalName.isFileName(name) {
      look(at: name, in: folder, now: now)
    }
  }

  private static func look(at name: String, in folder: borrowing Descriptor, now: UInt64) {
    guard let file = try? openJournalFile(name, in: folder), isLeft(file) else { return }
    // Of another version, or no journal: not ours to remove.
    guard let bytes = try? file.bytes(at: 0, count: JournalHeader.byteCount),
      let header = JournalHeader(parsing: bytes), JournalName.fileName(header.token) == name
    else { return }
    switch state(of: header) {
    case .namesIt: return
    case .namesAnother: unlinkat(folder.rawValue, name, 0)
    case .missing where header.missingSince == 0:
      var changed = header
      changed.missingSince = max(1, now)
      try? file.write(changed.encoded, at: 0)
    case .missing:
      let (age, isAhead) = now.subtractingReportingOverflow(header.missingSince)
      if !isAhead, age > missingSecondsMax { unlinkat(folder.rawValue, name, 0) }
    }
  }

  /// Whether no process uses it.
  private static func isLeft(_ file: borrowing Descriptor) -> Bool {
    var holder: pid_t = 0
    return CLinux_lock_whole_file(file.rawValue, true, &holder) == 0
  }

  private enum State { case namesIt, namesAnother, missing }

  private static func state(of header: JournalHeader) -> State {
    let reference = CLinux_open_reference(header.path)
    guard reference >= 0 else { return .missing }
    let found = Descriptor(owning: reference)
    guard JournalImage(found.rawValue) == header.image else { return .missing }
    let opened = open("/proc/self/fd/\(found.rawValue)", O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    // Somebody who may not look does not judge.
    guard opened >= 0 else { return .namesIt }
    let image = Descriptor(owning: opened)
    let name: JournalName?
    do throws(LinuxError) {
      name = try JournalName.read(header.shape.kind) { (offset, count) throws(LinuxError) in
        try image.bytes(at: offset, count: count)
      }
    } catch { return .namesIt }
    return name?.token == header.token ? .namesIt : .namesAnother
  }
}

/// A file of a journal folder, to read and write; nothing but a regular file is opened.
func openJournalFile(_ name: String, in folder: borrowing Descriptor) throws(LinuxError) -> Descriptor {
  let folder = folder.rawValue
  let file = Descriptor(
    owning: try retrying("open", name) {
      openat(folder, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
    })
  var status = stat()
  guard fstat(file.rawValue, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
    throw LinuxError("open", name, code: EINVAL)
  }
  return file
}

extension JournalImage {
  /// Of an open file; a reference is enough.
  init?(_ descriptor: CInt) {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { return nil }
    let identity = FileIdentity(status)
    var seconds: Int64 = 0
    var nanoseconds: UInt32 = 0
    let isKnown = CLinux_birth_time(descriptor, &seconds, &nanoseconds)
    self.init(
      device: identity.device, inode: identity.inode,
      bornSeconds: isKnown ? UInt64(bitPattern: seconds) : 0, bornNanoseconds: isKnown ? nanoseconds : 0)
  }
}
