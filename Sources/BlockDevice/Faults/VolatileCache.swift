// What a disk says it has written, and has not.
import BlockIO
import Glibc

/// A change that is in the cache only.
struct VolatileWrite {
  enum Content {
    case bytes([UInt8])
    case zeroes(unmap: Bool)
    case discarded
  }

  /// Of the request that made it; a request makes one at most.
  let sequence: UInt64
  /// Of the disk, not empty.
  let range: Range<UInt64>
  let content: Content
  /// Which completion of the disk was its own; nil while it is under way.
  var completion: UInt64?

  /// What it takes of the cache.
  var cost: UInt64 {
    if case .bytes(let bytes) = content { return UInt64(bytes.count) + Limits.volatileOverhead }
    return Limits.volatileOverhead
  }
}

/// The changes since the last flush, in the order of submission, and what reads must see of them.
///
/// The image beneath has what is durable, and nothing else: a power cut need not take anything back.
struct VolatileCache {
  /// Bytes of the disk whose latest content is this write's.
  private struct Piece {
    var range: Range<UInt64>
    let sequence: UInt64
  }

  private(set) var writes: [VolatileWrite] = []
  private(set) var cost: UInt64 = 0
  let costMax: UInt64
  /// Sorted, disjoint.
  private var visible: [Piece] = []

  init(costMax: UInt64) { self.costMax = costMax }

  /// Takes a change; its sequence is larger than all before.
  mutating func append(_ write: VolatileWrite) {
    writes.append(write)
    cost += write.cost
    let range = write.range
    let first = firstPiece(endingAfter: range.lowerBound)
    var last = first
    var pieces: [Piece] = []
    if first < visible.count, visible[first].range.lowerBound < range.lowerBound {
      pieces.append(
        Piece(
          range: visible[first].range.lowerBound..<range.lowerBound, sequence: visible[first].sequence))
    }
    pieces.append(Piece(range: range, sequence: write.sequence))
    while last < visible.count, visible[last].range.lowerBound < range.upperBound {
      if visible[last].range.upperBound > range.upperBound {
        pieces.append(
          Piece(range: range.upperBound..<visible[last].range.upperBound, sequence: visible[last].sequence))
      }
      last += 1
    }
    visible.replaceSubrange(first..<last, with: pieces)
  }

  /// The request that made a change has completed as the disk's `completion`-th.
  mutating func complete(_ sequence: UInt64, completion: UInt64) {
    if let index = index(of: sequence) { writes[index].completion = completion }
  }

  /// Nobody waits any more for what is under way.
  mutating func completeAll(completion: UInt64) {
    for index in writes.indices where writes[index].completion == nil {
      writes[index].completion = completion
    }
  }

  /// Puts what is in the cache over what was read from the image.
  func overlay(_ parts: UnsafeBufferPointer<iovec>, from offset: UInt64, count: UInt64) {
    let end = offset + count
    var index = firstPiece(endingAfter: offset)
    while index < visible.count, visible[index].range.lowerBound < end {
      let piece = visible[index]
      index += 1
      let (lower, upper) = (max(piece.range.lowerBound, offset), min(piece.range.upperBound, end))
      guard let place = self.index(of: piece.sequence) else { continue }
      guard case .bytes(let bytes) = writes[place].content else {
        parts.overwrite(at: lower - offset, count: upper - lower, with: nil)
        continue
      }
      bytes.withUnsafeBytes {
        guard let base = $0.baseAddress else { return }
        parts.overwrite(
          at: lower - offset, count: upper - lower, with: base + Int(lower - writes[place].range.lowerBound))
      }
    }
  }

  /// Takes out what becomes durable now, in its order: what `isCovered`, and what is older and lies beneath,
  /// so that nothing old ever comes over something newer.
  mutating func take(where isCovered: (VolatileWrite) -> Bool) -> [VolatileWrite] {
    var taken: [VolatileWrite] = []
    var kept: [VolatileWrite] = []
    for write in writes.reversed() {
      if isCovered(write) || taken.contains(where: { $0.range.overlaps(write.range) }) {
        taken.append(write)
      } else {
        kept.append(write)
      }
    }
    writes = kept.reversed()
    taken.reverse()
    forget(taken)
    return taken
  }

  /// Takes out the oldest changes while there is more than the cache holds: a quarter of it at a time.
  mutating func takeExcess() -> [VolatileWrite] {
    guard cost > costMax else { return [] }
    var left = cost
    var count = 0
    while count < writes.count, left > costMax - costMax / 4 {
      left -= writes[count].cost
      count += 1
    }
    let taken = Array(writes[..<count])
    writes.removeFirst(count)
    forget(taken)
    return taken
  }

  /// Takes out everything.
  mutating func takeAll() -> [VolatileWrite] {
    defer { (writes, visible, cost) = ([], [], 0) }
    return writes
  }

  /// - Parameter taken: in their order, no longer in `writes`.
  private mutating func forget(_ taken: [VolatileWrite]) {
    for write in taken { cost -= write.cost }
    guard !writes.isEmpty else { return visible.removeAll(keepingCapacity: true) }
    if !taken.isEmpty { visible = visible.filter { index(of: $0.sequence) != nil } }
  }

  private func index(of sequence: UInt64) -> Int? {
    var (low, high) = (0, writes.count)
    while low < high {
      let middle = (low + high) / 2
      if writes[middle].sequence < sequence { low = middle + 1 } else { high = middle }
    }
    return low < writes.count && writes[low].sequence == sequence ? low : nil
  }

  private func firstPiece(endingAfter offset: UInt64) -> Int {
    var (low, high) = (0, visible.count)
    while low < high {
      let middle = (low + high) / 2
      if visible[middle].range.upperBound <= offset { low = middle + 1 } else { high = middle }
    }
    return low
  }
}

/// A piece of a volatile write that survives a power cut.
struct Survivor: Equatable {
  let sequence: UInt64
  /// Within the write, in bytes.
  let range: Range<UInt64>
}
