// How much space a copy will take.
import BlockIO

/// How long a file would be that holds a disk in some format.
package enum Measure {
  /// Lengths in bytes.
  package struct Outcome: Equatable, Sendable {
    /// With what the disk has now, zeros left out.
    package let required: UInt64
    /// When every part of the disk has been written to.
    package let fullyAllocated: UInt64
  }

  /// A copy of an image; known zeros and holes count for nothing, others as data.
  package static func image(
    _ image: any DiskImage, as format: ImageFormat, clusterBits: UInt32 = 16, refcountOrder: UInt32 = 4
  ) throws(DiskImageError) -> Outcome {
    let unit: UInt64 =
      switch format {
      case .raw: 1
      case .umlCOW: Limits.pageSize
      case .qcow2: 1 << UInt64(clusterBits)
      }
    let empty = try disk(
      image.exactSize, path: image.path, as: format, clusterBits: clusterBits, refcountOrder: refcountOrder)
    let (data, bound) = (try dataBytes(of: image, unit: unit), image.exactSize)
    // A raw file is as long as its disk, whatever it occupies.
    guard format != .raw else { return empty }
    let metadata = empty.fullyAllocated - (bound.roundedUp(to: unit) ?? bound)
    return Outcome(required: metadata + data, fullyAllocated: empty.fullyAllocated)
  }

  /// An empty disk of some length.
  package static func disk(
    _ size: UInt64, path: String = "", as format: ImageFormat, clusterBits: UInt32 = 16,
    refcountOrder: UInt32 = 4
  ) throws(DiskImageError) -> Outcome {
    switch format {
    case .raw: return Outcome(required: size, fullyAllocated: size)
    case .umlCOW:
      let header = UMLCOW.Header(backingPath: [47], backingModified: 0, backingSize: size)
      guard let geometry = try? header.geometry(), let data = size.roundedUp(to: Limits.pageSize) else {
        throw .backingTooLarge(backing: path, size: size)
      }
      return Outcome(required: geometry.dataOffset, fullyAllocated: geometry.dataOffset + data)
    case .qcow2:
      let metadata = try qcow2Metadata(
        size, path: path, clusterBits: clusterBits, refcountOrder: refcountOrder)
      let data = size.roundedUp(to: 1 << UInt64(clusterBits)) ?? size
      return Outcome(required: metadata, fullyAllocated: metadata + data)
    }
  }

  /// Header, L1 and L2 tables, and counts of all of them and of the data.
  private static func qcow2Metadata(
    _ size: UInt64, path: String, clusterBits: UInt32, refcountOrder: UInt32
  ) throws(DiskImageError) -> UInt64 {
    let cluster: UInt64 = 1 << UInt64(clusterBits)
    guard size <= UInt64(Int64.max) - 2 * cluster else { throw .qcow2(path: path, .size(size)) }
    func clusters(_ bytes: UInt64) -> UInt64 { (bytes + cluster - 1) / cluster }
    let data = clusters(size)
    let l2 = clusters(data * 8)
    let l1 = clusters(l2 * 8)
    let counted = 1 + l1 + l2 + data
    let perBlock = (cluster * 8) >> UInt64(refcountOrder)
    var (blocks, table): (UInt64, UInt64) = (0, 0)
    // Counts count themselves, too: until nothing more is needed.
    while true {
      let newBlocks = (counted + blocks + table + perBlock - 1) / perBlock
      let newTable = clusters(newBlocks * 8)
      if newBlocks == blocks, newTable == table { break }
      (blocks, table) = (newBlocks, newTable)
    }
    return (1 + l1 + l2 + blocks + table) * cluster
  }

  /// Bytes in units of which any byte is stored.
  private static func dataBytes(of image: any DiskImage, unit: UInt64) throws(DiskImageError) -> UInt64 {
    var count: UInt64 = 0
    var counted: UInt64 = 0
    var cursor = ExtentCursor(image)
    while let extent = try cursor.next() {
      guard !extent.isZero else { continue }
      let start = max(counted, extent.range.lowerBound / unit * unit)
      let end = min(extent.range.upperBound, image.exactSize).roundedUp(to: unit) ?? extent.range.upperBound
      if start < end { count += end - start }
      counted = max(counted, end)
    }
    return count
  }
}
