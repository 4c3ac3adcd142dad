// Pages on their way from the buffer to the flash.

/// Pages that wait in the buffer for room on the flash.
struct PageQueue: Sendable {
  struct Entry: Sendable {
    /// A logical page, or `close` or `flush`.
    var page: UInt32
    /// The request, for a forced write; the number of the flush.
    var tag: UInt32

    /// Close the open unit: the pages before it are to be programmed.
    static let close = UInt32.max
    static let flush = UInt32.max - 1
  }

  private var entries = Fifo<Entry>()
  /// How many entries have gone, which numbers those that are here.
  private(set) var gone: UInt32 = 0

  var isEmpty: Bool { entries.isEmpty }
  var first: Entry { entries[0] }
  var all: ArraySlice<Entry> { entries.all }

  /// Returns the entry's number.
  mutating func append(_ entry: Entry) -> UInt32 {
    entries.append(entry)
    return gone &+ UInt32(entries.count - 1)
  }

  mutating func removeFirst() {
    _ = entries.removeFirst()
    gone &+= 1
  }
}
