// How the command ends.
import ArgumentParser
import BlockIO
import DiskImage
import Glibc

/// The exit codes of every subcommand; they do not change between versions.
enum ExitCodes: Int32 {
  case ok = 0
  /// The operation was tried and failed: input or output, no space, a peer that went away.
  case failed = 1
  /// A question was answered with no: images differ, a check found damage.
  case negative = 2
  /// An image was refused before anything was done: damaged, of another format, its backing file changed.
  case refused = 3
  /// Somebody else uses the image.
  case locked = 4
  /// What was to be made exists already.
  case exists = 5
  /// The command line makes no sense (`EX_USAGE`; ArgumentParser's own).
  case usage = 64

  static let table = """
    Exit codes: 0 done; 1 failed; 2 the answer is no (images differ, damage found); 3 the image was refused \
    (damaged, of another format, backing file changed); 4 the image is in use; 5 the file exists already; \
    64 wrong usage.
    """
}

/// Runs the work of a subcommand; an error becomes one line on standard error and the exit code that belongs to it.
func reporting<Result>(_ work: () throws -> Result) throws -> Result {
  do {
    return try work()
  } catch let code as ExitCode {
    throw code
  } catch {
    throw report("\(error)", exitCode(for: error))
  }
}

/// Prints `ttblk: <message>` on standard error, and returns what is to be thrown.
func report(_ message: String, _ code: ExitCodes) -> ExitCode {
  // Paths may contain anything: a message stays one line.
  let line = message.unicodeScalars.map { $0.value < 32 || $0.value == 127 ? "?" : Character($0) }
  let bytes = Array("ttblk: \(String(line))\n".utf8)
  // If standard error is closed there is nobody to tell.
  _ = write(STDERR_FILENO, bytes, bytes.count)
  return ExitCode(code.rawValue)
}

private func exitCode(for error: any Error) -> ExitCodes {
  switch error {
  case let error as DiskImageError: exitCode(for: error)
  case let error as BlockIOError: exitCode(for: error)
  default: .failed
  }
}

private func exitCode(for error: DiskImageError) -> ExitCodes {
  switch error {
  case .file(let error): exitCode(for: error)
  case .backingUnavailable(_, _, let error):
    switch exitCode(for: error) {
    case .locked: .locked
    default: .refused
    }
  case .system, .outOfBounds, .readOnly, .closed, .flushFailedBefore, .wouldChangeFormat: .failed
  case .exists: .exists
  default: .refused
  }
}

private func exitCode(for error: BlockIOError) -> ExitCodes {
  switch error {
  case .locked, .inUse: .locked
  case .notAFile: .refused
  default: .failed
  }
}
