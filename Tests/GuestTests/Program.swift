// Programs under a time limit, and what they say.
import Foundation
import Glibc
import Linux

/// What stops a test from going on; not what it tests.
struct RigError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// A program that a test started. It never outlives its owner.
final class Program {
  private(set) var output = ""
  private(set) var error = ""

  private let name: String
  private let process: ChildProcess
  private let outputPipe: Descriptor
  private let errorPipe: Descriptor

  /// - Parameter environment: besides ours.
  init(
    _ path: String, _ arguments: [String], in directory: String? = nil, environment: [String: String] = [:],
    withoutRandomisation: Bool = false
  ) throws {
    name = ([baseName(path)] + arguments.prefix(2)).joined(separator: " ")
    let all = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    let outputs = try Descriptor.pipe()
    let errors = try Descriptor.pipe()
    let nothing = Descriptor(
      owning: try retrying("open", "/dev/null") { open("/dev/null", O_RDONLY | O_CLOEXEC) })
    process = try ChildProcess(
      path: path, arguments: arguments, environment: all.map { "\($0)=\($1)" }.sorted(), directory: directory,
      input: nothing.rawValue, output: outputs.writer.rawValue, error: errors.writer.rawValue,
      withoutRandomisation: withoutRandomisation)
    outputPipe = try outputs.reader.duplicate()
    errorPipe = try errors.reader.duplicate()
    try outputPipe.setNonblocking(true)
    try errorPipe.setNonblocking(true)
  }

  deinit { process.kill() }

  var identifier: Int32 { process.identifier }

  var isRunning: Bool { process.poll() == nil }

  func signal(_ number: Int32) { process.signal(number) }

  func kill() { process.kill() }

  /// Waits for the end: the exit code, or 128 and the signal.
  @discardableResult
  func wait() throws -> Int32 {
    try waitUntil("did not end") { self.process.poll() != nil }
    collect()
    return switch process.poll() {
    case .exited(let code): code
    case .killed(let signal): 128 + signal
    case nil: -1
    }
  }

  /// Waits until this is on standard output.
  func waitFor(output text: String) throws {
    try waitUntil("never said '\(text)'") { self.output.contains(text) || !self.isRunning }
    collect()
    guard output.contains(text) else { throw RigError("\(name) ended without '\(text)': \(output)\(error)") }
  }

  /// Waits until this is on standard error.
  func waitFor(error text: String) throws {
    try waitUntil("never complained of '\(text)'") { self.error.contains(text) }
  }

  /// Longer than anything takes on a busy machine: what goes wrong shows in what it did, not in the time.
  static let patience = 300.0

  func waitUntil(_ complaint: String, _ condition: () throws -> Bool) throws {
    let end = ContinuousClock.now + .seconds(Self.patience)
    while try !condition() {
      guard ContinuousClock.now < end else {
        process.kill()
        collect()
        throw RigError(
          "\(name) \(complaint) within \(Self.patience) s: \(output.suffix(2000))\(error.suffix(2000))")
      }
      collect(wait: 10)
    }
  }

  /// Takes what it has said; waits so many milliseconds for more, or for its end.
  func collect(wait: Int32 = 0) {
    var entries = [outputPipe.rawValue, errorPipe.rawValue, process.descriptor.rawValue].map {
      pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
    }
    guard poll(&entries, 3, wait) > 0 else { return }
    output += drain(outputPipe)
    error += drain(errorPipe)
    // A pipe that has ended is readable for ever.
    if wait > 0 { usleep(1000) }
  }

  private func drain(_ pipe: borrowing Descriptor) -> String {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = read(pipe.rawValue, &buffer, buffer.count)
      guard count > 0 else { return String(decoding: bytes, as: UTF8.self) }
      bytes += buffer[..<count]
    }
  }
}

/// How a program ended.
struct Outcome {
  let code: Int32
  let output: String
  let error: String

  /// What it complained of, a line each.
  var complaints: [Substring] { error.split(separator: "\n") }
}
