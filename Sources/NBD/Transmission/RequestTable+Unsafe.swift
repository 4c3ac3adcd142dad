// The requests of a connection.

/// What a connection knows of a request whose reply is not sent.
struct RequestEntry {
  var command = Command.read
  var flags: CommandFlags = []
  var cookie: UInt64 = 0
  var offset: UInt64 = 0
  var length: UInt32 = 0
  /// Where its data is.
  var buffer: PooledBuffer?
  /// How many pieces a read is answered in; 0 for one without a look for holes.
  var chunkCount = 0
}

/// A piece of an answer to a read.
struct ReadChunk {
  var count: UInt32
  var isHole: Bool
}

/// The entries for requests, with the memory for the heads of their replies: made once, used again and again.
///
/// SAFETY: it owns its memory; entries are named by numbers that `take` gave and `release` has not taken
/// back, and what is handed out belongs to such an entry.
struct RequestTable: ~Copyable {
  private let entries: UnsafeMutablePointer<RequestEntry>
  private let chunkStorage: UnsafeMutablePointer<ReadChunk>
  private let heads: UnsafeMutableRawPointer
  private var free: [Int]

  /// As much as all chunks of a read, or the longest other head, need.
  static let headBytes = 512

  init() {
    precondition(Limits.chunksMax * Reply.holeByteCount <= Self.headBytes)
    precondition(Reply.byteCountMax <= Self.headBytes)
    entries = .allocate(capacity: Limits.depthMax)
    entries.initialize(repeating: RequestEntry(), count: Limits.depthMax)
    chunkStorage = .allocate(capacity: Limits.depthMax * Limits.chunksMax)
    chunkStorage.initialize(
      repeating: ReadChunk(count: 0, isHole: false), count: Limits.depthMax * Limits.chunksMax)
    heads = .allocate(byteCount: Limits.depthMax * Self.headBytes, alignment: 16)
    free = Array((0..<Limits.depthMax).reversed())
  }

  deinit {
    entries.deallocate()
    chunkStorage.deallocate()
    heads.deallocate()
  }

  var isFull: Bool { free.isEmpty }
  var isEmpty: Bool { free.count == Limits.depthMax }

  /// An entry for a request, which `isFull` has promised.
  mutating func take(_ header: RequestHeader, _ command: Command, _ buffer: PooledBuffer?) -> Int {
    let index = free.removeLast()
    entries[index] = RequestEntry(
      command: command, flags: header.flags, cookie: header.cookie, offset: header.offset,
      length: header.length, buffer: buffer)
    return index
  }

  /// The request is over.
  mutating func release(_ index: Int) {
    entries[index].buffer = nil
    free.append(index)
  }

  subscript(index: Int) -> RequestEntry {
    get { entries[index] }
    nonmutating set { entries[index] = newValue }
  }

  /// Memory of `headBytes`.
  func head(_ index: Int) -> UnsafeMutableRawPointer { heads + index * Self.headBytes }

  /// Room for `chunksMax` pieces.
  func chunks(_ index: Int) -> UnsafeMutablePointer<ReadChunk> { chunkStorage + index * Limits.chunksMax }
}
