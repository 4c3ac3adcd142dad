// Bytes at places of an open file.
import Glibc

extension Descriptor {
  /// The bytes of a range of the file (`pread(2)`); fewer where the file ends within it.
  package func bytes(at offset: Int, count: Int) throws(LinuxError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var done = 0
    while done < count {
      let step = try bytes.withUnsafeMutableBufferPointer { (raw) throws(LinuxError) -> Int in
        let rest = UnsafeMutableBufferPointer(rebasing: raw[done...])
        return try retrying("pread", "") {
          pread(rawValue, rest.baseAddress, rest.count, off_t(offset + done))
        }
      }
      guard step > 0 else { break }
      done += step
    }
    return done < count ? Array(bytes[..<done]) : bytes
  }

  /// Writes bytes to a place of the file, all of them (`pwrite(2)`).
  package func write(_ bytes: [UInt8], at offset: Int) throws(LinuxError) {
    var done = 0
    while done < bytes.count {
      done += try bytes.withUnsafeBufferPointer { (raw) throws(LinuxError) -> Int in
        let rest = UnsafeBufferPointer(rebasing: raw[done...])
        return try retrying("pwrite", "") {
          pwrite(rawValue, rest.baseAddress, rest.count, off_t(offset + done))
        }
      }
    }
  }
}
