// Reading and writing one run of memory.
import Glibc

extension BlockEngine {
  /// Fills one run of memory.
  package func read(
    _ file: ImageFile, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
  ) throws(BlockIOError) {
    var part = iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
    try withUnsafePointer(to: &part) { (pointer) throws(BlockIOError) in
      try read(file, at: offset, into: UnsafeBufferPointer(start: pointer, count: 1))
    }
  }

  /// Writes one run of memory.
  package func write(
    _ file: ImageFile, at offset: UInt64, from buffer: UnsafeRawBufferPointer
  ) throws(BlockIOError) {
    // SAFETY: iovec has one type for both directions; nothing writes through it here.
    var part = iovec(
      iov_base: UnsafeMutableRawPointer(mutating: buffer.baseAddress), iov_len: buffer.count)
    try withUnsafePointer(to: &part) { (pointer) throws(BlockIOError) in
      try write(file, at: offset, from: UnsafeBufferPointer(start: pointer, count: 1))
    }
  }

  /// Fills an array.
  package func read(_ file: ImageFile, at offset: UInt64, into bytes: inout [UInt8]) throws(BlockIOError) {
    try bytes.withUnsafeMutableBufferPointer { (buffer) throws(BlockIOError) in
      try read(file, at: offset, into: UnsafeMutableRawBufferPointer(buffer))
    }
  }

  /// Writes a piece of an array.
  package func write(
    _ file: ImageFile, at offset: UInt64, from bytes: ArraySlice<UInt8>
  ) throws(BlockIOError) {
    try bytes.withUnsafeBufferPointer { (buffer) throws(BlockIOError) in
      try write(file, at: offset, from: UnsafeRawBufferPointer(buffer))
    }
  }
}
