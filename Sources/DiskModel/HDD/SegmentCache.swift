// What a drive has read and may be asked for again.

/// Segments of consecutive sectors, the least recently used one given up first.
///
/// In order of their sectors, none overlapping another.
struct SegmentCache: Sendable {
  private struct Segment: Sendable {
    var start: UInt64
    var end: UInt64
    /// Higher for what was used later.
    var use: UInt64
  }

  private let capacity: Int
  /// The most sectors of a segment.
  private let length: UInt64
  private var segments: [Segment] = []
  private var clock: UInt64 = 0

  init(capacity: Int, length: Int) {
    self.capacity = capacity
    self.length = UInt64(max(1, length))
    segments.reserveCapacity(capacity)
  }

  /// The end of the segment that holds `sector`, or `sector` itself; the segment counts as used.
  mutating func end(from sector: UInt64) -> UInt64 {
    let index = firstEnding(after: sector)
    guard index < segments.count, segments[index].start <= sector else { return sector }
    clock += 1
    segments[index].use = clock
    return segments[index].end
  }

  /// Adds what was read; it continues a segment that it touches, the sectors before the last `length` go.
  mutating func insert(_ start: UInt64, _ end: UInt64) {
    guard capacity > 0, start < end else { return }
    clock += 1
    var start = start
    var index = start > 0 ? firstEnding(after: start - 1) : 0
    if index < segments.count, segments[index].start <= start {
      if end <= segments[index].end {
        segments[index].use = clock
        return
      }
      start = segments[index].start
    }
    let new = Segment(start: end - start > length ? end - length : start, end: end, use: clock)
    // What it covers goes; the first one makes room for it.
    var covered = index
    while covered < segments.count, segments[covered].end <= end { covered += 1 }
    if covered < segments.count, segments[covered].start < end { segments[covered].start = end }
    if covered > index {
      segments[index] = new
      if covered > index + 1 { segments.removeSubrange(index + 1..<covered) }
      return
    }
    if segments.count == capacity {
      let oldest = oldest()
      segments.remove(at: oldest)
      if oldest < index { index -= 1 }
    }
    segments.insert(new, at: index)
  }

  /// Forgets sectors: of a segment with some of them in the middle the part before remains.
  mutating func trim(_ start: UInt64, _ end: UInt64) {
    var index = firstEnding(after: start)
    while index < segments.count, segments[index].start < end {
      if segments[index].start < start {
        segments[index].end = start
        index += 1
      } else if end < segments[index].end {
        segments[index].start = end
        return
      } else {
        segments.remove(at: index)
      }
    }
  }

  private func oldest() -> Int {
    var oldest = 0
    for index in segments.indices where segments[index].use < segments[oldest].use { oldest = index }
    return oldest
  }

  /// The first segment that holds a sector beyond `sector - 1`.
  private func firstEnding(after sector: UInt64) -> Int {
    var (low, high) = (0, segments.count)
    while low < high {
      let middle = (low + high) / 2
      if segments[middle].end <= sector { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// Whether no two segments hold the same sector, and none too many; for tests.
  var isConsistent: Bool {
    segments.count <= capacity
      && segments.allSatisfy { $0.start < $0.end && $0.end - $0.start <= length }
      && zip(segments, segments.dropFirst()).allSatisfy { $0.end <= $1.start }
  }
}
