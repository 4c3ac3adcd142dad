// What a split ring writes down of its chains.
import CLinux

/// The region of a split ring, native-endian.
///
/// | offset | size | field |
/// |-|-|-|
/// | 0 | 8 | features: 0 |
/// | 8 | 2 | version: 1; 0 before the first use |
/// | 10 | 2 | descriptors |
/// | 12 | 2 | head that was completed last |
/// | 14 | 2 | used index up to which `inflight` is right |
/// | 16 | 16 each | `u8 inflight; u8 padding[5]; u16 next; u64 counter` |
///
/// Orders: a head is marked before anything is done about it; completed heads are linked before the used
/// index is stored, unmarked after it, and only then is the index stored here. Whoever comes after a crash
/// compares the two indices, and unmarks so many heads of the list as they differ.
struct SplitRecord: ~Copyable {
  static let headerBytes = 16
  static let entryBytes = 16

  private let region: InflightRegion
  private let size: UInt16
  private var counter: UInt64
  private var lastHead: UInt16
  /// Completed, and still marked.
  private let batch: UnsafeMutableBufferPointer<UInt16>
  private var batchCount = 0

  deinit { batch.deallocate() }

  /// Takes over what a predecessor left.
  /// - Parameters:
  ///   - used: the used index in the ring.
  ///   - heads: receives what was under way, oldest first; nil if the region is new.
  init(
    _ region: InflightRegion, size: UInt16, used: UInt16, heads: inout [UInt16]?
  ) throws(VhostUserError) {
    let base = region.base
    self.region = region
    self.size = size
    batch = .allocate(capacity: Int(size))
    batch.initialize(repeating: 0)
    counter = 0
    lastHead = CLinux_load16(base + 12)
    let version = CLinux_load16(base + 8)
    guard version != 0 else {
      for head in 0..<size { CLinux_store8_release(SplitRecord.entry(base, head), 0) }
      CLinux_store16_release(base + 10, size)
      CLinux_store16_release(base + 14, used)
      CLinux_store16_release(base + 8, 1)
      return
    }
    guard version == 1, CLinux_load16(base + 10) == size else {
      throw .inflight("version \(version), \(CLinux_load16(base + 10)) descriptors for a ring of \(size)")
    }
    let unsettled = used &- CLinux_load16(base + 14)
    if unsettled <= size {
      var head = lastHead
      for _ in 0..<unsettled {
        guard head < size else { throw .inflight("head \(head) of a ring of \(size)") }
        let entry = SplitRecord.entry(base, head)
        CLinux_store8_release(entry, 0)
        head = CLinux_load16(entry + 6)
      }
    }
    var marked: [(counter: UInt64, head: UInt16)] = []
    for head in 0..<size {
      let entry = SplitRecord.entry(base, head)
      if CLinux_load8(entry) != 0 { marked.append((CLinux_load64(entry + 8), head)) }
    }
    // Another ring than the one that was recorded: a guest that started anew, if nothing was under way.
    guard unsettled <= size || marked.isEmpty else {
      throw .inflight("the used index is \(unsettled) ahead in a ring of \(size)")
    }
    CLinux_store16_release(base + 14, used)
    marked.sort { ($0.counter, $0.head) < ($1.counter, $1.head) }
    counter = (marked.last?.counter ?? 0) &+ 1
    heads = marked.map(\.head)
  }

  @inline(__always)
  private static func entry(_ base: UnsafeMutableRawPointer, _ head: UInt16) -> UnsafeMutableRawPointer {
    base + (headerBytes + entryBytes * Int(head))
  }

  /// A head was taken. It is less than the size.
  mutating func take(_ head: UInt16) {
    let entry = SplitRecord.entry(region.base, head)
    CLinux_store64_release(entry + 8, counter)
    counter &+= 1
    CLinux_store8_release(entry, 1)
  }

  /// A head was put into the used ring, where the driver does not see it yet.
  mutating func complete(_ head: UInt16) {
    CLinux_store16_release(SplitRecord.entry(region.base, head) + 6, lastHead)
    CLinux_store16_release(region.base + 12, head)
    lastHead = head
    batch[batchCount] = head
    batchCount += 1
  }

  /// The used index was stored.
  mutating func published(_ used: UInt16) {
    for index in 0..<batchCount { CLinux_store8_release(SplitRecord.entry(region.base, batch[index]), 0) }
    batchCount = 0
    CLinux_store16_release(region.base + 14, used)
  }
}
