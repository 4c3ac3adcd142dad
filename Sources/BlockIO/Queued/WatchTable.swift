// Descriptors that are watched by requests among the others.
import Glibc
import Linux

/// The watched descriptors of an engine whose kernel interface polls once for each request.
///
/// A poll is a request like others, submitted with them; it ends when the descriptor is readable. It is
/// submitted again with the next batch, and if the descriptor is readable still, ends again at once: so a
/// poll that reports once is a watch that reports as long as there is something.
struct WatchTable {
  struct Watch {
    var descriptor: CInt
    var tag: UInt64
    /// A completion of an older one is not this one's.
    var generation: UInt32 = 0
    var isArmed = false
    var isInternal = false
  }

  /// What `completed` found.
  enum Finding {
    case external
    /// The engine's own descriptor is readable.
    case own
    /// Of one that is no longer watched.
    case stale
  }

  private(set) var watches: [Watch] = []
  private var unarmed: [Int] = []
  private var vacant: [Int] = []
  /// How many there are but for the engine's own.
  private(set) var externalCount = 0

  /// What marks a request as a poll; those of operations are addresses, and multiples of 8.
  static let mark: UInt64 = 1
  /// Of a request whose completion nobody waits for.
  static let noData: UInt64 = 2

  static func isWatch(_ data: UInt64) -> Bool { data & 7 == mark }

  mutating func add(_ descriptor: CInt, tag: UInt64, isInternal: Bool = false) throws(LinuxError) {
    guard !watches.contains(where: { $0.descriptor == descriptor && $0.descriptor >= 0 }) else {
      throw LinuxError("watch", "\(descriptor)", code: EEXIST)
    }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw LinuxError("watch", "\(descriptor)") }
    let index = vacant.popLast() ?? watches.count
    if index == watches.count { watches.append(Watch(descriptor: -1, tag: 0)) }
    watches[index] = Watch(
      descriptor: descriptor, tag: tag, generation: watches[index].generation &+ 1, isInternal: isInternal)
    unarmed.append(index)
    if !isInternal { externalCount += 1 }
  }

  /// Forgets a descriptor.
  /// - Returns: the index, and the data of the poll that is to be ended, if there is one.
  mutating func remove(_ descriptor: CInt) -> (index: Int, poll: UInt64)? {
    guard let index = watches.firstIndex(where: { $0.descriptor == descriptor && !$0.isInternal }) else {
      return nil
    }
    let poll = data(index)
    let isArmed = watches[index].isArmed
    forget(index)
    return isArmed ? (index, poll) : nil
  }

  /// How many have no poll.
  var unarmedCount: Int { unarmed.count }

  /// The next descriptor without a poll, first come, first served; it has one from now on.
  mutating func arm() -> Int {
    let index = unarmed.removeFirst()
    watches[index].isArmed = true
    return index
  }

  /// Takes back an answer of `arm`, by its data: there was no room.
  mutating func disarm(_ data: UInt64) {
    let index = Self.index(data)
    watches[index].isArmed = false
    unarmed.append(index)
  }

  /// What a poll carries.
  func data(_ index: Int) -> UInt64 {
    UInt64(watches[index].generation) << 32 | UInt64(index) << 3 | Self.mark
  }

  private static func index(_ data: UInt64) -> Int { Int(data & 0xffff_ffff) >> 3 }

  /// A poll ended.
  mutating func completed(_ data: UInt64, result: Int, into events: inout [IOEvent]) -> Finding {
    let index = Self.index(data)
    let watch = watches[index]
    guard watch.generation == UInt32(data >> 32), watch.descriptor >= 0 else { return .stale }
    watches[index].isArmed = false
    let code = CInt(truncatingIfNeeded: -result)
    let isFinal = result < 0 && ![EINTR, EAGAIN, ECANCELED].contains(code)
    if !isFinal { unarmed.append(index) }
    if watch.isInternal { return .own }
    if isFinal { forget(index) }
    if result >= 0 || isFinal { events.append(IOEvent(tag: watch.tag, code: max(0, code))) }
    return .external
  }

  private mutating func forget(_ index: Int) {
    if !watches[index].isArmed { unarmed.removeAll { $0 == index } }
    if !watches[index].isInternal { externalCount -= 1 }
    watches[index].generation &+= 1
    watches[index].descriptor = -1
    vacant.append(index)
  }
}
