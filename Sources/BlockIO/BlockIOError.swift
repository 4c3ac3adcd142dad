// What can go wrong between us and a file.
package import Glibc
package import Linux

/// A failed operation on a file that holds (part of) a disk.
package enum BlockIOError: Error, Equatable, CustomStringConvertible {
  /// The file could not be opened or looked at.
  case cannotOpen(LinuxError)
  /// Neither a regular file nor a block device.
  case notAFile(path: String)
  /// Another process holds a conflicting lock; `holder` is 0 where the kernel does not tell.
  case locked(path: String, holder: pid_t, command: String)
  /// This process has the file open already, in a way that excludes the one asked for.
  case inUse(path: String, writable: Bool)
  /// Moving or zeroing bytes failed.
  case transfer(BlockOperation, path: String, offset: UInt64, count: UInt64, code: CInt)
  /// Beyond what a file can hold.
  case outOfRange(path: String, offset: UInt64, count: UInt64)
  /// The kernel refuses a way of moving bytes: what it does not have, or does not allow us.
  case engine(EngineKind, LinuxError)
  /// The file system refuses transfers that go past the page cache (O_DIRECT).
  case notDirect(path: String, code: CInt)

  package var description: String {
    switch self {
    case .cannotOpen(let error): return "cannot \(error)"
    case .notAFile(let path):
      return "'\(path)' is neither a regular file nor a block device: name a disk image"
    case .locked(let path, let holder, let command):
      let who = holder == 0 ? "another process" : "process \(holder) (\(command))"
      return "'\(path)' is locked by \(who): stop it, or open the image shared, without locks"
    case .inUse(let path, let writable):
      return
        "'\(path)' is open for \(writable ? "writing" : "reading") in this process already: close it first"
    case .transfer(let operation, let path, let offset, let count, let code):
      let reason = String(cString: strerror(code))
      return "\(operation.rawValue) of \(count) bytes at \(offset) in '\(path)' failed: \(reason)"
    case .outOfRange(let path, let offset, let count):
      return "\(count) bytes at \(offset) are beyond what '\(path)' can hold"
    case .engine(let kind, let error):
      return "the engine \(kind.rawValue) does not work here (\(error)): choose another, or auto"
    case .notDirect(let path, let code):
      let reason = String(cString: strerror(code))
      return "the file system of '\(path)' has no direct I/O (\(reason)): use the page cache"
    }
  }

  /// The value of `errno`, where there is one.
  package var code: CInt? {
    switch self {
    case .cannotOpen(let error): error.code
    case .transfer(_, _, _, _, let code): code
    case .engine(_, let error): error.code
    case .notDirect(_, let code): code
    default: nil
    }
  }
}

/// The operations of an engine, by the name that messages use.
package enum BlockOperation: String, Sendable {
  case read, write, synchronize, zero, resize, reserve
}
