// The configuration space and the features of virtio-blk.

/// Feature bits of the block device (virtio 1.2 §5.2.3).
package enum VirtioBlockFeature {
  static let segmentCountMax: UInt64 = 1 << 2
  static let readOnly: UInt64 = 1 << 5
  static let blockSize: UInt64 = 1 << 6
  static let flush: UInt64 = 1 << 9
  static let topology: UInt64 = 1 << 10
  static let configurableCache: UInt64 = 1 << 11
  static let multipleQueues: UInt64 = 1 << 12
  static let discard: UInt64 = 1 << 13
  static let writeZeroes: UInt64 = 1 << 14
}

/// The numbers that bound this module.
package enum Limits {
  /// Bytes of a sector, the unit of virtio-blk whatever the block size.
  package static let sectorBytes: UInt64 = 512
  /// Data segments of one request: the largest queue of UML less header and status.
  package static let segmentsMax: UInt32 = 254
  /// The same where drivers have rings of 128 descriptors, as QEMU makes them.
  package static let segmentsMaxInRealTime: UInt32 = 126
  /// Sectors of one range of DISCARD or WRITE_ZEROES: 2 GiB.
  package static let rangeSectorsMax: UInt32 = 1 << 22
  /// Ranges of one DISCARD or WRITE_ZEROES.
  package static let rangesMax = 32
  /// What GET_ID returns.
  package static let identityBytes = 20
  /// Where the driver says whether the write cache is on: the one byte of the space that it may write.
  static let cacheOffset = 32
}

/// The configuration space as the driver reads it (virtio 1.2 §5.2.4), little-endian, up to the discard and
/// write zeroes limits; what is not listed is zero.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | capacity in sectors |
/// | 12 | 4 | seg_max |
/// | 20 | 4 | blk_size = 512 |
/// | 24 | 1 | physical_block_exp = 3: 4 KiB, the page of a COW |
/// | 26 | 2 | min_io_size in blocks |
/// | 32 | 1 | writeback |
/// | 34 | 2 | num_queues |
/// | 36 | 4 | max_discard_sectors |
/// | 40 | 4 | max_discard_seg |
/// | 44 | 4 | discard_sector_alignment |
/// | 48 | 4 | max_write_zeroes_sectors |
/// | 52 | 4 | max_write_zeroes_seg |
/// | 56 | 1 | write_zeroes_may_unmap |
struct VirtioBlockConfiguration {
  /// Length in bytes.
  var size: UInt64
  var queueCount: UInt16 = 1
  var segmentsMax = Limits.segmentsMax
  /// Whether writes may stay volatile until a FLUSH.
  var isCached = false
  /// Whether discarding and zeroing give space back.
  var unmaps = true

  var bytes: [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 60)
    func put<Value: FixedWidthInteger>(_ value: Value, at offset: Int) {
      withUnsafeBytes(of: value.littleEndian) {
        for (index, byte) in $0.enumerated() { bytes[offset + index] = byte }
      }
    }
    put(size / Limits.sectorBytes, at: 0)
    put(segmentsMax, at: 12)
    put(UInt32(Limits.sectorBytes), at: 20)
    put(UInt8(3), at: 24)
    put(UInt16(8), at: 26)
    put(UInt8(isCached ? 1 : 0), at: Limits.cacheOffset)
    put(queueCount, at: 34)
    if unmaps {
      put(Limits.rangeSectorsMax, at: 36)
      put(UInt32(Limits.rangesMax), at: 40)
      put(UInt32(8), at: 44)
    }
    put(Limits.rangeSectorsMax, at: 48)
    put(UInt32(Limits.rangesMax), at: 52)
    put(UInt8(unmaps ? 1 : 0), at: 56)
    return bytes
  }
}
