// How the command ends, and what it says then.
import BlockIO
import DiskImage
import Glibc
import Linux
import Scenario

/// Exit codes, stable; the README and the man page list them.
enum ExitStatusCode: Int32 {
  /// The operation failed: input, output, a socket.
  case failure = 1
  /// An image is refused: not found, not valid, a backing file that changed.
  case image = 3
  /// An image is locked by somebody else.
  case locked = 4
  /// A guest panicked, hung, or ended badly.
  case guest = 5
  /// The simulation cannot go on: the controller went, or everybody waits for ever.
  case simulation = 6
  /// Wrong arguments or configuration (EX_USAGE).
  case usage = 64
}

/// Says one line on standard error.
func warn(_ line: String) { writeText("ttblk: \(line)\n", to: STDERR_FILENO) }

/// Says one line on standard output, at once: scripts wait for it.
func announce(_ line: String) { writeText(line + "\n", to: STDOUT_FILENO) }

/// Why a command ends badly: thrown, so that sockets and files go in order before the process does.
struct CommandFailure: Error {
  let code: ExitStatusCode
  let line: String

  init(_ code: ExitStatusCode, _ line: String) {
    self.code = code
    self.line = line
  }

  init(_ error: ServiceError) {
    switch error {
    case .configuration: self.init(.usage, error.description)
    case .image(let image): self.init(isLock(image) ? .locked : .image, error.description)
    case .socket: self.init(.failure, error.description)
    case .controller: self.init(.simulation, error.description)
    }
  }

  init(_ error: LinuxError) { self.init(.failure, "cannot \(error)") }

  init(_ error: ConfigurationError) { self.init(.usage, error.description) }
}

private func isLock(_ error: DiskImageError) -> Bool {
  switch error {
  case .file(.locked), .backingUnavailable(_, _, .locked): true
  default: false
  }
}
