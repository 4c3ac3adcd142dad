// A double: a medium that fails, and a kernel that answers in any order.
package import Glibc

/// Passes operations on to another engine, except those that it was told to fail, and gives back the events
/// in an order from a seed, some of them late.
///
/// What another owner's test makes of it is the same in every run only if the engine below answers at once
/// (`EngineKind.synchronous`).
package final class FaultyQueuedEngine: QueuedEngine {
  private struct Fault {
    let kind: IOOperation.Kind
    var countdown: Int
    let code: CInt
    let done: UInt64
  }

  private let inner: any QueuedEngine
  private var state: UInt64
  /// One in so many operations fails, of those that `chance` names; 0: none.
  private var chance: UInt64 = 0
  private var chanceCode: CInt = 0
  private var faults: [Fault] = []
  /// The owner's tags by ours, which are even for operations and odd for descriptors: the owner's need not
  /// differ. With the code that an operation is to fail with.
  private var tags: [UInt64: (tag: UInt64, code: CInt?)] = [:]
  private var lastTag: UInt64 = 0
  /// Events of operations that are not told yet.
  private var held: [IOEvent] = []
  /// How many operations were passed on or failed, of each kind.
  package private(set) var log: [IOOperation.Kind] = []

  /// An engine that fails nothing yet, and holds back events in an order from the seed.
  package init(over inner: any QueuedEngine, seed: UInt64) {
    self.inner = inner
    state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
  }

  package var kind: EngineKind { inner.kind }
  package private(set) var underWay = 0

  /// Lets the operation after the next `skipping` ones of its kind fail, once.
  /// - Parameter done: how many bytes are moved before it fails: a short transfer.
  package func fail(_ kind: IOOperation.Kind, skipping: Int = 0, code: CInt, done: UInt64 = 0) {
    faults.append(Fault(kind: kind, countdown: skipping, code: code, done: done))
  }

  /// Lets one in `count` operations fail from now on, by the seed, after part of it was done; 0 ends that.
  package func failOne(in count: UInt64, code: CInt) {
    chance = count
    chanceCode = code
  }

  package func enqueue(_ operation: IOOperation, parts: UnsafeBufferPointer<iovec>) {
    log.append(operation.kind)
    underWay += 1
    let fault = fault(operation)
    var part = operation
    part.tag = ownTag(for: operation.tag, code: fault?.code)
    guard let fault else { return inner.enqueue(part, parts: parts) }
    switch operation.kind {
    case .synchronize: held.append(IOEvent(tag: part.tag, code: 0))
    case .zero, .zeroAndUnmap:
      part.count = min(fault.done, operation.count)
      inner.enqueue(part, parts: parts)
    case .read, .write:
      var list = IOVectorList()
      var cursor = IOVectorCursor()
      part.count = min(fault.done, parts.byteCount ?? 0)
      list.append(part.count, of: parts, from: &cursor)
      inner.enqueue(part, parts: list.parts)
    }
  }

  package func watch(_ descriptor: CInt, tag: UInt64) throws(BlockIOError) {
    try inner.watch(descriptor, tag: ownTag(for: tag, code: nil) | 1)
  }

  package func unwatch(_ descriptor: CInt) { inner.unwatch(descriptor) }

  package func run(_ wait: Wait, into events: inout [IOEvent]) throws(BlockIOError) {
    var inside: [IOEvent] = []
    try inner.run(held.isEmpty ? wait : .no, into: &inside)
    for event in inside {
      // Late news of a descriptor could be news of one that is no longer watched.
      if event.tag & 1 == 0 {
        held.append(event)
      } else if let (tag, _) = tags[event.tag & ~1] {
        events.append(IOEvent(tag: tag, code: event.code))
      }
    }
    // Some, but one at least.
    var count = held.isEmpty ? 0 : 1 + Int(next() % UInt64(held.count))
    while count > 0 {
      let event = held.remove(at: Int(next() % UInt64(held.count)))
      let told = tags.removeValue(forKey: event.tag)
      events.append(IOEvent(tag: told?.tag ?? event.tag, code: told?.code ?? event.code))
      underWay -= 1
      count -= 1
    }
  }

  private func ownTag(for tag: UInt64, code: CInt?) -> UInt64 {
    lastTag += 2
    tags[lastTag] = (tag, code)
    return lastTag
  }

  private func fault(_ operation: IOOperation) -> (code: CInt, done: UInt64)? {
    if let index = faults.firstIndex(where: { $0.kind == operation.kind }) {
      faults[index].countdown -= 1
      if faults[index].countdown < 0 {
        let fault = faults.remove(at: index)
        return (fault.code, fault.done)
      }
    }
    guard chance > 0, next() % chance == 0 else { return nil }
    return (chanceCode, next() % (operation.count / 512 + 1) * 512)
  }

  private func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state
  }
}
