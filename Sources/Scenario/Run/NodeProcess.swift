// One running node: a UML process, its console, its end.
import Glibc
import Linux
import Simulation

/// A UML kernel that runs, and what it says.
final class NodeProcess {
  /// How a node ended.
  enum Outcome: Equatable {
    case finished
    /// It was simulated so.
    case poweredOff(SimulationTime)
    /// One line, without the node's name.
    case failed(String)
  }

  let node: Scenario.Node
  /// nil while it runs.
  private(set) var outcome: Outcome?
  /// Called when it has ended, however.
  var onEnd: (() -> Void)?
  /// Called for every whole line of the console.
  var onLine: ((Substring) -> Void)?
  private(set) var endTime: UInt64 = 0

  private let process: ChildProcess
  private let console: Descriptor
  private let consoleFile: Descriptor
  private let loop: EventLoop
  private var tokens: [EventLoop.Token] = []
  private var line = ""
  private var lastLine = ""
  private var guestExit: Int?
  private let deadline: UInt64

  /// Starts the kernel.
  init(_ command: KernelArguments, preload: String, reaper: Reaper, loop: EventLoop) throws(LinuxError) {
    node = command.node
    self.loop = loop
    let consolePath = command.folder.console(of: node.name)
    deadline = HostClock.milliseconds + UInt64(node.wallLimit) * 1000
    consoleFile = Descriptor(
      owning: try retrying("create", consolePath) {
        open(consolePath, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
      })
    let nothing = Descriptor(
      owning: try retrying("open", "/dev/null") { open("/dev/null", O_RDONLY | O_CLOEXEC) })
    // A pipe: UML's console needs one, or a terminal.
    let pipe = try Descriptor.pipe()
    process = try ChildProcess(
      path: try absolutePath(node.kernel), name: "linux", arguments: command.arguments,
      environment: command.environment(preload: preload), directory: command.folder.scratch,
      input: nothing.rawValue, output: pipe.writer.rawValue, error: pipe.writer.rawValue,
      withoutRandomisation: true, reaper: reaper)
    console = try pipe.reader.duplicate()
    try console.setNonblocking(true)
    tokens.append(try loop.add(console.rawValue) { [unowned self] in readConsole() })
    tokens.append(try loop.add(process.descriptor.rawValue) { [unowned self] in processEnded() })
  }

  deinit { for token in tokens { loop.remove(token) } }

  /// Kills the node if it has run too long; call it now and then.
  func enforceLimit() {
    guard outcome == nil, HostClock.milliseconds > deadline else { return }
    end(.failed("hung: no end after \(node.wallLimit) s of host time (wall-limit)"))
  }

  /// Kills the node; it is not to blame.
  func stop(_ reason: String) {
    if outcome == nil { end(.failed(reason)) }
  }

  /// The power goes, now: the kernel does nothing any more; what it said before counts.
  func losePower(at time: SimulationTime) {
    guard outcome == nil else { return }
    process.kill()
    readConsole()
    if outcome == nil { end(.poweredOff(time)) }
  }

  private func processEnded() {
    guard outcome == nil, let status = process.poll() else { return }
    readConsole()
    guard outcome == nil else { return }
    switch (status, guestExit) {
    case (.exited(0), 0), (.exited(0), nil): end(.finished)
    case (.exited(0), let code?): end(.failed("its job ended with exit code \(code)"))
    case (let status, _):
      end(.failed("its kernel ended with \(status)\(lastLine.isEmpty ? "" : ": \(lastLine)")"))
    }
  }

  private func end(_ outcome: Outcome) {
    self.outcome = outcome
    process.kill()
    for token in tokens { loop.remove(token) }
    tokens = []
    endTime = HostClock.microseconds
    onEnd?()
  }

  private func readConsole() {
    var buffer = [UInt8](repeating: 0, count: 16384)
    while outcome == nil {
      let count = read(console.rawValue, &buffer, buffer.count)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else {
        // The end of the console; the process tells the rest.
        if count == 0, let first = tokens.first { loop.remove(first) }
        return
      }
      _ = buffer.withUnsafeBufferPointer { write(consoleFile.rawValue, $0.baseAddress, count) }
      line += String(decoding: buffer[..<count], as: UTF8.self)
      while let newline = line.firstIndex(where: \.isNewline) {
        take(line[..<newline])
        line.removeSubrange(...newline)
      }
      // A guest may write without end and without a line.
      if line.utf8.count > 65536 { line = "" }
    }
  }

  private func take(_ text: Substring) {
    if !text.isEmpty { lastLine = String(text.prefix(200)) }
    onLine?(text)
    if text.contains("Kernel panic - not syncing") {
      // A UML that panicked with a virtio_uml device spins for ever.
      end(.failed("panicked: \(lastLine)"))
    } else if text.hasPrefix("ttblk-guest: exit ") {
      guestExit = Int(text.dropFirst("ttblk-guest: exit ".count)) ?? -1
    }
  }
}
