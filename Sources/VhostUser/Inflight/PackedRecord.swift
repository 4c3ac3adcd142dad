// What a packed ring writes down of its chains.
import CLinux

/// The region of a packed ring, native-endian. It keeps copies of descriptors, whose places in the ring the
/// driver may have used again by the time a successor asks.
///
/// | offset | size | field |
/// |-|-|-|
/// | 0 | 8 | features: 0 |
/// | 8 | 8 | `u16 version, descriptors, free, oldFree` |
/// | 16 | 8 | `u16 used, oldUsed; u8 usedWrap, oldUsedWrap; u8 padding[2]` |
/// | 32 | 32 each | `u8 inflight, padding; u16 next, last, count; u64 counter;` |
/// | | | `u16 identifier, flags; u32 length; u64 address` |
///
/// A chain takes as many entries from the free list as it has descriptors, and is known by its first. Nothing
/// counts before the old fields say so: what a crash interrupted is rolled back, unless the ring itself shows
/// that the driver has been told. The two groups at 8 and 16 are stored as words, because their parts mean
/// something only together. Chains are published one by one: of several in one go the later ones would stay
/// in the ring after a roll-back, and a driver would believe them.
struct PackedRecord {
  static let headerBytes = 32
  static let entryBytes = 32

  /// What an entry says of a chain that was under way.
  struct Chain {
    var counter: UInt64
    var first: UInt16
    var last: UInt16
    var count: UInt16
    var identifier: UInt16
  }

  private let region: InflightRegion
  private let size: UInt16
  private var counter: UInt64 = 0
  private var free: UInt16 = 0
  private var used: PackedPosition

  /// Takes over what a predecessor left.
  /// - Parameters:
  ///   - used: where the ring begins if the region is new; otherwise the region says it.
  ///   - flags: the flags of a descriptor in the ring.
  ///   - chains: receives what was under way, oldest first; nil if the region is new.
  ///   - link: receives the free list: an entry and its successor.
  init(
    _ region: InflightRegion, size: UInt16, used: inout PackedPosition, flags: (UInt16) -> UInt16,
    chains: inout [Chain]?, link: (UInt16, UInt16) -> Void
  ) throws(VhostUserError) {
    self.region = region
    self.size = size
    self.used = used
    let first = CLinux_load64(region.base + 8)
    let version = UInt16(truncatingIfNeeded: first)
    guard version != 0 else {
      format(link)
      return
    }
    guard version == 1, UInt16(truncatingIfNeeded: first >> 16) == size else {
      throw .inflight("version \(version), \(UInt16(truncatingIfNeeded: first >> 16)) descriptors")
    }
    free = UInt16(truncatingIfNeeded: first >> 32)
    var oldFree = UInt16(truncatingIfNeeded: first >> 48)
    let second = CLinux_load64(region.base + 16)
    self.used = PackedRecord.position(second, 0)
    var oldUsed = PackedRecord.position(second, 1)
    guard self.used.index < size, oldUsed.index < size, free <= size, oldFree <= size else {
      throw .inflight("places \(self.used.index) and \(oldUsed.index) of a ring of \(size)")
    }
    if self.used != oldUsed, flags(oldUsed.index) & PackedPosition.mask != oldUsed.availableFlags {
      // The driver has been told.
      (oldFree, oldUsed) = (free, self.used)
    }
    (free, self.used) = (oldFree, oldUsed)
    storeFree(old: free)
    storeUsed(old: oldUsed)
    let found = try takeStock(link)
    if isNew(flags) {
      guard found.isEmpty else { throw .inflight("chains are under way in a ring that is new") }
      self.used = used
      format(link)
      return
    }
    used = oldUsed
    chains = found
  }

  private mutating func format(_ link: (UInt16, UInt16) -> Void) {
    for index in 0..<size {
      CLinux_store8_release(entry(index), 0)
      CLinux_store16_release(entry(index) + 2, index + 1)
      link(index, index + 1)
    }
    free = 0
    storeUsed(old: used)
    storeFree(old: 0)
  }

  /// Whether a descriptor that must have been used, if the ring has come to where the region says, was never
  /// touched: then a guest has started anew.
  private func isNew(_ flags: (UInt16) -> UInt16) -> Bool {
    // In a lap with a zero, used descriptors look as if they were new; those of the lap before do not.
    if used.wrap { return used.index > 0 && flags(used.index - 1) & PackedPosition.mask == 0 }
    return flags(size - 1) & PackedPosition.mask == 0
  }

  private static func position(_ word: UInt64, _ which: UInt64) -> PackedPosition {
    let index = UInt16(truncatingIfNeeded: word >> (16 * which))
    let wrap = UInt8(truncatingIfNeeded: word >> (32 + 8 * which))
    var position = PackedPosition()
    position.index = index
    position.wrap = wrap != 0
    return position
  }

  /// Reads the free list and the chains; entries are in one of them at most.
  private mutating func takeStock(_ link: (UInt16, UInt16) -> Void) throws(VhostUserError) -> [Chain] {
    var seen = [Bool](repeating: false, count: Int(size))
    var index = free
    while index < size {
      guard !seen[Int(index)] else { throw .inflight("entry \(index) is twice in the free list") }
      seen[Int(index)] = true
      CLinux_store8_release(entry(index), 0)
      let next = CLinux_load16(entry(index) + 2)
      link(index, next)
      index = next
    }
    var chains: [Chain] = []
    for first in 0..<size where !seen[Int(first)] && CLinux_load8(entry(first)) != 0 {
      let place = entry(first)
      var chain = Chain(
        counter: CLinux_load64(place + 8), first: first, last: CLinux_load16(place + 4),
        count: CLinux_load16(place + 6), identifier: 0)
      var last = first
      for step in 0..<chain.count {
        if step > 0 {
          let next = CLinux_load16(entry(last) + 2)
          link(last, next)
          last = next
        }
        guard last < size, !seen[Int(last)] else { throw .inflight("entry \(first) begins no chain") }
        seen[Int(last)] = true
      }
      guard chain.count > 0, last == chain.last else { throw .inflight("entry \(first) begins no chain") }
      chain.identifier = CLinux_load16(entry(last) + 16)
      chains.append(chain)
    }
    guard seen.allSatisfy({ $0 }) else { throw .inflight("entries are neither free nor in a chain") }
    chains.sort { ($0.counter, $0.first) < ($1.counter, $1.first) }
    counter = (chains.last?.counter ?? 0) &+ 1
    return chains
  }

  @inline(__always)
  private func entry(_ index: UInt16) -> UnsafeMutableRawPointer {
    region.base + (PackedRecord.headerBytes + PackedRecord.entryBytes * Int(index))
  }

  private func storeFree(old: UInt16) {
    CLinux_store64_release(
      region.base + 8, 1 | UInt64(size) << 16 | UInt64(free) << 32 | UInt64(old) << 48)
  }

  private func storeUsed(old: PackedPosition) {
    let indices = UInt64(used.index) | UInt64(old.index) << 16
    let wraps = UInt64(used.wrap ? 1 : 0) | UInt64(old.wrap ? 1 : 0) << 8
    CLinux_store64_release(region.base + 16, indices | wraps << 32)
  }

  /// Where the free list begins.
  var firstFree: UInt16 { free }

  // MARK: Taking

  /// Writes a descriptor into a free entry; it does not count yet.
  func note(_ descriptor: RingDescriptor, _ identifier: UInt16, in index: UInt16) {
    let place = entry(index)
    let word = UInt64(identifier) | UInt64(descriptor.flags) << 16 | UInt64(descriptor.count) << 32
    CLinux_store64_release(place + 16, word)
    CLinux_store64_release(place + 24, descriptor.address)
  }

  /// The chain whose descriptors have been noted is taken; `free` is what the list begins with now.
  mutating func take(first: UInt16, last: UInt16, count: UInt16, free: UInt16) {
    let place = entry(first)
    CLinux_store16_release(place + 4, last)
    CLinux_store16_release(place + 6, count)
    CLinux_store64_release(place + 8, counter)
    CLinux_store8_release(place, 1)
    counter &+= 1
    self.free = free
    storeFree(old: free)
  }

  /// The descriptor in an entry of a chain that was under way; the guest is not the only one who may lie.
  func descriptor(in index: UInt16) -> RingDescriptor {
    let place = entry(index)
    let word = CLinux_load64(place + 16)
    return RingDescriptor(
      address: CLinux_load64(place + 24), count: UInt32(truncatingIfNeeded: word >> 32),
      flags: UInt16(truncatingIfNeeded: word >> 16))
  }

  // MARK: Giving back

  /// Before the driver is told: the chain's entries are free, and the ring has moved on.
  mutating func prepare(first: UInt16, last: UInt16, used: PackedPosition) {
    CLinux_store16_release(entry(last) + 2, free)
    let (oldFree, oldUsed) = (free, self.used)
    free = first
    storeFree(old: oldFree)
    self.used = used
    storeUsed(old: oldUsed)
  }

  /// The driver has been told of the chain that was prepared.
  func commit(first: UInt16) {
    CLinux_store8_release(entry(first), 0)
    storeFree(old: free)
    storeUsed(old: used)
  }
}
