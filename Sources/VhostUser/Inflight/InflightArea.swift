// Memory that outlives us: what was under way when we were killed.
import CLinux
import Glibc
package import Linux

/// The memory of GET_INFLIGHT_FD and SET_INFLIGHT_FD (QEMU vhost-user.rst, "Inflight I/O tracking"): one
/// region for each queue, in a file that we make, the front-end keeps, and gives to whoever comes after us.
///
/// Rule: a region is read when its ring starts, and then only written: what is in it may be changed by the
/// front-end at any time, so that the rings remember for themselves. The stores are in program order, which
/// is all that it takes: the order of stores matters to nobody but a successor of a process that has died.
package final class InflightArea {
  private let mapping: GuardedMapping
  private let offset: Int
  private let stride: Int
  /// Queues that have a region.
  package let queueCount: Int
  /// Descriptors that a region has room for.
  package let queueSize: UInt16

  /// Maps the memory that a front-end gives to us.
  package init(_ layout: InflightLayout, descriptor: CInt) throws(VhostUserError) {
    guard layout.queueCount > 0, layout.queueSize > 0, layout.queueSize <= Limits.queueSize else {
      throw .inflight("\(layout.queueCount) queues of \(layout.queueSize)")
    }
    let (end, wraps) = layout.offset.addingReportingOverflow(layout.size)
    guard !wraps, end <= Limits.inflightBytes, layout.offset % 8 == 0 else {
      throw .inflight("\(layout.size) bytes at \(layout.offset)")
    }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw .system(LinuxError("fstat", "inflight area")) }
    guard Int64(status.st_size) >= Int64(end) else {
      throw .inflight("ends at byte \(end) of a file of \(status.st_size)")
    }
    queueCount = Int(layout.queueCount)
    queueSize = layout.queueSize
    offset = Int(layout.offset)
    stride = Int(layout.size) / queueCount
    guard stride % 8 == 0, stride >= InflightArea.regionBytes(.split, queueSize) else {
      throw .inflight("\(layout.size) bytes for \(queueCount) queues of \(queueSize)")
    }
    mapping = try GuardedMapping(sharing: descriptor, count: Int(end))
  }

  /// Makes the memory for so many queues of this size, zeroed, with room for either layout.
  package static func make(
    queueCount: UInt16, queueSize: UInt16
  ) throws(VhostUserError) -> InflightMemory {
    guard queueCount > 0, queueCount <= Limits.queues, queueSize > 0, queueSize <= Limits.queueSize else {
      throw .inflight("\(queueCount) queues of \(queueSize)")
    }
    // Aligned as libvhost-user does it, so that queues share no cache line.
    let stride = (max(regionBytes(.split, queueSize), regionBytes(.packed, queueSize)) + 63) & ~63
    let size = stride * Int(queueCount)
    do throws(LinuxError) {
      let file = try makeSealedMemory(named: "ttblk-inflight", count: size)
      let layout = InflightLayout(
        size: UInt64(size), offset: 0, queueCount: queueCount, queueSize: queueSize)
      return InflightMemory(layout: layout, file: file)
    } catch { throw .system(error) }
  }

  enum Layout { case split, packed }

  static func regionBytes(_ layout: Layout, _ size: UInt16) -> Int {
    switch layout {
    case .split: SplitRecord.headerBytes + SplitRecord.entryBytes * Int(size)
    case .packed: PackedRecord.headerBytes + PackedRecord.entryBytes * Int(size)
    }
  }

  /// The region of a ring; nil if the area has none for this queue.
  /// - Throws: when the region is too small for it.
  func region(ofQueue index: Int, _ layout: Layout, size: UInt16) throws(VhostUserError) -> InflightRegion? {
    guard index < queueCount else { return nil }
    guard size <= queueSize, InflightArea.regionBytes(layout, size) <= stride else {
      throw .inflight("no room for a ring of \(size)")
    }
    return InflightRegion(area: self, base: mapping.base + (offset + stride * index))
  }
}

/// A new area, to be given to a front-end.
package struct InflightMemory: ~Copyable {
  package let layout: InflightLayout
  package let file: Descriptor
}

/// One queue's part of the area. SAFETY: `base` is 8-aligned, and valid for the layout and size that were
/// asked for as long as `area` lives.
struct InflightRegion {
  let area: InflightArea
  let base: UnsafeMutableRawPointer
}
