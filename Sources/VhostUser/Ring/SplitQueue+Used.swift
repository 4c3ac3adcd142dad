// Giving chains back.
import CLinux

extension SplitQueue {
  /// Puts a chain into the used ring, where the driver does not see it before `publish()`.
  /// - Parameter written: bytes written into the writable part, counted from its start.
  /// - Returns: false if no chain with this head is held: it was completed before, or the ring was restarted.
  package mutating func complete(head: UInt16, written: UInt32) -> Bool {
    guard head < size, held[Int(head)] else { return false }
    held[Int(head)] = false
    gatherer.log?.completed(head)
    put(head, written: written)
    return true
  }

  @inline(__always)
  mutating func put(_ head: UInt16, written: UInt32) {
    let entry = used + 4 + 8 * Int(nextUsed & (size - 1))
    CLinux_store32(entry, UInt32(head).littleEndian)
    CLinux_store32(entry + 4, written.littleEndian)
    gatherer.log?.wroteRing(4 + 8 * Int(nextUsed & (size - 1)), count: 8)
    nextUsed &+= 1
    record?.complete(head)
  }

  /// Whether there are used entries that the driver does not see yet.
  package var hasUnpublished: Bool { nextUsed != publishedUsed }

  /// Shows the driver what was completed; returns whether it wants to be called for that.
  package mutating func publish() -> Bool {
    guard hasUnpublished else { return false }
    let new = nextUsed
    outstanding -= Int(new &- publishedUsed)
    CLinux_store16_release(used + 2, new.littleEndian)
    gatherer.log?.wroteRing(2, count: 2)
    publishedUsed = new
    record?.published(new)
    CLinux_fence()
    guard usesEventIndex else { return UInt16(littleEndian: CLinux_load16(available)) & 1 == 0 }
    let event = UInt16(littleEndian: CLinux_load16(available + 4 + 2 * Int(size)))
    let old = decidedUsed
    decidedUsed = new
    guard let old else { return true }
    return SplitQueue.passes(event: event, old: old, new: new)
  }

  /// Whether moving an index from `old` to `new` moves it past `event` (virtio 1.2 §2.7.10).
  package static func passes(event: UInt16, old: UInt16, new: UInt16) -> Bool {
    (new &- event) &- 1 < new &- old
  }
}
