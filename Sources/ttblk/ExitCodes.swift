// How the command ends, and what it says then.
import ArgumentParser
import BlockIO
import DiskImage
import Glibc
import Linux
import Scenario

/// The exit codes of every subcommand; they do not change between versions.
enum ExitCodes: Int32 {
  case ok = 0
  /// The operation was tried and failed: input or output, no space, a socket.
  case failed = 1
  /// A question was answered with no: images differ, a check found damage.
  case negative = 2
  /// An image was refused before anything was done: missing, damaged, of another format, its backing file
  /// changed.
  case refused = 3
  /// Somebody else uses the image.
  case locked = 4
  /// What was to be made exists already.
  case exists = 5
  /// A guest panicked, hung, or ended badly.
  case guest = 6
  /// The simulation cannot go on: the controller is absent or went, or everybody waits for ever.
  case simulation = 7
  /// Stopped by a signal at a safe place.
  case interrupted = 130
  /// The command line or a configuration makes no sense (`EX_USAGE`; ArgumentParser's own).
  case usage = 64

  static let table = """
    Exit codes: 0 done; 1 failed; 2 the answer is no (images differ, damage found); 3 the image was refused \
    (missing, damaged, of another format, backing file changed); 4 the image is in use; 5 the file exists \
    already; 6 a guest panicked, hung or ended badly; 7 the simulation cannot go on (no controller, or \
    everybody waits for ever); 64 wrong usage or configuration; 130 stopped by a \
    signal.
    """
}

/// Why a command ends badly: thrown, so that sockets and files go in order before the process does.
struct CommandFailure: Error {
  let code: ExitCodes
  let line: String

  init(_ code: ExitCodes, _ line: String) {
    self.code = code
    self.line = line
  }

  /// The code that belongs to an error of ours; nil for one of the argument parser.
  init?(_ error: any Error) {
    switch error {
    case let error as CommandFailure: self = error
    case let error as DiskImageError: self.init(Self.code(for: error), error.description)
    case let error as BlockIOError: self.init(Self.code(for: error), error.description)
    case let error as ServiceError: self.init(Self.code(for: error), error.description)
    case let error as RunError: self.init(Self.code(for: error), error.description)
    case let error as ConfigurationError: self.init(.usage, error.description)
    case let error as LinuxError: self.init(.failed, "cannot \(error)")
    default: return nil
    }
  }

  private static func code(for error: DiskImageError) -> ExitCodes {
    switch error {
    case .file(let error): code(for: error)
    case .backingUnavailable(_, _, let error): code(for: error) == .locked ? .locked : .refused
    case .system, .outOfBounds, .readOnly, .closed, .flushFailedBefore, .wouldChangeFormat: .failed
    case .exists: .exists
    case .interrupted: .interrupted
    default: .refused
    }
  }

  private static func code(for error: BlockIOError) -> ExitCodes {
    switch error {
    case .locked, .inUse: .locked
    case .cannotOpen(let error) where error.code == ENOENT: .refused
    case .notAFile: .refused
    default: .failed
    }
  }

  private static func code(for error: RunError) -> ExitCodes {
    switch error {
    case .configuration: .usage
    case .image(let error): code(for: error)
    case .service(let error): code(for: error)
    case .outputTaken: .exists
    case .nodes: .guest
    case .simulation: .simulation
    case .command(.exited(let code), _): ExitCodes(rawValue: code) ?? .failed
    case .command, .system, .interrupted: .failed
    }
  }

  private static func code(for error: ServiceError) -> ExitCodes {
    switch error {
    case .configuration: .usage
    case .image(let error): code(for: error)
    case .socket, .system, .nbd: .failed
    case .controller: .simulation
    }
  }
}

/// Says one line on standard error. Paths may contain anything: a message stays one line.
func warn(_ message: String) {
  let line = message.unicodeScalars.map { $0.value < 32 || $0.value == 127 ? "?" : Character($0) }
  writeText("ttblk: \(String(line))\n", to: STDERR_FILENO)
}

/// Says one line on standard output, at once: scripts wait for it.
func announce(_ line: String) { writeText(line + "\n", to: STDOUT_FILENO) }

/// The files of one command, which says what is to be known of them.
func makeRegistry() -> FileRegistry { FileRegistry(onNotice: warn) }
