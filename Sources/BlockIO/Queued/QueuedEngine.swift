// Who moves the bytes while others work.
package import Glibc

/// The ways to move bytes without waiting for each of them.
package enum EngineKind: String, CaseIterable, Sendable {
  /// `io_uring(7)`: one system call submits, waits and reaps.
  case uring = "io_uring"
  /// The kernel's older interface (`io_submit(2)`): asynchronous with O_DIRECT only.
  case aio = "libaio"
  /// A few threads that call `preadv(2)` and `pwritev(2)`.
  case threads
  /// The system calls themselves, within `run`: best for what lies in memory.
  case synchronous
}

/// What an engine is asked to do; a plain value.
package struct IOOperation {
  /// What to do.
  package enum Kind: UInt8, Sendable {
    /// Fill the parts from the file; what is beyond its end is zeros.
    case read
    /// Write the parts to the file, which becomes longer if need be.
    case write
    /// Make durable what was completed before this was enqueued (`fdatasync(2)`).
    case synchronize
    /// Make a range read as zeros and keep its space, if the file system can; the file becomes no longer.
    case zero
    /// Make a range read as zeros and give its space back, if the file system can.
    case zeroAndUnmap
  }

  /// What to do.
  package var kind: Kind
  /// To which file; it is kept until the operation's event.
  package var file: ImageFile
  /// Where in the file; of no meaning to `synchronize`.
  package var offset: UInt64
  /// How many bytes: those of the parts, or of the range; of no meaning to `synchronize`.
  package var count: UInt64
  /// Comes back with the event.
  package var tag: UInt64

  /// An operation with these fields.
  package init(_ kind: Kind, _ file: ImageFile, offset: UInt64 = 0, count: UInt64 = 0, tag: UInt64) {
    self.kind = kind
    self.file = file
    self.offset = offset
    self.count = count
    self.tag = tag
  }
}

/// What an engine has to tell.
package struct IOEvent: Equatable, Sendable {
  /// The tag of the operation, or of the watched descriptor.
  package var tag: UInt64
  /// 0: the operation is done completely, or the descriptor is readable, closed by its peer, or in error.
  /// Otherwise a value of `errno`: any part of the operation may have happened, or the descriptor cannot be
  /// watched and is not looked at any more.
  package var code: CInt

  /// An event with these fields.
  package init(tag: UInt64, code: CInt) {
    self.tag = tag
    self.code = code
  }
}

/// How long a `run` may wait for the first event.
package enum Wait: Equatable, Sendable {
  /// Not at all.
  case no
  /// Until there is one; not for one that can never come.
  case forever
  /// At most so long.
  case milliseconds(Int32)
}

/// Moves bytes between memory and files while its owner does something else, and is what the owner waits on:
/// for operations and for descriptors that become readable.
///
/// An engine has one owner, the thread that calls `run` first, and holds no lock; it may be made elsewhere,
/// and descriptors may be watched before. The owner lets it go, or another thread does after the owner has
/// ended, and not before `underWay` is 0: the memory of operations under way may be written to still.
///
/// Rules, for every engine:
/// - Each operation gives one event, in any order. Operations under way at once are not ordered: whoever
///   needs an order waits for the first's event before enqueueing the second. `synchronize` covers what had
///   its event before it was enqueued.
/// - There is no limit to what is enqueued: what does not fit waits inside, in order.
/// - What is enqueued begins at `run`, not before.
/// - Transfers that come out short, interruptions (EINTR), a kernel without room (EAGAIN), the end of a file
///   that is read: the engine's business. EIO, ENOSPC, EFAULT, EBADF and so on come out as the code; EFBIG
///   stands for what is beyond any file.
/// - Where a file system refuses to make zeros (`zero`, `zeroAndUnmap`), they are written, in pieces;
///   `ImageFile.refusesToUnmap` and `refusesToZero` tell from then on.
package protocol QueuedEngine: AnyObject {
  /// Which one it is.
  var kind: EngineKind { get }
  /// How many operations are enqueued and have no event yet.
  var underWay: Int { get }
  /// Whether the last run left something that the next one will do at once: its owner need not be woken.
  var leftWork: Bool { get }
  /// Takes an operation.
  /// - Parameter parts: the list is copied; the memory it names stays valid, and is left alone, until the
  ///   operation's event. Empty for operations that move no memory.
  func enqueue(_ operation: IOOperation, parts: UnsafeBufferPointer<iovec>)
  /// Reports `tag` whenever the descriptor is readable, closed by its peer, or in error at a `run`:
  /// level-triggered, as with poll(2).
  ///
  /// A run that has operations to report may leave descriptors to one of the next few. The same descriptor is
  /// watched once; it is unwatched before it is closed.
  func watch(_ descriptor: CInt, tag: UInt64) throws(BlockIOError)
  /// Forgets a descriptor, which need not be watched; no later `run` reports it.
  func unwatch(_ descriptor: CInt)
  /// Begins what was enqueued, waits as told for at least one event, and appends all that there are.
  ///
  /// It may come back without any before its time: after a signal, or where nothing is under way or watched.
  /// It throws only if the kernel refuses the engine as such; then nothing more comes of it.
  func run(_ wait: Wait, into events: inout [IOEvent]) throws(BlockIOError)
}

extension QueuedEngine {
  package var leftWork: Bool { false }
}
