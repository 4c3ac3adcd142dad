// Looking for zeros.
import Glibc

extension UnsafeRawBufferPointer {
  /// Whether all bytes are zero.
  ///
  /// SAFETY: both ranges that `memcmp` compares lie within the buffer.
  package var isAllZero: Bool {
    guard let base = baseAddress, count > 0 else { return true }
    // Each byte equals the one before it, and the first is zero.
    return self[0] == 0 && memcmp(base, base + 1, count - 1) == 0
  }

  /// How many bytes from `start` on are alike, all zeros or not.
  ///
  /// Looks at whole blocks of `Limits.zeroBlock` bytes of the disk.
  /// - Parameter offset: where on the disk the bytes begin.
  func run(from start: Int, diskOffset offset: UInt64) -> (isZero: Bool, count: Int) {
    func end(of position: Int) -> Int {
      let left = Limits.zeroBlock - Int((offset + UInt64(position)) % UInt64(Limits.zeroBlock))
      return Swift.min(position + left, count)
    }
    func isZero(_ position: Int) -> Bool {
      UnsafeRawBufferPointer(rebasing: self[position..<end(of: position)]).isAllZero
    }
    let kind = isZero(start)
    var position = end(of: start)
    while position < count, isZero(position) == kind { position = end(of: position) }
    return (kind, position - start)
  }
}
