// A bit for each sector of a disk.

/// A set of the units of a disk: pieces that are all the same cost a word, others a bit a unit.
struct SectorBitmap {
  private enum Piece {
    case none
    case all
    case some([UInt64])
  }

  private static let unitsPerPiece: UInt64 = 1 << 16
  private var pieces: [Piece]
  let unitCount: UInt64

  init(unitCount: UInt64) {
    self.unitCount = unitCount
    let count = (unitCount + Self.unitsPerPiece - 1) / Self.unitsPerPiece
    pieces = Array(repeating: .none, count: Int(count))
  }

  func contains(_ unit: UInt64) -> Bool { firstSet(in: unit..<unit + 1) != nil }

  /// The first unit of a range that is in the set.
  func firstSet(in range: Range<UInt64>) -> UInt64? {
    var found: UInt64?
    visit(range) { index, part in
      guard found == nil else { return }
      switch pieces[index] {
      case .none: break
      case .all: found = UInt64(index) * Self.unitsPerPiece + UInt64(part.lowerBound)
      case .some(let words):
        if let unit = part.first(where: { words[$0 / 64] >> UInt64($0 % 64) & 1 != 0 }) {
          found = UInt64(index) * Self.unitsPerPiece + UInt64(unit)
        }
      }
    }
    return found
  }

  /// How many units of a range are in the set.
  func count(in range: Range<UInt64>) -> UInt64 {
    var count: UInt64 = 0
    visit(range) { index, part in
      switch pieces[index] {
      case .none: break
      case .all: count += UInt64(part.count)
      case .some(let words):
        count += UInt64(part.count { words[$0 / 64] >> UInt64($0 % 64) & 1 != 0 })
      }
    }
    return count
  }

  mutating func set(_ range: Range<UInt64>, to value: Bool) {
    var parts: [(Int, Range<Int>)] = []
    visit(range) { parts.append(($0, $1)) }
    for (index, part) in parts { set(piece: index, part, to: value) }
  }

  private mutating func set(piece index: Int, _ part: Range<Int>, to value: Bool) {
    switch (pieces[index], value) {
    case (.none, false), (.all, true): return
    default: break
    }
    if part.count == Int(Self.unitsPerPiece) {
      pieces[index] = value ? .all : .none
      return
    }
    var words: [UInt64]
    switch pieces[index] {
    case .none: words = Array(repeating: 0, count: Int(Self.unitsPerPiece / 64))
    case .all: words = Array(repeating: .max, count: Int(Self.unitsPerPiece / 64))
    case .some(let present): words = present
    }
    // So that the array is not shared while it is changed.
    pieces[index] = .none
    for unit in part {
      let bit = UInt64(1) << UInt64(unit % 64)
      if value { words[unit / 64] |= bit } else { words[unit / 64] &= ~bit }
    }
    pieces[index] = .some(words)
  }

  /// Calls `body` for each piece that a range touches, with the range within the piece.
  private func visit(_ range: Range<UInt64>, _ body: (Int, Range<Int>) -> Void) {
    var position = range.lowerBound
    let end = min(range.upperBound, unitCount)
    while position < end {
      let index = position / Self.unitsPerPiece
      let start = index * Self.unitsPerPiece
      let stop = min(end, start + Self.unitsPerPiece)
      body(Int(index), Int(position - start)..<Int(stop - start))
      position = stop
    }
  }
}
