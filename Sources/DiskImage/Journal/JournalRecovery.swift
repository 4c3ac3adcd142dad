// What a killed server had not flushed.
import BlockIO
import CLinux
import Glibc
import Linux

/// A journal that an image names and that nobody uses any more.
struct LeftJournal: ~Copyable {
  let file: Descriptor
  let name: JournalName
  let shape: JournalShape
  var path: String { "\(name.folderPath)/\(name.fileName)" }

  /// The words of its directory.
  func directory() throws(DiskImageError) -> [UInt64] {
    let bytes = try bytes(at: JournalShape.directoryOffset, count: shape.directoryWords * 8)
    let raw = bytes.span.bytes
    return (0..<shape.directoryWords).map {
      UInt64(littleEndian: raw.unsafeLoadUnaligned(fromByteOffset: 8 * $0, as: UInt64.self))
    }
  }

  func page(_ index: Int) throws(DiskImageError) -> [UInt8] {
    try bytes(at: shape.pagesOffset + index * shape.pageSize, count: shape.pageSize)
  }

  private func bytes(at offset: Int, count: Int) throws(DiskImageError) -> [UInt8] {
    do throws(LinuxError) {
      let bytes = try file.bytes(at: offset, count: count)
      guard bytes.count == count else { throw LinuxError("read", path, code: EIO) }
      return bytes
    } catch { throw .system(error) }
  }

  func remove() { unlink(path) }
}

/// Why what a journal has is not what its image lacks.
struct JournalDefect: Error {
  let reason: String

  init(_ reason: String) { self.reason = reason }
}

/// Looks for journals, and takes over what they have.
enum JournalRecovery {
  /// What became of the journal that an image names.
  private enum Finding: ~Copyable {
    case none
    /// A server has it.
    case inUse
    case left(LeftJournal)
    /// There may be one, but we cannot look.
    case closed(JournalRefusal)
    case useless(String)
  }

  /// Before an image is used: takes over what a killed server had not flushed, if we may write, and
  /// otherwise says that it is missing.
  ///
  /// Killed at any moment of it, the next one does it again: the journal goes when everything is durable.
  /// - Parameter mayWrite: whether the file is open for writing, and ours alone.
  /// - Returns: lines for whoever uses the image.
  static func run(
    _ file: ImageFile, format: ImageFormat, mayWrite: Bool, engine: any BlockEngine
  ) throws(DiskImageError) -> [String] {
    let kind: JournalKind
    switch format {
    case .raw: return []
    case .umlCOW: kind = .umlCOW
    case .qcow2: kind = .qcow2
    }
    guard let name = try JournalName.read(kind, reader(file, engine)) else { return [] }
    switch try find(name, kind: kind, of: file, mayWrite: mayWrite, engine: engine) {
    case .none: return []
    case .inUse:
      guard mayWrite else { return [] }
      throw .unsuitable(path: file.path, reason: "has a journal that somebody uses: try again")
    case .closed(let refusal):
      guard mayWrite else {
        return ["'\(file.path)' may lack what a killed server had not flushed: \(refusal)"]
      }
      throw .unsuitable(
        path: file.path,
        reason: "may lack what a killed server had not flushed, and we cannot look: \(refusal): "
          + "open it as user \(name.owner)")
    case .useless(let reason):
      let line =
        "'\(file.path)' lacks what a killed server had not flushed: its journal is useless: \(reason)"
      if mayWrite { try forget(file, kind, engine: engine) }
      return [line]
    case .left(let journal):
      guard mayWrite else {
        return [
          "'\(file.path)' may lack what a killed server had not flushed: "
            + "ttblk image repair, like everything that writes to it, takes that over"
        ]
      }
      return try takeOver(journal, of: file, engine: engine)
    }
  }

  private static func takeOver(
    _ journal: consuming LeftJournal, of file: ImageFile, engine: any BlockEngine
  ) throws(DiskImageError) -> [String] {
    let kind = journal.shape.kind
    let result: Result<Int, JournalDefect>
    switch kind {
    case .umlCOW: result = try UMLCOW.replay(journal, on: file, engine: engine)
    case .qcow2: result = try QCOW2.replay(journal, on: file, engine: engine)
    }
    // The journal stays as long as the image names it, and is durable in the image before.
    try forget(file, kind, engine: engine)
    switch result {
    case .success(let count):
      journal.remove()
      let pages = "\(count) page\(count == 1 ? "" : "s")"
      return count == 0 ? [] : ["took over \(pages) that a killed server had not flushed"]
    case .failure(let defect):
      return [
        "'\(file.path)' lacks what a killed server had not flushed: "
          + "its journal '\(journal.path)' is useless: \(defect.reason)"
      ]
    }
  }

  /// Lets the image name no journal, so that the one which it named is never used later.
  private static func forget(
    _ file: ImageFile, _ kind: JournalKind, engine: any BlockEngine
  ) throws(DiskImageError) {
    switch kind {
    case .umlCOW: try UMLCOW.JournalNote.write(nil, to: file, engine: engine)
    case .qcow2:
      let header = try QCOW2.readHeader(file, engine: engine)
      var changed = header
      changed.setJournal(nil)
      _ = try QCOW2.rewrite(header, as: changed, of: file, engine: engine)
    }
  }

  private static func find(
    _ name: JournalName, kind: JournalKind, of file: ImageFile, mayWrite: Bool, engine: any BlockEngine
  ) throws(DiskImageError) -> Finding {
    // That of the file which this one was copied from.
    guard name.image == JournalImage(file.descriptor.rawValue) else { return .none }
    let journal: Descriptor
    do throws(JournalRefusal) {
      let user = geteuid()
      guard user == 0 || user == name.owner else {
        throw JournalRefusal("the journal is one of user \(name.owner)", code: EACCES)
      }
      let folder = try JournalFolder.openTrusted(name.folderPath, owner: name.owner)
      do throws(LinuxError) { journal = try openJournalFile(name.fileName, in: folder) } catch {
        throw JournalRefusal("\(error)", code: error.code)
      }
    } catch {
      switch error.code {
      // After the power was off there is no journal, and the name means nothing.
      case ENOENT: return .none
      case EACCES, EPERM: return access(name.folderPath, F_OK) == 0 ? .closed(error) : .none
      default: return .useless(error.description)
      }
    }
    guard let bytes = try? journal.bytes(at: 0, count: JournalHeader.byteCount),
      let header = JournalHeader(parsing: bytes), header.token == name.token,
      header.image == name.image, header.shape.kind == kind
    else { return .useless("it begins with no header of ours") }
    // Who only looks has nothing to wait for.
    guard isLeft(journal, attempts: mayWrite ? Limits.journalLockAttempts : 1) else { return .inUse }
    let shape = try shape(of: file, kind, engine: engine)
    guard header.shape == shape,
      fileSize(journal) >= shape.byteCount
    else { return .useless("it was made for an image of another shape, or is cut short") }
    if kind == .qcow2, try QCOW2.readHeader(file, engine: engine).journal?.isCurrent != true {
      return .useless("another program has written to the image since")
    }
    return .left(LeftJournal(file: journal, name: name, shape: shape))
  }

  /// What a journal of this image looks like.
  private static func shape(
    of file: ImageFile, _ kind: JournalKind, engine: any BlockEngine
  ) throws(DiskImageError) -> JournalShape {
    switch kind {
    case .umlCOW: UMLCOW.journalShape(try UMLCOW.readHeader(file, engine: engine).geometry)
    case .qcow2: QCOW2.journalShape(try QCOW2.readHeader(file, engine: engine))
    }
  }

  /// A process that was killed may be gone in parts only, and a child has a copy of every descriptor until it
  /// is another program.
  private static func isLeft(_ journal: borrowing Descriptor, attempts: Int) -> Bool {
    for attempt in 0..<attempts {
      if attempt > 0 { usleep(Limits.journalLockPauseMicroseconds) }
      var holder: pid_t = 0
      if CLinux_lock_whole_file(journal.rawValue, true, &holder) == 0 { return true }
    }
    return false
  }

  private static func reader(_ file: ImageFile, _ engine: any BlockEngine) -> JournalReader<DiskImageError> {
    { (offset, count) throws(DiskImageError) in
      let size: UInt64
      do throws(BlockIOError) { size = try file.status().size } catch { throw .file(error) }
      guard UInt64(offset) < size else { return [] }
      var bytes = [UInt8](repeating: 0, count: min(count, Int(clamping: size - UInt64(offset))))
      do throws(BlockIOError) { try engine.read(file, at: UInt64(offset), into: &bytes) } catch {
        throw .file(error)
      }
      return bytes
    }
  }
}
