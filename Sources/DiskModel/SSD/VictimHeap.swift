// Which line has the fewest valid pages.

/// The closed lines of a partition, the one with the fewest valid pages first (greedy collection).
///
/// A binary heap that knows where each line is: a page that becomes invalid costs a step or two. Equal lines:
/// the lower number first.
struct VictimHeap: Sendable {
  private var heap: [UInt32] = []
  /// Where each line is in the heap; -1 for one that is open, free or being collected.
  private var position: [Int32]
  /// The first line of the partition.
  private let first: UInt32

  init(first: UInt32, count: Int) {
    self.first = first
    position = Array(repeating: -1, count: count)
    heap.reserveCapacity(count)
  }

  var count: Int { heap.count }

  func contains(_ line: UInt32) -> Bool { position[Int(line - first)] >= 0 }

  var minimum: UInt32? { heap.first }

  @inline(__always) private static func precedes(_ a: UInt32, _ b: UInt32, _ valid: Table<UInt32>) -> Bool {
    let (left, right) = (valid[Int(a)], valid[Int(b)])
    return left != right ? left < right : a < b
  }

  mutating func insert(_ line: UInt32, valid: Table<UInt32>) {
    heap.append(line)
    rise(line, from: heap.count - 1, valid)
  }

  /// A line has lost a valid page; one that is not here is none of ours.
  @inline(__always) mutating func decreased(_ line: UInt32, valid: Table<UInt32>) {
    let index = position[Int(line - first)]
    guard index > 0 else { return }
    rise(line, from: Int(index), valid)
  }

  mutating func removeMinimum(valid: Table<UInt32>) -> UInt32? {
    guard let result = heap.first, let last = heap.popLast() else { return nil }
    position[Int(result - first)] = -1
    let count = heap.count
    guard count > 0 else { return result }
    var hole = 0
    while true {
      var child = 2 * hole + 1
      guard child < count else { break }
      if child + 1 < count, Self.precedes(heap[child + 1], heap[child], valid) { child += 1 }
      guard Self.precedes(heap[child], last, valid) else { break }
      put(heap[child], hole)
      hole = child
    }
    put(last, hole)
    return result
  }

  @inline(__always) private mutating func put(_ line: UInt32, _ index: Int) {
    heap[index] = line
    position[Int(line - first)] = Int32(truncatingIfNeeded: index)
  }

  private mutating func rise(_ line: UInt32, from index: Int, _ valid: Table<UInt32>) {
    var hole = index
    while hole > 0 {
      let parent = (hole - 1) >> 1
      guard Self.precedes(line, heap[parent], valid) else { break }
      put(heap[parent], hole)
      hole = parent
    }
    put(line, hole)
  }
}
