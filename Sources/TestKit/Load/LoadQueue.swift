// One ring under load.
import CLinux
import Glibc
import Linux

/// A split ring with a fixed number of requests, each with descriptors and memory of its own: header, data,
/// status. So that submitting one again costs two stores and an entry of the available ring.
///
/// SAFETY: all offsets lie within the client's memory, which was made for them; the queue has one owner, a
/// thread, and the client outlives it.
final class LoadQueue {
  /// Where the areas of a ring are, from its beginning.
  struct Layout {
    let size: Int
    var available: Int { 16 * size }
    var used: Int { (available + 6 + 2 * size + 63) & ~63 }
    var byteCount: Int { (used + 6 + 8 * size + 4095) & ~4095 }
  }

  /// The ring holds three descriptors for each request.
  static func ringSize(depth: Int) -> Int {
    var size = 4
    while size < 3 * depth { size *= 2 }
    return size
  }

  /// Bytes of memory that a queue needs: ring, headers with statuses, data.
  static func byteCount(depth: Int, blockBytes: Int) -> Int {
    let data = (blockBytes + 4095) & ~4095
    return Layout(size: ringSize(depth: depth)).byteCount + ((32 * depth + 4095) & ~4095) + depth * data
  }

  let depth: Int
  private let client: LoadClient
  private let layout: Layout
  private let base: UnsafeMutableRawPointer
  private let headers: UnsafeMutableRawPointer
  private let usesEventIndex: Bool
  private let kick: Descriptor
  private let call: Descriptor
  private var nextAvailable: UInt16 = 0
  private var kicked: UInt16 = 0
  private var nextUsed: UInt16 = 0
  private(set) var kickCount: UInt64 = 0
  private(set) var waitCount: UInt64 = 0

  init(
    _ client: LoadClient, index: Int, offset: Int, depth: Int, blockBytes: Int, writes: Bool
  ) throws(LoadError) {
    self.depth = depth
    self.client = client
    layout = Layout(size: LoadQueue.ringSize(depth: depth))
    base = client.memory.base + offset
    let headerOffset = offset + layout.byteCount
    headers = client.memory.base + headerOffset
    usesEventIndex = client.features & 1 << 29 != 0
    do throws(LinuxError) {
      kick = try Descriptor.eventCounter()
      call = try Descriptor.eventCounter()
    } catch { throw .linux(error) }
    let dataOffset = headerOffset + ((32 * depth + 4095) & ~4095)
    let stride = (blockBytes + 4095) & ~4095
    for slot in 0..<depth {
      let header = LoadClient.guestBase + UInt64(headerOffset + 32 * slot)
      let data = LoadClient.guestBase + UInt64(dataOffset + slot * stride)
      put(3 * slot, address: header, count: 16, flags: 1)
      put(3 * slot + 1, address: data, count: UInt32(blockBytes), flags: writes ? 1 : 3)
      put(3 * slot + 2, address: header + 16, count: 1, flags: 2)
      headers.storeBytes(of: writes ? 1 : 0, toByteOffset: 32 * slot, as: UInt32.self)
      // What is written is not zeros, and no two blocks are equal.
      memset(client.memory.base + dataOffset + slot * stride, CInt(slot & 0x7f) + 1, blockBytes)
    }
    try client.start(
      index, size: UInt16(layout.size), offset: offset, kick: kick.rawValue, call: call.rawValue)
  }

  private func put(_ slot: Int, address: UInt64, count: UInt32, flags: UInt16) {
    base.storeBytes(of: address, toByteOffset: 16 * slot, as: UInt64.self)
    base.storeBytes(of: count, toByteOffset: 16 * slot + 8, as: UInt32.self)
    base.storeBytes(of: flags, toByteOffset: 16 * slot + 12, as: UInt16.self)
    base.storeBytes(of: UInt16(slot + 1), toByteOffset: 16 * slot + 14, as: UInt16.self)
  }

  /// Makes the request of a slot available again, for another sector; `publish` shows it.
  func submit(_ slot: Int, sector: UInt64) {
    headers.storeBytes(of: sector, toByteOffset: 32 * slot + 8, as: UInt64.self)
    headers.storeBytes(of: 0xff, toByteOffset: 32 * slot + 16, as: UInt8.self)
    let place = layout.available + 4 + 2 * (Int(nextAvailable) & (layout.size - 1))
    CLinux_store16(base + place, UInt16(3 * slot))
    nextAvailable &+= 1
  }

  /// Shows the device what was submitted, and kicks it if it wants that.
  func publish() {
    guard nextAvailable != kicked else { return }
    CLinux_store16_release(base + layout.available + 2, nextAvailable)
    CLinux_fence()
    let old = kicked
    kicked = nextAvailable
    let wanted: Bool
    if usesEventIndex {
      let event = CLinux_load16(base + layout.used + 4 + 8 * layout.size)
      wanted = (nextAvailable &- event) &- 1 < nextAvailable &- old
    } else {
      wanted = CLinux_load16(base + layout.used) & 1 == 0
    }
    guard wanted else { return }
    kickCount += 1
    var one: UInt64 = 1
    _ = write(kick.rawValue, &one, 8)
  }

  /// The slot of the next completed request; nil if there is none now.
  func take() throws(LoadError) -> Int? {
    guard CLinux_load16_acquire(base + layout.used + 2) != nextUsed else { return nil }
    let entry = base + layout.used + 4 + 8 * (Int(nextUsed) & (layout.size - 1))
    let slot = Int(CLinux_load32(entry)) / 3
    nextUsed &+= 1
    guard slot < depth else {
      throw .protocolViolation("the back-end used head \(slot * 3), which we never gave")
    }
    let status = headers.load(fromByteOffset: 32 * slot + 16, as: UInt8.self)
    guard status == 0 else {
      throw .status(status, sector: headers.load(fromByteOffset: 32 * slot + 8, as: UInt64.self))
    }
    return slot
  }

  /// Looks until something is completed, as a driver that polls does (SPDK; `poll_queues` of virtio_blk).
  ///
  /// It asks for no calls: the index that it wants to be called at stays behind, and is met once a lap.
  func spin() throws(LoadError) {
    var turns = 0
    while CLinux_load16_acquire(base + layout.used + 2) == nextUsed {
      turns += 1
      if turns & 0xffff == 0, client.isLeft {
        throw .protocolViolation("the back-end closed the connection")
      }
      CLinux_relax()
    }
  }

  /// Waits until something is completed, as a driver does: asks for a call, looks again, sleeps.
  func wait() throws(LoadError) {
    CLinux_store16(base + layout.available + 4 + 2 * layout.size, nextUsed)
    CLinux_fence()
    guard CLinux_load16_acquire(base + layout.used + 2) == nextUsed else { return }
    waitCount += 1
    var count: UInt64 = 0
    // The back-end has a hand in whether the counter blocks.
    var query = pollfd(fd: call.rawValue, events: CShort(POLLIN), revents: 0)
    while read(call.rawValue, &count, 8) < 0 {
      guard errno == EAGAIN || errno == EINTR else { throw .linux(LinuxError("read", "call")) }
      poll(&query, 1, -1)
    }
  }
}
