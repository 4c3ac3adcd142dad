// What can go wrong with a disk image.
package import BlockIO
package import Linux

/// A failed request, or an image that is refused; `description` says what, where, and what to do.
package enum DiskImageError: Error, Equatable, CustomStringConvertible {
  /// The file could not be opened, read, written or locked.
  case file(BlockIOError)
  /// A system call on something that is not (yet) an image failed.
  case system(LinuxError)
  /// A request that reaches beyond the disk.
  case outOfBounds(offset: UInt64, count: UInt64, size: UInt64)
  /// A request to change a disk that is open for reading only.
  case readOnly(path: String)
  /// A request to a disk that was closed.
  case closed(path: String)
  /// An earlier flush failed, so that it is unknown what is durable.
  case flushFailedBefore(path: String)
  /// The header does not describe a disk.
  case invalidHeader(path: String, UMLCOW.HeaderDefect)
  /// A qcow2 file that makes no sense, or that asks for what we do not do.
  case qcow2(path: String, QCOW2.Defect)
  /// A format that we recognise and cannot open.
  case unsupportedFormat(path: String, name: String)
  /// The bitmap or data of a COW file are beyond its end.
  case truncated(path: String, size: UInt64, needed: UInt64)
  /// A COW file of an old version, opened for writing.
  case readOnlyFormat(path: String, version: String)
  /// The backing file cannot be opened.
  case backingUnavailable(path: String, backing: String, BlockIOError)
  /// The size of the backing file is not the one in the header.
  case backingSizeChanged(path: String, backing: String, expected: UInt64, actual: UInt64)
  /// The time of the backing file's last change is not the one in the header.
  case backingModified(path: String, backing: String, expected: Int64, actual: Int64)
  /// A COW file that names itself as its backing file.
  case backingIsItself(path: String)
  /// A chain of backing files that leads back to one of them.
  case backingLoop(path: String)
  /// A chain of more than `Limits.chainLengthMax` images.
  case chainTooLong(path: String)
  /// A backing image that cannot be told from raw data, since its file is as long as its disk.
  case backingAmbiguous(backing: String)
  /// A backing file too small for UML to survive.
  case backingTooSmall(backing: String, size: UInt64)
  /// A backing file too large for the format.
  case backingTooLarge(backing: String, size: UInt64)
  /// A time that a header cannot hold.
  case backingTimeUnrepresentable(backing: String, time: Int64)
  /// A backing path too long for a header.
  case pathTooLong(path: String, bytes: Int)
  /// An output that is one of the files it is made from.
  case outputIsInput(path: String)
  /// Whoever started the operation stopped it.
  case interrupted
  /// A COW file whose commit into its backing file was interrupted.
  case commitUnfinished(path: String)
  /// An operation that this image cannot take part in; the reason says why, and what to do.
  case unsuitable(path: String, reason: String)
  /// A file that would be overwritten.
  case exists(path: String)
  /// A guest wrote the beginning of another format to a disk whose format was guessed.
  case wouldChangeFormat(path: String)

  package var description: String {
    switch self {
    case .file(let error): return error.description
    case .system(let error): return "cannot \(error)"
    case .outOfBounds(let offset, let count, let size):
      return "request for \(count) bytes at \(offset) reaches beyond the disk of \(size) bytes"
    case .readOnly(let path): return "'\(path)' is open for reading only"
    case .closed(let path): return "'\(path)' is closed"
    case .flushFailedBefore(let path):
      return "an earlier flush of '\(path)' failed: close the disk, check the storage, and open it again"
    case .invalidHeader(let path, let defect): return "'\(path)' is no usable UML COW file: \(defect)"
    case .qcow2(let path, let defect): return "'\(path)' \(defect)"
    case .unsupportedFormat(let path, let name):
      return
        "'\(path)' has the format \(name), which cannot be opened: "
        + "convert it, or name its format if it is raw"
    case .truncated(let path, let size, let needed):
      return "'\(path)' is truncated: it has \(size) bytes and needs \(needed): restore it from a copy"
    case .readOnlyFormat(let path, let version):
      return "'\(path)' is a UML COW file of version \(version), which can only be read: open it read-only"
    case .backingUnavailable(let path, let backing, let error):
      return "the backing file '\(backing)' of '\(path)' is unavailable: \(error)"
    case .backingSizeChanged(let path, let backing, let expected, let actual):
      return
        "the backing file '\(backing)' has \(actual) bytes, '\(path)' was made for \(expected): restore it"
    case .backingModified(let path, let backing, let expected, let actual):
      return "the backing file '\(backing)' of '\(path)' changed at \(actual), the header says \(expected): "
        + "if its contents are the same, run: touch -d @\(expected) \(shellQuoted(backing))"
    case .backingIsItself(let path): return "'\(path)' names itself as its backing file"
    case .backingLoop(let path): return "the backing files of '\(path)' lead back to it"
    case .chainTooLong(let path):
      return
        "'\(path)' is the end of a chain of more than \(Limits.chainLengthMax) images: merge some of them"
    case .backingAmbiguous(let backing):
      return "the file '\(backing)' is exactly as long as its disk, so that a UML COW file takes it for raw: "
        + "convert it to raw first"
    case .backingTooSmall(let backing, let size):
      return "the backing file '\(backing)' has only \(size) bytes: UML's ubd dies of disks up to "
        + "\(Limits.umlBackingSizeMin) bytes (force it if no UML will use it)"
    case .backingTooLarge(let backing, let size):
      return "the backing file '\(backing)' has \(size) bytes: a UML COW file holds less than 8 TiB"
    case .backingTimeUnrepresentable(let backing, let time):
      return "the backing file '\(backing)' changed at \(time), which a header cannot hold (1970 to 2106): "
        + "run: touch \(shellQuoted(backing))"
    case .pathTooLong(let path, let bytes):
      return "the path '\(path)' has \(bytes) bytes, a header holds \(Limits.backingPathBytesMax)"
    case .outputIsInput(let path):
      return "'\(path)' is read to make the output, and cannot be the output: choose another name"
    case .interrupted:
      return "stopped before it was done; nothing is lost: the same command goes on or begins again"
    case .commitUnfinished(let path):
      return "the commit of '\(path)' into its backing file is not finished, and nothing is lost: "
        + "run: ttblk image commit \(shellQuoted(path))"
    case .unsuitable(let path, let reason): return "'\(path)' \(reason)"
    case .exists(let path): return "'\(path)' exists already: choose another name, or remove it"
    case .wouldChangeFormat(let path):
      return "a write to '\(path)' would make it look like another format: open it with the format raw"
    }
  }
}

/// A path as a shell takes it, in one word.
func shellQuoted(_ path: String) -> String {
  let plain = path.utf8.allSatisfy { byte in
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "/"), UInt8(ascii: "."), UInt8(ascii: "_"),
      UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "="), UInt8(ascii: ","), UInt8(ascii: ":"):
      true
    default: false
    }
  }
  if plain, !path.isEmpty, !path.hasPrefix("-") { return path }
  var quoted = "'"
  for scalar in path.unicodeScalars {
    if scalar == "'" { quoted += "'\\''" } else { quoted.unicodeScalars.append(scalar) }
  }
  return quoted + "'"
}
