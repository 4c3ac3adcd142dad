// Which pages of the guest we write, for a front-end that moves the guest.
import CLinux
import Glibc
import Linux

/// A bitmap of the guest's pages of 4 KiB, shared with the front-end, which takes bits away as it copies
/// pages (QEMU vhost-user.rst, "Migration").
///
/// Rule: a bit is set after its page was written; before that the front-end could take the bit, copy the old
/// page, and never hear of the new one.
final class DirtyLog {
  static let pageShift: UInt64 = 12

  private let mapping: GuardedMapping
  // SAFETY: `start` is valid for `count` bytes as long as the mapping lives.
  private let start: UnsafeMutableRawPointer
  private let count: UInt64

  /// Maps the bitmap that a front-end gives to us.
  init(size: UInt64, offset: UInt64, descriptor: CInt) throws(VhostUserError) {
    let (end, wraps) = offset.addingReportingOverflow(size)
    guard size > 0, !wraps, end <= Limits.logBytes else { throw .log("\(size) bytes at \(offset)") }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw .system(LinuxError("fstat", "dirty log")) }
    guard Int64(status.st_size) >= Int64(end) else {
      throw .log("ends at byte \(end) of a file of \(status.st_size)")
    }
    mapping = try GuardedMapping(sharing: descriptor, count: Int(end))
    start = mapping.base + Int(offset)
    count = size
  }

  /// Notes that bytes at a guest physical address were written. What the bitmap does not reach is not the
  /// guest's memory.
  func mark(_ address: UInt64, count bytes: UInt64) {
    guard bytes > 0 else { return }
    let (last, wraps) = address.addingReportingOverflow(bytes - 1)
    var page = address >> DirtyLog.pageShift
    let end = (wraps ? UInt64.max : last) >> DirtyLog.pageShift
    while page <= end, page / 8 < count {
      let byte = start + Int(page / 8)
      let bit = UInt8(1) << UInt8(page % 8)
      // Most are set already, and an atomic operation is dear.
      if CLinux_load8(byte) & bit == 0 { CLinux_or8(byte, bit) }
      page += 1
    }
  }
}

/// What one ring has to tell the log: kept apart, so that rings of guests that stay where they are know
/// nothing of it.
///
/// A chain's writable ranges are noted when it is taken, because only then guest addresses are known, and
/// marked when it is completed.
final class RingLog {
  private typealias Range = (address: UInt64, count: UInt64)

  /// Where to mark; nil until there is one.
  var log: DirtyLog?
  /// The guest addresses of the two areas that we write, if writes to the ring are to be marked: the used
  /// ring, or the table of a packed ring and our event.
  private var ring: UInt64?
  private var event: UInt64?
  private var gathered: [Range] = []
  private var held: [[Range]]

  init(size: UInt16, log: DirtyLog?) {
    self.log = log
    held = [[Range]](repeating: [], count: Int(size))
  }

  /// Finds the ring's guest addresses.
  func place(_ addresses: VringAddress, isPacked: Bool, memory: GuestMemory) {
    guard addresses.flags & 1 != 0 else {
      (ring, event) = (nil, nil)
      return
    }
    ring = isPacked ? memory.guestAddress(ofUser: addresses.descriptors) : addresses.log
    event = isPacked ? memory.guestAddress(ofUser: addresses.used) : nil
  }

  func begin() { gathered.removeAll(keepingCapacity: true) }

  func note(_ address: UInt64, count: Int) { gathered.append((address, UInt64(count))) }

  func taken(_ head: UInt16) { swap(&gathered, &held[Int(head)]) }

  func completed(_ head: UInt16) {
    if let log { for range in held[Int(head)] { log.mark(range.address, count: range.count) } }
    held[Int(head)].removeAll(keepingCapacity: true)
  }

  /// Bytes of the used ring, or of the packed table, were written.
  func wroteRing(_ offset: Int, count: UInt64) {
    if let ring { log?.mark(ring &+ UInt64(offset), count: count) }
  }

  /// Our event in a packed ring was written.
  func wroteEvent() {
    if let event { log?.mark(event, count: 4) }
  }
}
