// Lists of memory parts: lengths, slices, copies.
package import Glibc

/// A list of memory parts that is filled anew for each request and keeps its storage.
///
/// SAFETY: it owns the list, never the memory that the parts name; whoever appends a part keeps that memory
/// alive until the list is emptied.
package struct IOVectorList: ~Copyable {
  private var storage: UnsafeMutableBufferPointer<iovec>
  package private(set) var count = 0

  /// An empty list that grows beyond `capacity` when it must.
  package init(capacity: Int = 16) { storage = .allocate(capacity: max(1, capacity)) }

  deinit { storage.deallocate() }

  /// The parts; valid until the list is changed.
  package var parts: UnsafeBufferPointer<iovec> { UnsafeBufferPointer(rebasing: storage[..<count]) }

  /// Empties the list; its storage stays.
  package mutating func removeAll() { count = 0 }

  /// Appends one part.
  package mutating func append(_ part: iovec) {
    if count == storage.count {
      let larger = UnsafeMutableBufferPointer<iovec>.allocate(capacity: 2 * count)
      _ = larger.update(fromContentsOf: storage)
      storage.deallocate()
      storage = larger
    }
    storage[count] = part
    count += 1
  }

  /// Appends all parts of a list.
  package mutating func append(_ parts: UnsafeBufferPointer<iovec>) {
    for part in parts { append(part) }
  }

  /// Appends the next `byteCount` bytes of a list of parts, and moves the cursor behind them.
  package mutating func append(
    _ byteCount: UInt64, of parts: UnsafeBufferPointer<iovec>, from cursor: inout IOVectorCursor
  ) {
    var wanted = byteCount
    while wanted > 0, cursor.index < parts.count {
      let part = parts[cursor.index]
      let here = min(UInt64(part.iov_len - cursor.offset), wanted)
      if here > 0 {
        append(iovec(iov_base: part.iov_base.map { $0 + cursor.offset }, iov_len: Int(here)))
      }
      wanted -= here
      cursor.offset += Int(here)
      if cursor.offset == part.iov_len { cursor = IOVectorCursor(index: cursor.index + 1) }
    }
    precondition(wanted == 0, "segments are longer than the request")
  }
}

/// A place in a list of parts.
package struct IOVectorCursor {
  var index = 0
  var offset = 0

  /// The place before the first byte.
  package init() {}

  init(index: Int) { self.index = index }
}

extension UnsafeBufferPointer<iovec> {
  /// The sum of the lengths, or nil when it does not fit: no memory is that large.
  package var byteCount: UInt64? {
    var sum: UInt64 = 0
    for part in self {
      let (next, overflow) = sum.addingReportingOverflow(UInt64(part.iov_len))
      guard !overflow, next <= UInt64(Int.max) else { return nil }
      sum = next
    }
    return sum
  }

  /// Copies the first bytes, as many as the target takes.
  package func copyStart(to target: inout ArraySlice<UInt8>) {
    var index = target.startIndex
    for part in self {
      for byte in UnsafeRawBufferPointer(start: part.iov_base, count: part.iov_len) {
        guard index < target.endIndex else { return }
        target[index] = byte
        index += 1
      }
    }
  }

  /// Overwrites all parts with zeros.
  package func fillWithZeros() {
    for part in self {
      if let base = part.iov_base { memset(base, 0, part.iov_len) }
    }
  }

  /// Overwrites part of the memory, seen as one run of bytes, as far as it reaches.
  /// - Parameter bytes: nil stands for zeros.
  package func overwrite(at position: UInt64, count: UInt64, with bytes: UnsafeRawPointer?) {
    var start: UInt64 = 0
    for part in self {
      let end = start + UInt64(part.iov_len)
      let from = Swift.max(start, position)
      let to = Swift.min(end, position + count)
      if from < to, let base = part.iov_base {
        let target = base + Int(from - start)
        if let bytes {
          memcpy(target, bytes + Int(from - position), Int(to - from))
        } else {
          memset(target, 0, Int(to - from))
        }
      }
      start = end
    }
  }

  /// The memory as one array of bytes.
  func gathered() -> [UInt8] {
    var result: [UInt8] = []
    for part in self {
      result.append(contentsOf: UnsafeRawBufferPointer(start: part.iov_base, count: part.iov_len))
    }
    return result
  }
}
