// A large table of 32-bit numbers that takes memory where it was written.

/// One number for each index; until one of a chunk is written, the chunk is known by a formula.
///
/// A value: a copy is a snapshot, shared until one of the two is written. `makeUnique` must be called before
/// a series of writes; writes themselves do not look, as a page that is collected takes several.
///
/// SAFETY: every pointer is made here, chunk by chunk, by the storage, which frees them; indices are checked
/// against the number of chunks. The storage is written by whoever called `makeUnique`, so by one owner.
struct LazyTable: @unchecked Sendable {
  /// What an unwritten entry is.
  enum Formula: Sendable {
    case constant(UInt32)
    /// Logical pages as a sequential fill placed them: round the partitions.
    case filled(partitions: Divider, pagesPerPartition: UInt32)
    /// The other way round; `none` beyond `count` logical pages.
    case filler(partitions: UInt32, pagesPerPartition: Divider, count: UInt32, none: UInt32)

    /// Words of bits: which flash pages a fill has written.
    case filledBits(pages: UInt32, partitions: UInt32, pagesPerPartition: Divider)

    @inline(__always) func value(_ index: UInt32) -> UInt32 {
      switch self {
      case .constant(let value): return value
      case .filled(let partitions, let pages):
        let (local, partition) = partitions.split(index)
        return partition &* pages &+ local
      case .filler(let partitions, let pages, let count, let none):
        let (partition, local) = pages.split(index)
        let (page, overflow) = local.multipliedReportingOverflow(by: partitions)
        guard !overflow, page < count, page + partition < count else { return none }
        return page + partition
      case .filledBits(let count, let partitions, let pages):
        return Self.filledWord(index, count, partitions, pages)
      }
    }

    /// The entries of the chunk that begins at `first`, without a division for each.
    func write(to chunk: UnsafeMutablePointer<UInt32>, from first: UInt32) {
      switch self {
      case .constant(let value): chunk.initialize(repeating: value, count: LazyTable.chunkSize)
      case .filled(let partitions, let pages):
        var (local, partition) = partitions.split(first)
        for offset in 0..<LazyTable.chunkSize {
          chunk.advanced(by: offset).initialize(to: partition &* pages &+ local)
          partition += 1
          if partition == partitions.divisor { (local, partition) = (local + 1, 0) }
        }
      case .filler(let partitions, let pages, let count, let none):
        var (partition, local) = pages.split(first)
        for offset in 0..<LazyTable.chunkSize {
          let page = UInt64(local) * UInt64(partitions) + UInt64(partition)
          let value = page < UInt64(count) ? UInt32(truncatingIfNeeded: page) : none
          chunk.advanced(by: offset).initialize(to: value)
          local += 1
          if local == pages.divisor { (partition, local) = (partition + 1, 0) }
        }
      case .filledBits:
        for offset in 0..<LazyTable.chunkSize {
          chunk.advanced(by: offset).initialize(to: value(first &+ UInt32(offset)))
        }
      }
    }

    private static func filledWord(
      _ index: UInt32, _ count: UInt32, _ partitions: UInt32, _ pages: Divider
    ) -> UInt32 {
      func isFilled(_ page: UInt32) -> Bool {
        let (partition, local) = pages.split(page)
        return partition < partitions && local < (count - partition + partitions - 1) / partitions
      }
      let first = index << 5
      // Nearly every word lies in one partition and is all set or all clear.
      if pages.quotient(first) == pages.quotient(first + 31), isFilled(first) == isFilled(first + 31) {
        return isFilled(first) ? .max : 0
      }
      return (0..<32).reduce(0) { $0 | (isFilled(first + UInt32($1)) ? 1 << UInt32($1) : 0) }
    }
  }

  /// 16 KiB each.
  static let chunkShift = 12
  static let chunkSize = 1 << chunkShift

  /// All of the table, so that the value itself is one reference.
  private final class Storage {
    let count: Int
    let formula: Formula
    /// What a chunk that was set whole holds.
    let constant: UInt32
    let chunks: UnsafeMutableBufferPointer<UnsafeMutablePointer<UInt32>?>
    /// Set whole by `setChunk`: a chunk of its value without memory of its own.
    let constants: UnsafeMutableBufferPointer<Bool>

    init(count: Int, formula: Formula, constant: UInt32) {
      self.count = count
      self.formula = formula
      self.constant = constant
      let chunkCount = (count + LazyTable.chunkSize - 1) >> LazyTable.chunkShift
      chunks = .allocate(capacity: chunkCount)
      chunks.initialize(repeating: nil)
      constants = .allocate(capacity: chunkCount)
      constants.initialize(repeating: false)
    }

    convenience init(copying other: Storage) {
      self.init(count: other.count, formula: other.formula, constant: other.constant)
      _ = constants.update(from: other.constants)
      for (index, chunk) in other.chunks.enumerated() {
        guard let chunk else { continue }
        let copy = UnsafeMutablePointer<UInt32>.allocate(capacity: LazyTable.chunkSize)
        copy.initialize(from: chunk, count: LazyTable.chunkSize)
        chunks[index] = copy
      }
    }

    deinit {
      for chunk in chunks { chunk?.deallocate() }
      chunks.deallocate()
      constants.deallocate()
    }

    @inline(never) func materialize(_ index: Int) -> UnsafeMutablePointer<UInt32> {
      let chunk = UnsafeMutablePointer<UInt32>.allocate(capacity: LazyTable.chunkSize)
      if constants[index] {
        chunk.initialize(repeating: constant, count: LazyTable.chunkSize)
      } else {
        formula.write(to: chunk, from: UInt32(index << LazyTable.chunkShift))
      }
      chunks[index] = chunk
      return chunk
    }

    @inline(never) func unwritten(_ index: UInt32) -> UInt32 {
      constants[Int(index >> UInt32(LazyTable.chunkShift))] ? constant : formula.value(index)
    }
  }

  private var storage: Storage

  /// - Parameter constant: the one value that `setChunk` writes.
  init(count: Int, formula: Formula, constant: UInt32) {
    storage = Storage(count: count, formula: formula, constant: constant)
  }

  /// Whether there is a snapshot of this.
  @inline(__always) mutating func isShared() -> Bool { !isKnownUniquelyReferenced(&storage) }

  /// Copies what a snapshot shares with this.
  @inline(__always) mutating func makeUnique() {
    if !isKnownUniquelyReferenced(&storage) { storage = Storage(copying: storage) }
  }

  @inline(__always) subscript(index: UInt32) -> UInt32 {
    get {
      let chunkIndex = Int(index >> UInt32(Self.chunkShift))
      precondition(chunkIndex < storage.chunks.count)
      guard let chunk = storage.chunks[chunkIndex] else { return storage.unwritten(index) }
      return chunk[Int(index) & (Self.chunkSize - 1)]
    }
    nonmutating set {
      let chunkIndex = Int(index >> UInt32(Self.chunkShift))
      precondition(chunkIndex < storage.chunks.count)
      let chunk = storage.chunks[chunkIndex] ?? storage.materialize(chunkIndex)
      chunk[Int(index) & (Self.chunkSize - 1)] = newValue
    }
  }

  /// Whether a chunk is still as the formula says.
  func isUntouched(chunk: Int) -> Bool { storage.chunks[chunk] == nil && !storage.constants[chunk] }

  /// Whether a chunk was set whole and not written since.
  func isConstant(chunk: Int) -> Bool { storage.chunks[chunk] == nil && storage.constants[chunk] }

  /// Sets a whole chunk to `constant` and frees its memory.
  func setChunk(_ chunk: Int) {
    storage.chunks[chunk]?.deallocate()
    storage.chunks[chunk] = nil
    storage.constants[chunk] = true
  }

  /// Bytes that the written chunks take.
  var memory: Int { storage.chunks.reduce(0) { $0 + ($1 == nil ? 0 : Self.chunkSize * 4) } }
}
