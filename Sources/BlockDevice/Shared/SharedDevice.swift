// A disk that several threads serve.
import BlockIO
package import DiskImage
import Linux
import Simulation
import Synchronization

/// What the lanes of one disk share: the image, and what they owe each other.
///
/// A raw disk is read and written without any lock. Other images are asked under a lock where bytes are,
/// never while those move: except what an image can only do itself, which blocks.
package final class SharedDevice: @unchecked Sendable {
  /// Its name in messages.
  package let name: String
  /// Whether everything but reads and flushes is refused.
  package let isReadOnly: Bool
  /// For whoever reports about it; its contents are the lanes'.
  package let image: any DiskImage
  /// Called once, on the thread of a lane, when `offersDiscard` has become false. Set before the first lane.
  package var onLimitsChange: (@Sendable () -> Void)?
  /// Takes a line when the host fails requests, on the thread of a lane. Set before the first lane.
  package var log: @Sendable (String) -> Void = { _ in }

  /// The files that plans name; they change only when no lane is left.
  private(set) var files: [ImageFile]
  /// The file that is the disk, if it is simply one.
  private(set) var plainFile: ImageFile?
  /// From where on writes need no plan, either.
  let plainWritesFrom: UInt64
  let movesBytes: Bool
  let zeroGranularity: UInt64?

  private let currentSize: Atomic<UInt64>
  private let writeThrough = Atomic(false)
  private let discards = Atomic(true)
  /// How many writes, discards and zeroings have completed, in whatever way.
  let completedWrites = Atomic<UInt64>(0)

  /// Around everything below, and around the image.
  let lock = Lock()
  var gate = Gate()
  var quiet = Quiet()
  var flush = GroupFlush()
  /// Whether lanes flush when much waits in memory: until that failed.
  var flushesItself = true
  private var mailboxes: [LaneMailbox?] = []
  private var failures = FailureLog()
  /// Scratch memory of those who hold the lock.
  private var woken: [Waiter] = []

  /// A disk that has no lane yet. The image is no longer anybody else's.
  package init(name: String, image: any DiskImage) {
    self.name = name
    self.image = image
    isReadOnly = image.isReadOnly
    files = image.files
    plainFile = image.identicalFrom == nil ? nil : image.files.first
    plainWritesFrom = image.identicalFrom ?? .max
    movesBytes = image.movesBytes
    zeroGranularity = image.zeroGranularity
    currentSize = Atomic(image.size)
    if !isReadOnly { image.expectOutsideWrites() }
  }

  /// Length in bytes.
  package var size: UInt64 { currentSize.load(ordering: .relaxed) }

  /// Whether a change is durable when it completes, because nobody will ask for a flush.
  package var isWriteThrough: Bool {
    get { writeThrough.load(ordering: .relaxed) }
    set { writeThrough.store(newValue, ordering: .relaxed) }
  }

  /// Whether discarding gives space back: false once the host has refused to take it.
  package var offersDiscard: Bool { discards.load(ordering: .relaxed) && !isReadOnly }

  /// Looks how long the disk is now; requests beyond a new end fail.
  /// - Returns: whether that has changed.
  package func refreshSize() throws(DiskImageError) -> Bool {
    let new = try lock { () throws(DiskImageError) in
      try image.refreshSize()
      return image.size
    }
    return currentSize.exchange(new, ordering: .relaxed) != new
  }

  /// Makes everything durable and lets go of the files; no lane is left.
  package func close() throws(DiskImageError) {
    try lock { () throws(DiskImageError) in
      precondition(mailboxes.allSatisfy { $0 == nil }, "a disk was closed that has lanes")
      files = []
      plainFile = nil
      try image.close()
    }
  }

  /// The host does not take space back any more, or never did.
  func stopOfferingDiscard() {
    if discards.exchange(false, ordering: .relaxed) { onLimitsChange?() }
  }

  /// Logs what the host has failed, unless there is too much of that.
  func report(_ request: BlockRequest, _ reason: some CustomStringConvertible, at now: SimulationTime) {
    guard let addition = lock({ failures.admit(at: now) }) else { return }
    log(
      "disk '\(name)': \(request.operation) of \(request.length) bytes at \(request.offset) failed: "
        + "\(reason)\(addition)")
  }
}

// Under the lock. A lane tells itself without a mailbox.
extension SharedDevice {
  /// Takes a lane in.
  func add(_ mailbox: LaneMailbox) -> Int {
    if let free = mailboxes.firstIndex(where: { $0 == nil }) {
      mailboxes[free] = mailbox
      return free
    }
    mailboxes.append(mailbox)
    return mailboxes.count - 1
  }

  /// A lane has gone, and nothing of it is under way.
  func remove(lane: Int) { mailboxes[lane] = nil }

  /// Tells a lane.
  private func tell(_ lane: Int, _ message: LaneMessage, by sender: Lane) {
    if lane == sender.number {
      sender.unfinished.append(message)
    } else {
      mailboxes[lane]?.post(message)
    }
  }

  /// A request was planned and moves bytes.
  func beginMoving() {
    guard movesBytes else { return }
    quiet.begin()
    image.isBusy = true
  }

  /// It is over.
  func endMoving(by lane: Lane) {
    guard movesBytes else { return }
    let waiter = quiet.end()
    image.isBusy = quiet.busyCount > 0
    if let waiter { tell(waiter.lane, .quiet(slot: waiter.slot), by: lane) }
  }

  /// The moment that a request waited for is over.
  func endQuiet(by lane: Lane) {
    quiet.finish(released: &woken)
    replanWoken(by: lane)
  }

  /// First writes to these pages are over.
  func openGate(_ pages: Range<UInt64>, by lane: Lane) {
    gate.open(pages, woken: &woken)
    replanWoken(by: lane)
  }

  private func replanWoken(by lane: Lane) {
    for waiter in woken { tell(waiter.lane, .replan(slot: waiter.slot), by: lane) }
    woken.removeAll(keepingCapacity: true)
  }

  /// The flush under way is over: tells who waited for it, and who leads the next one.
  func endFlush(isDurable: Bool, by lane: Lane) {
    let leader = flush.end(isDurable: isDurable, waiters: &woken)
    for waiter in woken { tell(waiter.lane, .flushed(slot: waiter.slot, isDurable: isDurable), by: lane) }
    woken.removeAll(keepingCapacity: true)
    if let leader { tell(leader.lane, .lead(slot: leader.slot), by: lane) }
  }
}
