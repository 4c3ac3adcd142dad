// The state of one operation that is under way.
import Glibc
import Linux

/// An operation from its enqueueing to its event; a slot that is used again and again.
///
/// SAFETY: it owns its list of parts, which it changes as bytes are moved, and never the memory that the
/// parts name. Slots lie where they are until the engine goes, so that rings and threads may point to them.
struct Operation {
  enum Phase: UInt8 {
    /// Nothing is asked of the kernel.
    case waiting
    /// The kernel works on the whole of it: `synchronize`, or a range that is zeroed.
    case whole
    /// The kernel works on the parts themselves.
    case plain
    /// A read fills the buffer.
    case bufferedRead
    /// A write that changes blocks in part fills the buffer with what is there.
    case oldContents
    /// A write empties the buffer.
    case bufferedWrite
    /// A write empties the buffer through the page cache: at the end of the file, which it must not make
    /// longer than it was told.
    case tail
  }

  var kind = IOOperation.Kind.read
  var phase = Phase.waiting
  /// What is zeroed is written.
  var writesZeros = false
  /// The rest goes through the page cache.
  var avoidsDirect = false
  /// Beyond what a file can hold.
  var isOutOfRange = false
  var tag: UInt64 = 0
  var file: ImageFile?
  /// What is not done yet: from here …
  var position: UInt64 = 0
  /// … to where the parts end …
  var limit: UInt64 = 0
  /// … and to where the operation ends; the two differ while zeros are written.
  var end: UInt64 = 0

  /// The parts that are not done; the list has one more place at its end, for the step that needs another.
  var parts: UnsafeMutablePointer<iovec>
  var capacity: Int
  var firstPart = 0
  var partsEnd = 0
  /// All addresses, or'ed.
  var addressBits: UInt = 0
  /// All lengths, or'ed.
  var lengthBits: UInt = 0

  /// Memory that the kernel takes as it is.
  var buffer: UnsafeMutableRawPointer?
  /// Which bytes of the file are, or will be, in the buffer.
  var windowStart: UInt64 = 0
  var windowCount = 0
  /// How many bytes of the window the kernel moved.
  var windowDone = 0

  var ticket: RangeLocks.Ticket?
  /// What comes after it in a list; free for the engine's use while the kernel, or a thread, has it.
  var next: UnsafeMutablePointer<Operation>?
  /// A worker of the ring has the step.
  var isHandedOver = false
  var step: Step
  /// What a thread that carried out the step found.
  var result = 0

  init() {
    capacity = Limits.partsPerOperationMin
    parts = .allocate(capacity: capacity + 1)
    step = Step(kind: .read, descriptor: -1, parts: parts)
  }

  /// Frees what the slot owns.
  mutating func destroy() {
    file = nil
    parts.deallocate()
  }

  /// Copies a list of parts, without the empty ones.
  /// - Returns: how many bytes they are, or nil when that is more than any memory.
  mutating func take(_ list: UnsafeBufferPointer<iovec>) -> UInt64? {
    reserve(list.count)
    firstPart = 0
    partsEnd = 0
    addressBits = 0
    lengthBits = 0
    var sum: UInt64 = 0
    for part in list where part.iov_len > 0 {
      append(part)
      let (next, overflow) = sum.addingReportingOverflow(UInt64(part.iov_len))
      guard !overflow, next <= UInt64(Int64.max) else { return nil }
      sum = next
    }
    return sum
  }

  /// Lets the parts be zeros, `count` bytes of them.
  mutating func takeZeros(_ zeros: UnsafeMutableRawPointer, count: Int) {
    reserve(count / Limits.zeroBytesPerCall + 1)
    firstPart = 0
    partsEnd = 0
    addressBits = 0
    lengthBits = 0
    var rest = count
    while rest > 0 {
      let here = min(rest, Limits.zeroBytesPerCall)
      append(iovec(iov_base: zeros, iov_len: here))
      rest -= here
    }
  }

  @inline(__always)
  private mutating func append(_ part: iovec) {
    parts[partsEnd] = part
    partsEnd += 1
    addressBits |= UInt(bitPattern: part.iov_base)
    lengthBits |= UInt(bitPattern: part.iov_len)
  }

  private mutating func reserve(_ count: Int) {
    guard count > capacity || capacity > Limits.partsKept else { return }
    parts.deallocate()
    capacity = max(count, Limits.partsPerOperationMin)
    parts = .allocate(capacity: capacity + 1)
  }

  /// Drops the first bytes, which are done.
  mutating func advance(_ count: Int) {
    position += UInt64(count)
    var rest = count
    while rest > 0 {
      let length = parts[firstPart].iov_len
      if rest < length {
        parts[firstPart].iov_base += rest
        parts[firstPart].iov_len = length - rest
        return
      }
      rest -= length
      firstPart += 1
    }
  }

  /// Fills all parts with zeros, and is done.
  mutating func fillRestWithZeros() {
    UnsafeBufferPointer(start: parts + firstPart, count: partsEnd - firstPart).fillWithZeros()
    position = limit
  }

  /// Copies bytes between the buffer and the parts that are not done, and leaves those as they are.
  func copy(toParts: Bool, _ place: UnsafeMutableRawPointer, count: Int) {
    var place = place
    var rest = count
    var index = firstPart
    while rest > 0, let base = parts[index].iov_base {
      let here = min(rest, parts[index].iov_len)
      if toParts { memcpy(base, place, here) } else { memcpy(place, base, here) }
      place += here
      rest -= here
      index += 1
    }
  }

  /// Whether the step reaches a regular file through the page cache, where all of a file in memory is.
  var goesThroughCache: Bool {
    guard let file else { return false }
    return file.isInMemory || (!file.isBlockDevice && step.descriptor == file.descriptor.rawValue)
  }

  /// How many bytes of the request are still to be moved.
  var bytesLeft: UInt64 { limit - position }

  /// How many bytes of the request lie in the window.
  var countInWindow: Int { Int(min(limit, windowStart + UInt64(windowCount)) - position) }
}

/// A list of operations, first in, first out.
struct OperationList {
  private(set) var first: UnsafeMutablePointer<Operation>?
  private var last: UnsafeMutablePointer<Operation>?

  @inline(__always)
  mutating func append(_ operation: UnsafeMutablePointer<Operation>) {
    operation.pointee.next = nil
    if let last { last.pointee.next = operation } else { first = operation }
    last = operation
  }

  @inline(__always)
  mutating func popFirst() -> UnsafeMutablePointer<Operation>? {
    guard let operation = first else { return nil }
    first = operation.pointee.next
    if first == nil { last = nil }
    return operation
  }

  /// Moves all of another list behind these.
  mutating func append(contentsOf other: inout OperationList) {
    guard let start = other.first else { return }
    if let last { last.pointee.next = start } else { first = start }
    last = other.last
    other = OperationList()
  }

  /// Puts one back that was taken just now.
  mutating func prepend(_ operation: UnsafeMutablePointer<Operation>) {
    operation.pointee.next = first
    first = operation
    if last == nil { last = operation }
  }
}

extension Limits {
  /// How many parts a slot has room for at first.
  static let partsPerOperationMin = 8
  /// A slot with room for more gives it back.
  static let partsKept = 1024
  /// The most bytes one step moves: a request in a ring has 32 bits for them, and so has a result.
  static let bytesPerStep = 1 << 30
  /// Slots are made so many at a time.
  static let operationsPerChunk = 32
  /// What goes through a buffer does so in pieces of this many bytes …
  static let bufferBytes = 128 << 10
  /// … and no engine has more buffers than this; who finds none waits.
  static let buffersMax = 32
  /// How many of them are kept when nothing is under way.
  static let buffersKept = 2
  /// Files that want more than this are not used with O_DIRECT.
  static let directAlignmentMax = 65536
  /// How many operations of one engine wait for ranges.
  static let waitingForRangesMax = 64
  /// What the page cache writes at once, at least.
  static let pageBytes = 4096
  /// Zeros are written in steps of this many bytes.
  static let zeroBytesPerStep = 1 << 20
}
