// Memory for the data of requests.
import Synchronization

/// How much memory the requests of all connections of a server take.
final class MemoryBudget: Sendable {
  private let taken = Atomic(0)

  /// Returns whether there was so much left.
  func take(_ count: Int) -> Bool {
    let after = taken.add(count, ordering: .relaxed).newValue
    if after <= Limits.bytesUnderWayTotal { return true }
    give(count)
    return false
  }

  /// Takes it, even if there is no more.
  func takeAnyway(_ count: Int) { taken.add(count, ordering: .relaxed) }

  func give(_ count: Int) { taken.subtract(count, ordering: .relaxed) }
}

/// A piece of memory of a pool.
struct PooledBuffer {
  let memory: UnsafeMutableRawPointer
  /// Its size is 4 KiB shifted by this.
  fileprivate let sizeClass: Int

  fileprivate var capacity: Int { BufferPool.unit << sizeClass }
}

/// Memory in pieces of 4 KiB to 32 MiB, each a power of two and aligned to a page. It keeps some of what is
/// given back, so that a steady load allocates nothing, and never has more out than a limit.
///
/// SAFETY: whoever takes a piece gives it back once, and not before the last operation on it is over; the
/// pool goes when everything is back.
struct BufferPool: ~Copyable {
  private let budget: MemoryBudget
  private var free: [[UnsafeMutableRawPointer]]
  private var bytesFree = 0
  /// How much is taken.
  private(set) var bytesTaken = 0

  fileprivate static let unit = 4096
  private static let classCount = 14

  init(_ budget: MemoryBudget) {
    self.budget = budget
    free = Array(repeating: [], count: Self.classCount)
  }

  deinit {
    precondition(bytesTaken == 0)
    for pieces in free { for piece in pieces { piece.deallocate() } }
  }

  /// A piece of at least so many bytes, at most 32 MiB; nil when too much is taken. When nothing is, there is
  /// always one.
  mutating func take(_ count: Int) -> PooledBuffer? {
    let sizeClass = Self.sizeClass(count)
    let capacity = Self.unit << sizeClass
    if bytesTaken == 0 {
      // So nobody waits for other connections.
      budget.takeAnyway(capacity)
    } else {
      guard bytesTaken + capacity <= Limits.bytesUnderWayMax, budget.take(capacity) else { return nil }
    }
    bytesTaken += capacity
    if let piece = free[sizeClass].popLast() {
      bytesFree -= capacity
      return PooledBuffer(memory: piece, sizeClass: sizeClass)
    }
    return PooledBuffer(
      memory: .allocate(byteCount: capacity, alignment: Self.unit), sizeClass: sizeClass)
  }

  /// Takes a piece back.
  mutating func give(_ buffer: PooledBuffer) {
    bytesTaken -= buffer.capacity
    budget.give(buffer.capacity)
    guard bytesFree + buffer.capacity <= Limits.bytesKeptMax else { return buffer.memory.deallocate() }
    bytesFree += buffer.capacity
    free[buffer.sizeClass].append(buffer.memory)
  }

  private static func sizeClass(_ count: Int) -> Int {
    precondition(count <= unit << (classCount - 1))
    let pages = max(1, (count + unit - 1) / unit)
    return pages == 1 ? 0 : Int.bitWidth - (pages - 1).leadingZeroBitCount
  }
}
