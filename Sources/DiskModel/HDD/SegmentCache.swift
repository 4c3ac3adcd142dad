// What a drive has read and may be asked for again.

/// Segments of consecutive sectors, the least recently used one given up first.
///
/// Few and in plain arrays: a look-up is a scan.
struct SegmentCache: Sendable {
  private let capacity: Int
  /// The most sectors of a segment.
  private let length: UInt64
  private var starts: [UInt64] = []
  private var ends: [UInt64] = []
  private var uses: [UInt64] = []
  private var clock: UInt64 = 0

  init(capacity: Int, length: Int) {
    self.capacity = capacity
    self.length = UInt64(max(1, length))
    starts.reserveCapacity(capacity)
    ends.reserveCapacity(capacity)
    uses.reserveCapacity(capacity)
  }

  /// The end of the segment that holds `sector`, or `sector` itself; the segment counts as used.
  mutating func end(from sector: UInt64) -> UInt64 {
    for index in starts.indices where starts[index] <= sector && sector < ends[index] {
      clock += 1
      uses[index] = clock
      return ends[index]
    }
    return sector
  }

  /// Adds what was read; it continues a segment that it touches, the sectors before the last `length` go.
  mutating func insert(_ start: UInt64, _ end: UInt64) {
    guard capacity > 0, start < end else { return }
    var start = start
    var index = starts.count
    while index > 0 {
      index -= 1
      if starts[index] <= start, start <= ends[index] {
        clock += 1
        uses[index] = clock
        if end <= ends[index] { return }
        start = starts[index]
      }
      if start <= starts[index], ends[index] <= end { remove(index) }
    }
    trim(start, end)
    if starts.count == capacity, let oldest = uses.indices.min(by: { uses[$0] < uses[$1] }) { remove(oldest) }
    clock += 1
    starts.append(end - start > length ? end - length : start)
    ends.append(end)
    uses.append(clock)
  }

  /// Forgets sectors: of a segment with some of them in the middle the part before remains.
  mutating func trim(_ start: UInt64, _ end: UInt64) {
    var index = starts.count
    while index > 0 {
      index -= 1
      guard starts[index] < end, start < ends[index] else { continue }
      if starts[index] < start {
        ends[index] = start
      } else if end < ends[index] {
        starts[index] = end
      } else {
        remove(index)
      }
    }
  }

  private mutating func remove(_ index: Int) {
    starts.swapAt(index, starts.count - 1)
    ends.swapAt(index, ends.count - 1)
    uses.swapAt(index, uses.count - 1)
    starts.removeLast()
    ends.removeLast()
    uses.removeLast()
  }

  /// Whether no two segments hold the same sector, and none too many; for tests.
  var isConsistent: Bool {
    guard starts.count <= capacity else { return false }
    for a in starts.indices {
      guard starts[a] < ends[a], ends[a] - starts[a] <= length else { return false }
      for b in starts.indices where a != b && starts[a] < ends[b] && starts[b] < ends[a] { return false }
    }
    return true
  }
}
