// A bit for each page or unit of the flash.

/// Bits in a lazy table: they take memory where they were written.
struct PageBits: Sendable {
  private var words: LazyTable
  /// Bits of a chunk of the table.
  private static let chunkBits = LazyTable.chunkSize * 32

  /// All clear, or set where a fill has put pages: at the beginning of each partition.
  init(count: Int, filled: SSDGeometry? = nil) {
    // Two words more, so that reading 64 bits from any place stays inside.
    words = LazyTable(
      count: (count + 31) / 32 + 2,
      formula: filled.map {
        .filledBits(
          pages: UInt32($0.logicalPages), partitions: UInt32($0.partitions),
          pagesPerPartition: $0.byPartitionPages)
      } ?? .constant(0), constant: 0)
  }

  var memory: Int { words.memory }

  @inline(__always) mutating func makeUnique() { words.makeUnique() }

  @inline(__always) subscript(index: UInt32) -> Bool {
    get { words[index >> 5] & (1 << (index & 31)) != 0 }
    nonmutating set {
      let bit: UInt32 = 1 << (index & 31)
      if newValue { words[index >> 5] |= bit } else { words[index >> 5] &= ~bit }
    }
  }

  /// `count` bits, at most 64, from `first` on; the first of them lowest.
  @inline(__always) func mask(_ first: UInt32, count: Int) -> UInt64 {
    let (word, shift) = (first >> 5, UInt64(first & 31))
    var bits = UInt64(words[word]) >> shift
    if Int(shift) + count > 32 {
      bits |= UInt64(words[word + 1]) << (32 - shift)
      if Int(shift) + count > 64 { bits |= UInt64(words[word + 2]) << (64 - shift) }
    }
    return count == 64 ? bits : bits & (1 << UInt64(count) - 1)
  }

  /// Clears bits `first..<end`; whole chunks take no memory after that.
  func clear(_ first: Int, _ end: Int) {
    var index = first
    while index < end {
      if index % Self.chunkBits == 0, index + Self.chunkBits <= end {
        words.setChunk(index / Self.chunkBits)
        index += Self.chunkBits
      } else if index % 32 == 0, index + 32 <= end {
        words[UInt32(index / 32)] = 0
        index += 32
      } else {
        self[UInt32(index)] = false
        index += 1
      }
    }
  }
}
