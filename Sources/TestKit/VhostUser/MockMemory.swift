// The memory of a guest that is not there.
import CLinux
import Glibc
package import Linux
package import VhostUser

/// A sealed file in memory, laid out as the front-end of a guest would share it.
///
/// Two regions of equal size follow each other in the guest's address space, but not in the file nor in the
/// front-end's addresses: a buffer across the border has two pieces, and no address means the same in two
/// spaces.
package final class MockMemory {
  /// Where guest memory begins.
  package static let guestBase: UInt64 = 0x10_0000
  private static let userBase: UInt64 = 0x7000_0000_0000

  package let descriptor: Descriptor
  /// What SET_MEM_TABLE says.
  package let regions: [MemoryRegion]
  private let mapping: Mapping

  /// - Parameters:
  ///   - regionByteCount: a multiple of the page size.
  ///   - sealed: whether the guest could not cut its memory off if it wanted to.
  package init(regionByteCount size: Int = 1 << 20, sealed: Bool = true) throws(LinuxError) {
    if sealed {
      descriptor = try makeSealedMemory(named: "mock-guest", count: 2 * size)
    } else {
      let file = try retrying("memfd_create", "") { CLinux_memfd_create_sealable("mock-guest") }
      descriptor = Descriptor(owning: file)
      _ = try retrying("ftruncate", "") { ftruncate(file, 2 * size) }
    }
    mapping = try Mapping(sharing: descriptor, count: 2 * size)
    let length = UInt64(size)
    regions = [
      MemoryRegion(guest: Self.guestBase, size: length, user: Self.userBase, fileOffset: length),
      MemoryRegion(
        guest: Self.guestBase + length, size: length, user: Self.userBase + 2 * length, fileOffset: 0),
    ]
  }

  /// The guest address of the border between the two regions.
  package var border: UInt64 { regions[1].guest }
  /// The first guest address past the memory.
  package var end: UInt64 { regions[1].guest + regions[1].size }

  /// Where a guest address is in this process. SAFETY: valid up to the end of its region.
  package func pointer(_ guest: UInt64) -> UnsafeMutableRawPointer {
    let region = regions[guest < border ? 0 : 1]
    precondition(guest >= region.guest && guest - region.guest < region.size)
    return mapping.base + Int(region.fileOffset + (guest - region.guest))
  }

  /// The front-end's address of a guest address.
  package func userAddress(_ guest: UInt64) -> UInt64 {
    let region = regions[guest < border ? 0 : 1]
    return region.user + (guest - region.guest)
  }

  package func write(_ bytes: [UInt8], at guest: UInt64) {
    for (offset, byte) in bytes.enumerated() {
      pointer(guest + UInt64(offset)).storeBytes(of: byte, as: UInt8.self)
    }
  }

  package func read(at guest: UInt64, count: Int) -> [UInt8] {
    (0..<count).map { pointer(guest + UInt64($0)).load(as: UInt8.self) }
  }
}
