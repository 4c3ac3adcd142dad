// The guest's memory, as far as the front-end shared it.
import CLinux
import Glibc
import Linux

/// A set of mapped regions, and the two ways to look an address up in it.
///
/// A value of this class never changes: a new table is a new object, and the old one stays mapped until the
/// last request that holds it is done. Descriptors name guest physical addresses, SET_VRING_ADDR names the
/// front-end's. Every range is checked as `address - start < size`, without a sum that could wrap.
///
/// A front-end may truncate its file later. Then an access finds zeros, and the memory is broken: whoever
/// serves a ring asks for that after each pass.
package final class GuestMemory {
  /// A region with the mapping that holds it; shared between successive tables.
  final class Region {
    let layout: MemoryRegion
    let mapping: GuardedMapping

    init(layout: MemoryRegion, mapping: consuming GuardedMapping) {
      self.layout = layout
      self.mapping = mapping
    }
  }

  /// What a look-up needs, side by side. SAFETY: `host` is valid for `size` bytes as long as the table lives.
  struct Entry {
    var guest: UInt64
    var size: UInt64
    var user: UInt64
    var host: UnsafeMutableRawPointer
  }

  private let owners: [Region]
  /// SAFETY: valid as long as the memory lives.
  let entries: UnsafeMutableBufferPointer<Entry>

  /// Memory of no bytes, in which every address is wrong.
  package convenience init() { self.init(owners: []) }

  /// Maps the regions of a table, each from its descriptor; the mappings outlive the descriptors.
  package convenience init(regions: [MemoryRegion], descriptors: [CInt]) throws(VhostUserError) {
    guard regions.count == descriptors.count else {
      throw .descriptorCount(descriptors.count, expected: regions.count)
    }
    var owners: [Region] = []
    for (layout, descriptor) in zip(regions, descriptors) {
      owners.append(try GuestMemory.map(layout, descriptor, beside: owners))
    }
    self.init(owners: owners)
  }

  private init(owners: [Region]) {
    self.owners = owners
    entries = .allocate(capacity: owners.count)
    for (index, owner) in owners.enumerated() {
      // The offset was checked against the length of the mapping when it was made.
      let host = owner.mapping.base + Int(owner.layout.fileOffset)
      entries.initializeElement(
        at: index,
        to: Entry(guest: owner.layout.guest, size: owner.layout.size, user: owner.layout.user, host: host))
    }
  }

  deinit { entries.deallocate() }

  package var isEmpty: Bool { owners.isEmpty }

  /// Whether a file has been found to be shorter than its region.
  package var isBroken: Bool { owners.contains { $0.mapping.isBroken } }

  /// The regions, in the order in which they came.
  package var regions: [MemoryRegion] { owners.map(\.layout) }

  /// This memory and one region more.
  package func adding(_ region: MemoryRegion, descriptor: CInt) throws(VhostUserError) -> GuestMemory {
    guard owners.count < Limits.regions else { throw .tooManyRegions(owners.count + 1) }
    return GuestMemory(owners: owners + [try GuestMemory.map(region, descriptor, beside: owners)])
  }

  /// This memory without the region that has these addresses and this size.
  package func removing(_ region: MemoryRegion) throws(VhostUserError) -> GuestMemory {
    let kept = owners.filter {
      $0.layout.guest != region.guest || $0.layout.size != region.size || $0.layout.user != region.user
    }
    guard kept.count < owners.count else { throw .noSuchRegion(guest: region.guest) }
    return GuestMemory(owners: kept)
  }

  private static func map(
    _ region: MemoryRegion, _ descriptor: CInt, beside others: [Region]
  ) throws(VhostUserError) -> Region {
    let guest = region.guest
    guard region.size > 0 else { throw .emptyRegion(guest: guest) }
    let last = region.size - 1
    let (end, wraps) = region.fileOffset.addingReportingOverflow(region.size)
    guard guest <= .max - last, region.user <= .max - last, !wraps, end <= UInt64(Int.max) else {
      throw .regionWraps(guest: guest)
    }
    for other in others.map(\.layout) {
      let apartInGuest = guest + last < other.guest || other.guest + (other.size - 1) < guest
      let apartInUser = region.user + last < other.user || other.user + (other.size - 1) < region.user
      guard apartInGuest, apartInUser else { throw .regionsOverlap(guest: guest) }
    }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw .system(LinuxError("fstat", "memory region")) }
    guard Int64(end) <= Int64(status.st_size) else {
      throw .regionPastFile(guest: guest, end: end, file: Int64(status.st_size))
    }
    return Region(layout: region, mapping: try GuardedMapping(sharing: descriptor, count: Int(end)))
  }

  /// The host memory at a guest physical address: as much of `count` bytes as lies in one region; nil if
  /// none.
  @inline(__always)
  package func piece(at address: UInt64, count: Int) -> UnsafeMutableRawBufferPointer? {
    for index in 0..<entries.count {
      let offset = address &- entries[index].guest
      let size = entries[index].size
      if offset < size {
        let reach = min(size - offset, UInt64(truncatingIfNeeded: count))
        return UnsafeMutableRawBufferPointer(
          start: entries[index].host + Int(truncatingIfNeeded: offset), count: Int(truncatingIfNeeded: reach))
      }
    }
    return nil
  }

  /// The host memory at an address of the front-end, if all `count` bytes lie in one region.
  package func area(atUserAddress address: UInt64, count: Int) -> UnsafeMutableRawPointer? {
    for entry in entries {
      let offset = address &- entry.user
      if offset < entry.size, UInt64(count) <= entry.size - offset { return entry.host + Int(offset) }
    }
    return nil
  }

  /// The guest physical address of what the front-end sees at another; nil if it is nowhere.
  func guestAddress(ofUser address: UInt64) -> UInt64? {
    for entry in entries where address &- entry.user < entry.size {
      return entry.guest + (address &- entry.user)
    }
    return nil
  }

  /// Like `area`, for a part of a ring, which has an alignment.
  func ringArea(
    _ part: RingPart, _ address: UInt64, count: Int, alignment: Int
  ) throws(VhostUserError) -> UnsafeMutableRawPointer {
    guard let host = area(atUserAddress: address, count: count) else { throw .ringAddress(part, address) }
    guard Int(bitPattern: host) & (alignment - 1) == 0 else { throw .ringAlignment(part, address) }
    return host
  }

  /// Copies bytes out of guest memory, once; false if not all of them are there.
  package func read(at address: UInt64, into bytes: UnsafeMutableRawBufferPointer) -> Bool {
    transfer(at: address, count: bytes.count) { piece, done in
      guard let base = bytes.baseAddress, let source = piece.baseAddress else { return }
      CLinux_copy(base + done, source, piece.count)
    }
  }

  /// Copies bytes into guest memory; false if not all of them fit, and then some may have been written.
  package func write(_ bytes: UnsafeRawBufferPointer, at address: UInt64) -> Bool {
    transfer(at: address, count: bytes.count) { piece, done in
      guard let base = bytes.baseAddress, let target = piece.baseAddress else { return }
      CLinux_copy(target, base + done, piece.count)
    }
  }

  private func transfer(
    at address: UInt64, count: Int, _ body: (UnsafeMutableRawBufferPointer, Int) -> Void
  ) -> Bool {
    var done = 0
    while done < count {
      let (next, wraps) = address.addingReportingOverflow(UInt64(done))
      guard !wraps, let piece = piece(at: next, count: count - done) else { return false }
      body(piece, done)
      done += piece.count
    }
    return true
  }
}
