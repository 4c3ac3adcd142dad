// Memory of requests, as faults need it.
import DiskImage
import Glibc

extension UnsafeBufferPointer<iovec> {
  /// All bytes, one after the other.
  ///
  /// SAFETY: the parts name memory that is valid during the request.
  var bytes: [UInt8] {
    var result: [UInt8] = []
    for part in self { result += UnsafeRawBufferPointer(start: part.iov_base, count: part.iov_len) }
    return result
  }

  /// Flips a bit, counted from the first one.
  func flip(_ bit: UInt64) {
    var index = Int(bit / 8)
    for part in self {
      guard index >= part.iov_len else {
        let byte = part.iov_base + index
        let value = byte.load(as: UInt8.self) ^ 1 << UInt8(bit % 8)
        return byte.storeBytes(of: value, as: UInt8.self)
      }
      index -= part.iov_len
    }
  }
}

extension DiskImage {
  /// Makes a change of a cache.
  func apply(_ content: VolatileWrite.Content, _ range: Range<UInt64>) throws(DiskImageError) {
    switch content {
    case .zeroes(let unmap): try writeZeroes(range, unmap: unmap)
    case .discarded: try discard(range)
    case .bytes(let bytes):
      let failure: DiskImageError? = bytes.withUnsafeBytes { buffer in
        // SAFETY: iovec has one type for both directions; nothing writes through it here.
        var part = iovec(
          iov_base: UnsafeMutableRawPointer(mutating: buffer.baseAddress), iov_len: buffer.count)
        return withUnsafePointer(to: &part) { pointer in
          do throws(DiskImageError) {
            try write(at: range.lowerBound, from: UnsafeBufferPointer(start: pointer, count: 1))
            return nil
          } catch { return error }
        }
      }
      if let failure { throw failure }
    }
  }

  /// Reads some bytes, over which `overlay` puts more.
  func bytes(
    at offset: UInt64, count: Int, overlay: (UnsafeBufferPointer<iovec>) -> Void
  ) throws(DiskImageError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    let failure: DiskImageError? = bytes.withUnsafeMutableBytes { buffer in
      var part = iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
      return withUnsafePointer(to: &part) { pointer in
        let parts = UnsafeBufferPointer(start: pointer, count: 1)
        do throws(DiskImageError) {
          try read(at: offset, into: parts)
          overlay(parts)
          return nil
        } catch { return error }
      }
    }
    if let failure { throw failure }
    return bytes
  }
}
