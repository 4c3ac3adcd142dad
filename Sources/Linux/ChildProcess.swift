// Programs that we start and that never outlive us.
import CLinux
import Glibc

/// How a program ended.
package enum ExitStatus: Equatable, Sendable, CustomStringConvertible {
  case exited(CInt)
  case killed(signal: CInt)

  init(waitStatus status: CInt) {
    let signal = status & 0x7f
    self = signal == 0 ? .exited((status >> 8) & 0xff) : .killed(signal: signal)
  }

  package var description: String {
    switch self {
    case .exited(let code): "exit \(code)"
    case .killed(let signal): "signal \(signal)"
    }
  }
}

/// A started program, in a process group of its own; SIGKILL takes it when we die, and when the owner goes.
package final class ChildProcess {
  package let identifier: Int32
  /// Becomes readable when the program ends (`pidfd_open(2)`).
  package let descriptor: Descriptor
  private let reaper: Reaper?
  /// How it ended; nil while it runs.
  package private(set) var status: ExitStatus?

  /// Starts `path` with `arguments` (without the program's own name).
  /// - Parameters:
  ///   - name: what it sees as its own name (`argv[0]`); nil gives it the path.
  ///   - directory: where it starts; a relative `path` is seen from there.
  ///   - environment: `NAME=value` each; nil takes ours.
  ///   - withoutRandomisation: as `setarch -R` does; UML needs it.
  ///   - reaper: kills what the program started, too, if we are killed.
  package init(
    path: String, name: String? = nil, arguments: [String], environment: [String]? = nil,
    directory: String? = nil, input: CInt, output: CInt, error: CInt, withoutRandomisation: Bool = false,
    reaper: Reaper? = nil
  ) throws(LinuxError) {
    let pid = withCStrings([name ?? path] + arguments) { argv in
      withCStrings(environment ?? currentEnvironment()) { envp in
        CLinux_spawn(
          path, argv, envp, directory, input, output, error, withoutRandomisation,
          reaper?.channelNumber ?? -1)
      }
    }
    guard pid > 0 else { throw LinuxError("exec", path, code: -pid) }
    identifier = pid
    self.reaper = reaper
    let watch = CLinux_pidfd_open(pid)
    guard watch >= 0 else {
      let failure = LinuxError("pidfd_open", path)
      Glibc.kill(-pid, SIGKILL)
      waitpid(pid, nil, 0)
      reaper?.forget(pid)
      throw failure
    }
    descriptor = Descriptor(owning: watch)
  }

  deinit { kill() }

  /// Takes note of the end if it has come; returns how it ended.
  @discardableResult
  package func poll() -> ExitStatus? { reap(flags: WNOHANG) }

  /// Sends a signal to the program and to what it started.
  package func signal(_ number: CInt) {
    if status == nil { Glibc.kill(-identifier, number) }
  }

  /// Kills the program and what it started, and waits until it is gone.
  package func kill() {
    guard status == nil else { return }
    Glibc.kill(-identifier, SIGKILL)
    _ = reap(flags: 0)
  }

  private func reap(flags: CInt) -> ExitStatus? {
    if let status { return status }
    var word: CInt = 0
    while true {
      let result = waitpid(identifier, &word, flags)
      if result == identifier {
        status = ExitStatus(waitStatus: word)
        // What it started may still be there, in its group.
        Glibc.kill(-identifier, SIGKILL)
        reaper?.forget(identifier)
        return status
      }
      if result < 0, errno == EINTR { continue }
      return nil
    }
  }
}

/// Our own environment, `NAME=value` each.
package func currentEnvironment() -> [String] {
  var result: [String] = []
  var next: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?> = environ
  while let entry = next.pointee {
    result.append(String(cString: entry))
    next += 1
  }
  return result
}

private func withCStrings<Result>(
  _ strings: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
  var pointers: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) }
  pointers.append(nil)
  defer { for pointer in pointers { free(pointer) } }
  return pointers.withUnsafeMutableBufferPointer { body($0.baseAddress.unsafelyUnwrapped) }
}
