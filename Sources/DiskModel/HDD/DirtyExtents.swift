// What a drive's write cache has not written yet.

/// Disjoint runs of sectors in order, none touching another, in blocks of a few dozen.
///
/// Adding, finding and removing cost a search and a move within one block, however many extents there are.
struct DirtyExtents: Sendable {
  struct Extent: Sendable {
    var start: UInt64
    var end: UInt64
    /// Lower for what came earlier; a merged extent is as old as its oldest part.
    var age: UInt64
    var cylinder: Int32
    var head: Int32
    /// Of its first sector; a time within a revolution.
    var angle: Int32
  }

  /// Where an extent is; valid until the next change.
  struct Cursor {
    var block: Int
    var index: Int
  }

  private static let blockSize = 64

  /// None is empty.
  private var blocks: [[Extent]] = []
  /// By age: a sector of the extent that had this age. Stale entries are dropped when they are met.
  private var ages: [(sector: UInt64, age: UInt64)] = []
  private var firstAge = 0
  private var nextAge: UInt64 = 0
  private let keepsAges: Bool
  private(set) var sectors: UInt64 = 0

  /// - Parameter keepsAges: for `oldest`.
  init(keepsAges: Bool) { self.keepsAges = keepsAges }

  var isEmpty: Bool { blocks.isEmpty }

  subscript(cursor: Cursor) -> Extent { blocks[cursor.block][cursor.index] }

  /// The first extent that ends after `sector`, or at it.
  func firstEnding(from sector: UInt64) -> Cursor {
    var (low, high) = (0, blocks.count)
    while low < high {
      let middle = (low + high) / 2
      if blocks[middle][blocks[middle].count - 1].end < sector { low = middle + 1 } else { high = middle }
    }
    guard low < blocks.count else { return Cursor(block: low, index: 0) }
    var (left, right) = (0, blocks[low].count)
    while left < right {
      let middle = (left + right) / 2
      if blocks[low][middle].end < sector { left = middle + 1 } else { right = middle }
    }
    return Cursor(block: low, index: left)
  }

  func isValid(_ cursor: Cursor) -> Bool { cursor.block >= 0 && cursor.block < blocks.count }

  func after(_ cursor: Cursor) -> Cursor {
    cursor.index + 1 < blocks[cursor.block].count
      ? Cursor(block: cursor.block, index: cursor.index + 1) : Cursor(block: cursor.block + 1, index: 0)
  }

  func before(_ cursor: Cursor) -> Cursor {
    if cursor.index > 0 { return Cursor(block: cursor.block, index: cursor.index - 1) }
    return Cursor(block: cursor.block - 1, index: cursor.block > 0 ? blocks[cursor.block - 1].count - 1 : 0)
  }

  func contains(_ start: UInt64, _ end: UInt64) -> Bool {
    // One that merely touches `start` from below does not hold it.
    let cursor = firstEnding(from: start + 1)
    guard isValid(cursor) else { return false }
    return self[cursor].start <= start && end <= self[cursor].end
  }

  /// Adds sectors that begin at a place, with what they touch.
  mutating func insert(_ new: Extent) {
    var extent = new
    extent.age = nextAge
    nextAge += 1
    var cursor = firstEnding(from: extent.start)
    var absorbed = false
    while isValid(cursor), self[cursor].start <= extent.end {
      let other = remove(at: &cursor)
      if other.start < extent.start {
        extent.start = other.start
        (extent.cylinder, extent.head, extent.angle) = (other.cylinder, other.head, other.angle)
      }
      extent.end = max(extent.end, other.end)
      extent.age = min(extent.age, other.age)
      absorbed = true
    }
    // An older part has its entry already.
    if keepsAges, !absorbed { ages.append((extent.start, extent.age)) }
    place(extent, at: cursor)
  }

  /// Forgets sectors; `locate` makes an extent at a sector.
  mutating func trim(_ start: UInt64, _ end: UInt64, locate: (UInt64) -> Extent) {
    guard !isEmpty, start < end else { return }
    var cursor = firstEnding(from: start + 1)
    while isValid(cursor), self[cursor].start < end {
      let old = remove(at: &cursor)
      if old.start < start {
        var left = old
        left.end = start
        add(left)
      }
      if end < old.end {
        var right = locate(end)
        right.end = old.end
        add(right)
        return
      }
      if old.start < start { return trim(start, end, locate: locate) }
    }
  }

  private mutating func add(_ piece: Extent) {
    var piece = piece
    piece.age = nextAge
    nextAge += 1
    if keepsAges { ages.append((piece.start, piece.age)) }
    place(piece, at: firstEnding(from: piece.start))
  }

  /// Takes the first `count` sectors of an extent; `rest` is where the others begin.
  mutating func take(_ count: UInt64, at cursor: Cursor, rest: (UInt64) -> Extent) {
    var cursor = cursor
    let old = remove(at: &cursor)
    guard old.start + count < old.end else { return }
    var remainder = rest(old.start + count)
    remainder.end = old.end
    remainder.age = old.age
    // It stays as old as it was: what the cache holds longest is not passed over for its length.
    if keepsAges { insertAge(remainder.start, remainder.age) }
    place(remainder, at: firstEnding(from: remainder.start))
  }

  private mutating func insertAge(_ sector: UInt64, _ age: UInt64) {
    var index = firstAge
    while index < ages.count, ages[index].age < age { index += 1 }
    ages.insert((sector, age), at: index)
  }

  /// Puts the `count` oldest extents into `found`.
  mutating func oldest(_ count: Int, into found: inout [Cursor]) {
    found.removeAll(keepingCapacity: true)
    var index = firstAge
    while index < ages.count, found.count < count {
      let (sector, age) = ages[index]
      let cursor = firstEnding(from: sector + 1)
      // An extent may have two entries, one behind the other: from before and after a part was taken.
      let isKnown = found.last.map { self[$0].age == age } ?? false
      if !isKnown, isValid(cursor), self[cursor].start <= sector, self[cursor].age == age {
        found.append(cursor)
        index += 1
      } else if index == firstAge {
        firstAge += 1
        index += 1
      } else {
        ages.remove(at: index)
      }
    }
    if firstAge >= 64, firstAge * 2 >= ages.count {
      ages.removeFirst(firstAge)
      firstAge = 0
    }
  }

  /// Removes an extent; the cursor then is at the next one.
  private mutating func remove(at cursor: inout Cursor) -> Extent {
    let extent = blocks[cursor.block].remove(at: cursor.index)
    sectors -= extent.end - extent.start
    if blocks[cursor.block].isEmpty {
      blocks.remove(at: cursor.block)
    } else if cursor.index == blocks[cursor.block].count {
      cursor = Cursor(block: cursor.block + 1, index: 0)
    }
    return extent
  }

  private mutating func place(_ extent: Extent, at cursor: Cursor) {
    sectors += extent.end - extent.start
    guard cursor.block < blocks.count else {
      // After all others: into the last block, or a new one.
      guard let last = blocks.indices.last, blocks[last].count < Self.blockSize else {
        var block: [Extent] = []
        block.reserveCapacity(Self.blockSize)
        block.append(extent)
        blocks.append(block)
        return
      }
      blocks[last].append(extent)
      return
    }
    blocks[cursor.block].insert(extent, at: cursor.index)
    guard blocks[cursor.block].count > Self.blockSize else { return }
    let half = Self.blockSize / 2
    var upper: [Extent] = []
    upper.reserveCapacity(Self.blockSize)
    upper.append(contentsOf: blocks[cursor.block][half...])
    blocks[cursor.block].removeSubrange(half...)
    blocks.insert(upper, at: cursor.block + 1)
  }

  /// Whether extents are in order and apart, and the sum is right; for tests.
  var isConsistent: Bool {
    let all = blocks.flatMap { $0 }
    guard blocks.allSatisfy({ !$0.isEmpty }), all.allSatisfy({ $0.start < $0.end }) else { return false }
    guard zip(all, all.dropFirst()).allSatisfy({ $0.end < $1.start }) else {
      return false
    }
    return all.reduce(0) { $0 + $1.end - $1.start } == sectors
  }
}
