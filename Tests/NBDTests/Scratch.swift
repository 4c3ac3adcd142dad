// A folder for one test, and programs in it.
import Glibc
import Linux
import Testing

/// A folder that goes with its owner.
final class Scratch: Sendable {
  let path: String

  init() {
    var template = Array("/tmp/ttblk-nbd.XXXXXX".utf8CString)
    _ = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!) }
    path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
  }

  deinit { _ = shell("rm -rf \(path)") }

  func file(_ name: String) -> String { "\(path)/\(name)" }

  func write(_ name: String, _ bytes: [UInt8]) {
    let descriptor = open(file(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    precondition(descriptor >= 0)
    precondition(Glibc.write(descriptor, bytes, bytes.count) == bytes.count)
    Glibc.close(descriptor)
  }

  func bytes(_ name: String) -> [UInt8] {
    let descriptor = open(file(name), O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return [] }
    defer { Glibc.close(descriptor) }
    var status = stat()
    fstat(descriptor, &status)
    var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeMutableBytes {
        pread(descriptor, $0.baseAddress.map { $0 + done }, $0.count - done, off_t(done))
      }
      guard count > 0 else { break }
      done += count
    }
    return bytes
  }

  /// What a shell script in this folder says, if it ends well within a minute; what went wrong is recorded.
  @discardableResult
  func shell(_ script: String, seconds: Int = 60) -> String {
    let output = "\(path)/.output"
    let descriptor = open(output, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    let nothing = open("/dev/null", O_RDONLY | O_CLOEXEC)
    defer {
      Glibc.close(descriptor)
      Glibc.close(nothing)
    }
    guard
      let process = try? ChildProcess(
        path: "/usr/bin/timeout", arguments: ["-k", "1", "\(seconds)", "/bin/sh", "-ec", script],
        directory: path, input: nothing, output: descriptor, error: descriptor)
    else {
      Issue.record("no shell")
      return ""
    }
    // `timeout` ends it.
    while process.poll() == nil { usleep(2000) }
    let status = process.status
    let text = String(decoding: bytes(".output"), as: UTF8.self)
    if status != .exited(0) { Issue.record("\(script): \(status): \(text)") }
    return text
  }
}
