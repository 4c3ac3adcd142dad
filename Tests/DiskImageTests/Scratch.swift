// A folder for one test, and disks as arrays of bytes.
import BlockIO
import Glibc
import Linux
import Simulation
import Testing

@testable import DiskImage

/// A folder that goes with its owner.
final class Scratch {
  let path: String

  init() {
    var template = Array("/tmp/ttblk-test.XXXXXX".utf8CString)
    _ = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!) }
    path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
  }

  deinit {
    _ = run("/bin/rm", ["-rf", path])
  }

  func file(_ name: String) -> String { "\(path)/\(name)" }

  /// Writes a file, and sets the time of its last change.
  @discardableResult
  func write(_ name: String, _ bytes: [UInt8], modified: Int = 1_700_000_000) -> String {
    let path = file(name)
    writeFile(path, bytes)
    touch(path, modified)
    return path
  }

  var names: [String] {
    guard let folder = opendir(path) else { return [] }
    defer { closedir(folder) }
    var result: [String] = []
    while let entry = readdir(folder) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != ".", name != ".." { result.append(name) }
    }
    return result.sorted()
  }
}

func writeFile(_ path: String, _ bytes: [UInt8]) {
  let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
  precondition(descriptor >= 0, path)
  precondition(Glibc.write(descriptor, bytes, bytes.count) == bytes.count)
  close(descriptor)
}

/// A file's bytes; descriptors of our own would drop the locks of a disk that is open, so only of closed
/// ones.
func readFile(_ path: String) -> [UInt8] {
  let descriptor = open(path, O_RDONLY)
  precondition(descriptor >= 0, path)
  defer { close(descriptor) }
  var status = stat()
  fstat(descriptor, &status)
  var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
  var done = 0
  while done < bytes.count {
    let count = bytes.withUnsafeMutableBytes { read(descriptor, $0.baseAddress! + done, $0.count - done) }
    precondition(count > 0)
    done += count
  }
  return bytes
}

func status(of path: String) -> stat {
  var status = stat()
  precondition(lstat(path, &status) == 0, path)
  return status
}

func touch(_ path: String, _ seconds: Int) {
  let times = [timespec(tv_sec: seconds, tv_nsec: 0), timespec(tv_sec: seconds, tv_nsec: 0)]
  precondition(utimensat(AT_FDCWD, path, times, 0) == 0)
}

/// Runs a program to its end; its output goes nowhere.
func run(_ program: String, _ arguments: [String], output: CInt? = nil) -> CInt {
  let null = open("/dev/null", O_RDWR)
  defer { close(null) }
  guard
    let child = try? ChildProcess(
      path: program, arguments: arguments, input: null, output: output ?? null, error: null)
  else { return -1 }
  while true {
    if case .exited(let code) = child.poll() { return code }
    if case .killed = child.status { return -2 }
    usleep(1000)
  }
}

extension DiskImage {
  func bytes(_ range: Range<UInt64>) throws(DiskImageError) -> [UInt8] {
    var result = [UInt8](repeating: 0xee, count: Int(range.upperBound - range.lowerBound))
    // In parts of odd lengths, so that their borders fall anywhere.
    try result.withUnsafeMutableBufferPointer { (buffer) throws(DiskImageError) in
      let parts = cut(UnsafeMutableRawBufferPointer(buffer), Int(range.lowerBound % 977) + 300)
      try parts.withUnsafeBufferPointer { (parts) throws(DiskImageError) in
        try read(at: range.lowerBound, into: parts)
      }
    }
    return result
  }

  func all() throws(DiskImageError) -> [UInt8] { try bytes(0..<size) }

  func put(_ bytes: [UInt8], at offset: UInt64) throws(DiskImageError) {
    var copy = bytes
    try copy.withUnsafeMutableBufferPointer { (buffer) throws(DiskImageError) in
      let parts = cut(UnsafeMutableRawBufferPointer(buffer), Int(offset % 1201) + 200)
      try parts.withUnsafeBufferPointer { (parts) throws(DiskImageError) in
        try write(at: offset, from: parts)
      }
    }
  }
}

func cut(_ buffer: UnsafeMutableRawBufferPointer, _ length: Int) -> [iovec] {
  var parts: [iovec] = [iovec(iov_base: nil, iov_len: 0)]
  var position = 0
  while position < buffer.count {
    let count = min(length, buffer.count - position)
    parts.append(iovec(iov_base: buffer.baseAddress! + position, iov_len: count))
    position += count
  }
  return parts
}

extension RandomStream {
  mutating func bytes(_ count: Int) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: (count + 7) / 8 * 8) { buffer, filled in
      let raw = UnsafeMutableRawBufferPointer(buffer)
      for offset in stride(from: 0, to: count, by: 8) {
        raw.storeBytes(of: next(), toByteOffset: offset, as: UInt64.self)
      }
      filled = count
    }
  }
}
