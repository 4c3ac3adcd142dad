// The plain system calls.
package import Glibc
import Linux

/// Moves bytes by `preadv(2)` and `pwritev(2)` within the call; nothing is under way when it returns.
package final class SynchronousEngine: BlockEngine {
  private let bytesPerCall: Int
  private var zeros: UnsafeMutableRawPointer?

  /// - Parameter bytesPerCall: no system call moves more; for tests of what happens when the kernel moves
  ///   less.
  package init(bytesPerCall: Int = .max) { self.bytesPerCall = max(1, bytesPerCall) }

  deinit { zeros?.deallocate() }

  package func makeSibling() -> (any BlockEngine)? { SynchronousEngine(bytesPerCall: bytesPerCall) }

  package func read(
    _ file: ImageFile, at offset: UInt64, into parts: UnsafeBufferPointer<iovec>
  ) throws(BlockIOError) {
    try move(.read, file, at: offset, parts)
  }

  package func write(
    _ file: ImageFile, at offset: UInt64, from parts: UnsafeBufferPointer<iovec>
  ) throws(BlockIOError) {
    try move(.write, file, at: offset, parts)
  }

  package func synchronize(_ file: ImageFile) throws(BlockIOError) {
    while fdatasync(file.descriptor.rawValue) != 0 {
      // EINTR says that nothing was lost yet; any other failure is final.
      guard errno == EINTR else {
        throw .transfer(.synchronize, path: file.path, offset: 0, count: file.size, code: errno)
      }
    }
  }

  package func zero(_ file: ImageFile, _ range: Range<UInt64>, unmap: Bool) throws(BlockIOError) {
    guard !range.isEmpty else { return }
    let count = range.upperBound - range.lowerBound
    guard let start = Int64(exactly: range.lowerBound), Int64(exactly: range.upperBound) != nil else {
      throw .outOfRange(path: file.path, offset: range.lowerBound, count: count)
    }
    while true {
      switch file.makeZero(start, count: Int64(count), unmap: unmap) {
      case 0: return
      case EINTR: continue
      // Not this file system; or a block device, whose sectors the range does not match.
      case EOPNOTSUPP, ENOSYS, EINVAL: return try writeZeros(file, range)
      case let code:
        throw .transfer(.zero, path: file.path, offset: range.lowerBound, count: count, code: code)
      }
    }
  }

  private func writeZeros(_ file: ImageFile, _ range: Range<UInt64>) throws(BlockIOError) {
    let zeros = self.zeros ?? .allocate(byteCount: Limits.zeroBytesPerCall, alignment: 4096)
    if self.zeros == nil { memset(zeros, 0, Limits.zeroBytesPerCall) }
    self.zeros = zeros
    var offset = range.lowerBound
    // What lies beyond the end of the file is zeros already.
    let end = min(range.upperBound, try file.status().size)
    while offset < end {
      let count = Int(min(end - offset, UInt64(Limits.zeroBytesPerCall)))
      try moveOne(.write, file, at: offset, zeros, count)
      offset += UInt64(count)
    }
  }

  // SAFETY: the kernel checks the addresses of the parts, and the caller keeps the memory alive
  // (`BlockEngine`).
  private func move(
    _ operation: BlockOperation, _ file: ImageFile, at offset: UInt64, _ parts: UnsafeBufferPointer<iovec>
  ) throws(BlockIOError) {
    guard let total = parts.byteCount, let start = Int64(exactly: offset), start <= Int64.max - Int64(total)
    else { throw .outOfRange(path: file.path, offset: offset, count: parts.byteCount ?? .max) }
    var position = off_t(start)
    var index = 0
    while index < parts.count {
      let here = min(parts.count - index, Limits.partsPerCall)
      let list = UnsafeBufferPointer(rebasing: parts[index..<index + here])
      var moved = try once(operation, file, at: position, list)
      if moved == 0, operation == .read, (list.byteCount ?? 0) > 0 {
        UnsafeBufferPointer(rebasing: parts[index...]).fillWithZeros()
        return
      }
      position += off_t(moved)
      let end = index + here
      while index < end, moved >= parts[index].iov_len {
        moved -= parts[index].iov_len
        index += 1
      }
      if index < end, moved > 0, let base = parts[index].iov_base {
        // The kernel stopped within a part: its rest goes alone, so that the list need not be changed.
        let rest = parts[index].iov_len - moved
        try moveOne(operation, file, at: UInt64(position), base + moved, rest)
        position += off_t(rest)
        index += 1
      }
    }
  }

  private func moveOne(
    _ operation: BlockOperation, _ file: ImageFile, at offset: UInt64, _ base: UnsafeMutableRawPointer,
    _ count: Int
  ) throws(BlockIOError) {
    var done = 0
    while done < count {
      var part = iovec(iov_base: base + done, iov_len: count - done)
      let moved = try withUnsafePointer(to: &part) { (pointer) throws(BlockIOError) -> Int in
        try once(
          operation, file, at: off_t(offset) + off_t(done), UnsafeBufferPointer(start: pointer, count: 1))
      }
      if moved == 0, operation == .read {
        memset(base + done, 0, count - done)
        return
      }
      done += moved
    }
  }

  /// One system call, repeated only when a signal interrupted it.
  /// - Returns: how many bytes it moved; 0 when there are none to move, or at the end of a file that is read.
  private func once(
    _ operation: BlockOperation, _ file: ImageFile, at position: off_t, _ parts: UnsafeBufferPointer<iovec>
  ) throws(BlockIOError) -> Int {
    let descriptor = file.descriptor.rawValue
    while true {
      var moved: Int
      if bytesPerCall == .max {
        let count = CInt(parts.count)
        moved =
          operation == .read
          ? preadv(descriptor, parts.baseAddress, count, position)
          : pwritev(descriptor, parts.baseAddress, count, position)
      } else {
        guard let part = parts.first(where: { $0.iov_len > 0 }) else { return 0 }
        let count = min(part.iov_len, bytesPerCall)
        moved =
          operation == .read
          ? pread(descriptor, part.iov_base, count, position)
          : pwrite(descriptor, part.iov_base, count, position)
      }
      if moved > 0 || (moved == 0 && (operation == .read || parts.byteCount == 0)) { return moved }
      if moved < 0, errno == EINTR { continue }
      // A write that moves nothing and names no reason: the kernel's way to say that it is full.
      let code = moved == 0 ? ENOSPC : errno
      throw .transfer(
        operation, path: file.path, offset: UInt64(position), count: parts.byteCount ?? 0, code: code)
    }
  }
}
