// What people and signals have to do with a long operation.
import ArgumentParser
import DiskImage
import Glibc
import Linux
import Telemetry

/// Options of commands that may take long.
struct ProgressOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Where progress goes: 'bar' (standard error), 'none', or 'fd:N' for a line of JSON now and then.",
      discussion: "A bar on a terminal unless said otherwise. SIGUSR1 prints one line in any case.",
      valueName: "where"))
  var progress: ProgressTarget?

  /// Progress that is shown, and that SIGINT, SIGTERM and SIGHUP stop at the next safe place.
  func start(_ command: String) throws -> Progress {
    let monitor = try Monitor(command, progress ?? (isatty(STDERR_FILENO) == 1 ? .bar : .none))
    let progress = Progress()
    progress.onStep = { monitor.step($0) }
    return progress
  }
}

enum ProgressTarget: ExpressibleByArgument {
  case bar
  case none
  case lines(CInt)

  init?(argument: String) {
    switch argument {
    case "bar": self = .bar
    case "none": self = .none
    default:
      guard argument.hasPrefix("fd:"), let number = CInt(argument.dropFirst(3)), number >= 0,
        fcntl(number, F_GETFD) >= 0
      else { return nil }
      self = .lines(number)
    }
  }
}

/// Shows progress ten times a second at most, and looks for signals two hundred times.
private final class Monitor {
  private let command: String
  private let target: ProgressTarget
  private let signals: Signals
  private let start = HostClock.nanoseconds
  private var lastLooked: UInt64 = 0
  private var lastShown: UInt64 = 0
  private var isBarThere = false

  init(_ command: String, _ target: ProgressTarget) throws {
    self.command = command
    self.target = target
    signals = try Signals([SIGINT, SIGTERM, SIGHUP, SIGUSR1])
  }

  deinit { clearBar() }

  /// - Returns: whether to go on.
  func step(_ progress: Progress) -> Bool {
    // Steps may be as short as a sector: the clock costs no system call, a look at the signals does.
    let now = HostClock.nanoseconds
    let isLast = progress.done == progress.total
    guard now - lastLooked >= 5_000_000 || isLast else { return true }
    lastLooked = now
    while let signal = signals.next() {
      clearBar()
      guard signal == SIGUSR1 else { return false }
      writeText("ttblk: \(text(progress))\n", to: STDERR_FILENO)
    }
    guard now - lastShown >= 100_000_000 || isLast else { return true }
    lastShown = now
    switch target {
    case .none: break
    case .bar: showBar(progress)
    case .lines(let descriptor): writeText(line(progress) + "\n", to: descriptor)
    }
    return true
  }

  private func line(_ progress: Progress) -> String {
    JSONValue.object([
      "command": .string(command), "phase": .string(progress.phase), "done": .unsigned(progress.done),
      "total": .unsigned(progress.total),
    ]).description
  }

  private func text(_ progress: Progress) -> String {
    let seconds = (HostClock.nanoseconds - start) / 1_000_000_000
    return
      "\(command): \(progress.phase), \(ByteText.short(progress.done)) of \(ByteText.short(progress.total))"
      + " (\(percent(progress)) %) after \(seconds) s"
  }

  private func percent(_ progress: Progress) -> UInt64 {
    guard progress.total > 0 else { return 100 }
    return UInt64(Double(progress.done) / Double(progress.total) * 100)
  }

  private func showBar(_ progress: Progress) {
    let filled = Int(percent(progress)) * 30 / 100
    let bar = String(repeating: "#", count: filled) + String(repeating: " ", count: 30 - filled)
    writeText("\r\u{1b}[K[\(bar)] \(text(progress))", to: STDERR_FILENO)
    isBarThere = true
  }

  private func clearBar() {
    guard isBarThere else { return }
    writeText("\r\u{1b}[K", to: STDERR_FILENO)
    isBarThere = false
  }
}
