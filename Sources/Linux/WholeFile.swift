// Small files, read and written whole.
import Glibc

/// The bytes of a file.
/// - Throws: EFBIG when there are more than `limit`.
package func readFile(_ path: String, limit: Int) throws(LinuxError) -> [UInt8] {
  let file = Descriptor(owning: try retrying("open", path) { open(path, O_RDONLY | O_CLOEXEC) })
  var bytes: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 65536)
  while true {
    let count = try buffer.withUnsafeMutableBufferPointer { (raw) throws(LinuxError) -> Int in
      try retrying("read", path) { read(file.rawValue, raw.baseAddress, raw.count) }
    }
    if count == 0 { return bytes }
    bytes.append(contentsOf: buffer[..<count])
    if bytes.count > limit { throw LinuxError("read", path, code: EFBIG) }
  }
}

/// Writes a file under another name first, so that nobody ever reads half of it.
package func writeFile(_ path: String, _ text: String) throws(LinuxError) {
  let temporary = path + ".tmp"
  do {
    let file = Descriptor(
      owning: try retrying("open", path) { open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644) })
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let count = try rest.withUnsafeBufferPointer { (raw) throws(LinuxError) -> Int in
        try retrying("write", path) { write(file.rawValue, raw.baseAddress, raw.count) }
      }
      rest = rest.dropFirst(count)
    }
  }
  _ = try retrying("rename", path) { rename(temporary, path) }
}

/// Writes to a descriptor that somebody else owns, as far as it takes it: for messages to people.
package func writeText(_ text: String, to descriptor: CInt) {
  var rest = Array(text.utf8)[...]
  while !rest.isEmpty {
    let count = rest.withUnsafeBufferPointer { write(descriptor, $0.baseAddress, $0.count) }
    if count < 0, errno == EINTR { continue }
    guard count > 0 else { return }
    rest = rest.dropFirst(count)
  }
}
