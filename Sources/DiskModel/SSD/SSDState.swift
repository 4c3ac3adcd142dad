// What a drive remembers: requests, flash operations, dies, partitions.

/// "None" as an index or as a page.
let noIndex = UInt32.max

/// A request inside the drive.
struct SSDRequest: Sendable {
  var sequence: UInt64
  var offset: UInt64
  /// Not beyond the drive's end.
  var length: UInt64
  var operation: ModelRequest.Operation
  /// Whether it is a write that must be programmed before it is done.
  var isForced: Bool
  /// Whether the link has had its time for the command.
  var hasPaidCommand = false
  /// Reads: parts on their way. Forced writes: units to be programmed, and one while pages are to come.
  var pending: UInt32 = 0
  /// Reads: the latest end of a part.
  var last: UInt64 = 0
  /// Writes: the pages that have no room in the buffer yet, and of those that have, the ones on the link.
  var nextPage: UInt32 = 0
  var endPage: UInt32 = 0
  var segment: UInt32 = 0
  /// The next in a list.
  var next: UInt32 = noIndex

  /// A request as a drive of `size` bytes keeps it, without what is beyond its end.
  init(_ request: ModelRequest, size: UInt64, isProtected: Bool) {
    sequence = request.sequence
    offset = min(request.offset, size)
    length = min(request.length, size - offset)
    operation = request.operation
    isForced = request.isForced && request.operation != .read && !isProtected
  }

  /// The pages that its bytes touch.
  var pages: Range<UInt32> {
    guard length > 0 else { return 0..<0 }
    let page = SSDParameters.pageSize
    return UInt32(offset / page)..<UInt32((offset + length - 1) / page + 1)
  }

  /// Bytes of a page that it asks for.
  func overlap(_ page: UInt32) -> UInt64 {
    let start = UInt64(page) * SSDParameters.pageSize
    let end = start + SSDParameters.pageSize
    return min(end, offset + length) - max(start, offset)
  }
}

/// Something for a die to do.
struct FlashOperation: Sendable {
  enum Kind: UInt8, Sendable { case read, collectionRead, mapRead, program, collectionProgram, erase }
  var kind: Kind
  var die: UInt32
  /// Of reads, the request.
  var request: UInt32 = noIndex
  /// Sensing, programming or erasing.
  var duration: UInt64
  /// Reads: bytes to cross the channel and the link; the chunk on the channel.
  var channelBytes: UInt32 = 0
  var linkBytes: UInt64 = 0
  var chunk: UInt32 = 0
  /// Reads: the stripe. Programs: the unit. Erases: the line. Map reads: the page of the map.
  var target: UInt32 = 0
  /// Programs: pages of the host, without the rest that was closed.
  var pages: UInt32 = 0
  /// Programs: after which flush its pages came.
  var epoch: UInt32 = 0
  /// Programs: the list of forced writes that wait for it.
  var waiter: UInt32 = noIndex
  var next: UInt32 = noIndex
}

/// A forced write that waits for a unit.
struct UnitWaiter: Sendable {
  var request: UInt32
  var next: UInt32
}

/// One die: what it does and what waits for it.
struct DieState: Sendable {
  enum Activity: UInt8, Sendable {
    case idle
    /// Sensing, or its register waits for the channel.
    case reading
    /// The unit is on the channel, or being programmed, or blocks are being erased.
    case writing
    /// The same, and it will stop for reads.
    case suspending
  }

  var activity = Activity.idle
  var current = noIndex
  /// What stopped for reads, and what is left of it.
  var suspended = noIndex
  var remaining: UInt64 = 0
  /// When the program or erase can be suspended from, and when it ends.
  var suspendableFrom: UInt64 = 0
  var end: UInt64 = 0
  /// Ends of programs that were suspended are known by an old number.
  var generation: UInt16 = 0
  /// Reads since something else was served.
  var readsInRow = 0
  var reads = SlotList()
  var others = SlotList()
  /// When it last had something to do again; `max` while it has not.
  var busySince = UInt64.max
  var busy: UInt64 = 0
}

/// A first-in first-out resource that is asked for when its turn has come: the link or a channel.
struct TransferState: Sendable {
  var freeAt: UInt64 = 0
  var busy: UInt64 = 0

  /// The end of a use of `duration` that is asked for at `now`.
  @inline(__always) mutating func use(from now: UInt64, for duration: UInt64) -> UInt64 {
    freeAt = max(now, freeAt) + duration
    busy += duration
    return freeAt
  }
}

/// Where pages are written: one line, unit by unit.
struct WriteStream: Sendable {
  /// `noIndex` until the next page needs one.
  var line = noIndex
  /// Pages of it that are written.
  var position: UInt32 = 0
  /// The operation of the unit that is open.
  var unit = noIndex
}

/// One translation layer: its lines, its two streams and its collection.
struct SSDPartition: Sendable {
  var victims: VictimHeap
  /// Erased lines, the longest erased first.
  var free: Fifo<UInt32>
  var user = WriteStream()
  var collected = WriteStream()
  var waiting = PageQueue()
  /// After which flush the pages come that are placed now.
  var epoch: UInt32 = 0

  /// Whether few lines are free: pages of the host then need credits, which collection earns.
  var isCollecting = false
  var credits = 0
  /// The line whose stripes are being read, and how far.
  var victim = noIndex
  var cursor: UInt32 = 0
  /// Lines that are being emptied, their pages that have not moved yet, and reads of their stripes on the
  /// way.
  var emptying = 0
  var pagesToMove: UInt32 = 0
  var readsInFlight = 0
}

/// What a drive counts.
struct SSDCounts: Sendable {
  var hostPages: UInt64 = 0
  var closedPages: UInt64 = 0
  var collectedPages: UInt64 = 0
  var collectionReads: UInt64 = 0
  var programs: UInt64 = 0
  var collectionPrograms: UInt64 = 0
  var erases: UInt64 = 0
  var flashReads: UInt64 = 0
  var mapReads: UInt64 = 0
  var bufferHits: UInt64 = 0
  var unmappedPages: UInt64 = 0
  var bufferWaits: UInt64 = 0
  var bufferWait: UInt64 = 0
  var suspensions: UInt64 = 0
  var discardedPages: UInt64 = 0
  var flushes: UInt64 = 0
  var heldByFlush: UInt64 = 0
}
