// Bytes of a disk as an array.
import Glibc

extension DiskImage {
  /// As many bytes as there are wanted, which lie within the disk.
  func readBytes(at offset: UInt64, count: UInt64) throws(DiskImageError) -> [UInt8] {
    guard count > 0 else { return [] }
    var bytes = [UInt8](repeating: 0, count: Int(count))
    try bytes.withUnsafeMutableBufferPointer { (buffer) throws(DiskImageError) in
      // SAFETY: the part is the array, which outlives the call.
      var part = iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
      try withUnsafePointer(to: &part) { (pointer) throws(DiskImageError) in
        try read(at: offset, into: UnsafeBufferPointer(start: pointer, count: 1))
      }
    }
    return bytes
  }
}
