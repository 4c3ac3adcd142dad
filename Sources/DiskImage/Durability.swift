// What is known to be on the medium.
import BlockIO

/// Remembers whether a file has changed since it was last synchronised, and never trusts one that failed to.
struct Durability {
  private(set) var isPending = false
  private var hasFailed = false
  private var hasOutsideWrites = false

  /// To be called before anything is changed.
  mutating func willChange() { isPending = true }

  /// From now on the file changes without `willChange`.
  mutating func expectOutsideWrites() { hasOutsideWrites = true }

  /// To be called before a flush whose steps somebody else takes.
  func requireTrust(_ file: ImageFile) throws(DiskImageError) {
    guard !hasFailed else { throw .flushFailedBefore(path: file.path) }
  }

  /// Somebody else could not synchronise the file.
  mutating func lose() { hasFailed = true }

  /// Makes what was changed durable, if anything was.
  mutating func synchronize(_ file: ImageFile, engine: any BlockEngine) throws(DiskImageError) {
    guard !hasFailed else { throw .flushFailedBefore(path: file.path) }
    guard isPending || hasOutsideWrites else { return }
    do throws(BlockIOError) {
      try engine.synchronize(file)
    } catch {
      hasFailed = true
      throw .file(error)
    }
    isPending = false
  }
}

/// The range of a request, if it lies within the disk.
func checkedRange(offset: UInt64, count: UInt64?, size: UInt64) throws(DiskImageError) -> Range<UInt64> {
  guard let count, offset <= size, count <= size - offset else {
    throw .outOfBounds(offset: offset, count: count ?? .max, size: size)
  }
  return offset..<offset + count
}

extension UInt64 {
  /// The next multiple, or nil when there is none.
  func roundedUp(to multiple: UInt64) -> UInt64? {
    guard multiple > 0 else { return nil }
    let rest = self % multiple
    guard rest > 0 else { return self }
    let (sum, overflow) = addingReportingOverflow(multiple - rest)
    return overflow ? nil : sum
  }
}
