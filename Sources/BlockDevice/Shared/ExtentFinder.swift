// What is where on a disk in use.
import BlockIO
package import DiskImage
import Glibc
import Linux

/// A stretch of a disk, as a front-end tells its client.
package struct DiskExtent: Equatable, Sendable {
  /// In bytes.
  package var count: UInt64
  /// Whether it reads as zeros, as far as that is known without reading.
  package var isZero: Bool
  /// Whether nothing is allocated for it.
  package var isHole: Bool

  package init(count: UInt64, isZero: Bool, isHole: Bool) {
    self.count = count
    self.isZero = isZero
    self.isHole = isHole
  }
}

/// Tells what a range of a disk is made of while others change it; what it says was true at a moment during
/// the call. One owner: it keeps scratch memory.
package struct ExtentFinder {
  private let device: SharedDevice
  private var segments: [Segment] = []
  /// The last run of data that was found in a file.
  private var data: (file: UInt8, range: Range<UInt64>)?
  /// How many pieces may still be looked at.
  private var patience = 0

  package init(_ device: SharedDevice) { self.device = device }

  /// Appends what a range is made of: from its beginning, and maybe not to its end, where that would be more
  /// stretches than `limit`, or too much work. Neighbours differ.
  ///
  /// The range is not empty and lies within the disk; at least one stretch is appended.
  /// - Parameter missesNewHoles: takes for data what was data at an earlier call. Who reads a file from its
  ///   beginning to its end asks the kernel once for each run of data then, and not each time: tmpfs looks at
  ///   every page up to the next hole.
  package mutating func find(
    _ range: Range<UInt64>, limit: Int, missesNewHoles: Bool = false, into extents: inout [DiskExtent]
  ) throws(DiskImageError) {
    let first = extents.count
    patience = Limits.extentPiecesMax
    if !missesNewHoles { data = nil }
    if let file = device.plainFile {
      let whole = Segment(.file(0), offset: range.lowerBound, count: range.upperBound - range.lowerBound)
      _ = append(whole, of: file, number: 0, from: first, limit: limit, &extents)
      return
    }
    var position = range.lowerBound
    var step = Limits.extentStepMin
    while position < range.upperBound, patience > 0 {
      let end = min(range.upperBound, position + min(step, range.upperBound - position))
      segments.removeAll(keepingCapacity: true)
      try device.lock { () throws(DiskImageError) in try device.image.plan(position..<end, into: &segments) }
      for segment in segments {
        guard append(segment, from: first, limit: limit, &extents) else { return }
      }
      if segments.count <= Limits.extentSegmentsFew { step = min(step * 4, Limits.extentStepMax) }
      position = end
    }
  }

  /// Asks the kernel to read a range ahead (`posix_fadvise(2)`); nothing is waited for, nothing promised.
  package mutating func prefetch(_ range: Range<UInt64>) {
    guard !range.isEmpty else { return }
    if let file = device.plainFile {
      let count = off_t(range.upperBound - range.lowerBound)
      posix_fadvise(file.descriptor.rawValue, off_t(range.lowerBound), count, POSIX_FADV_WILLNEED)
      return
    }
    let end = range.lowerBound + min(Limits.extentStepMin, range.upperBound - range.lowerBound)
    segments.removeAll(keepingCapacity: true)
    // A hint: whoever reads the range hears of the failure.
    try? device.lock { () throws(DiskImageError) in
      try device.image.plan(range.lowerBound..<end, into: &segments)
    }
    for segment in segments.prefix(Limits.extentPiecesMax) {
      guard case .file(let index) = segment.source else { continue }
      posix_fadvise(
        device.files[Int(index)].descriptor.rawValue, off_t(segment.offset), off_t(segment.count),
        POSIX_FADV_WILLNEED)
    }
  }

  /// Returns whether there is room and patience for more.
  private mutating func append(
    _ segment: Segment, from first: Int, limit: Int, _ extents: inout [DiskExtent]
  ) -> Bool {
    if case .file(let index) = segment.source, segment.count >= Limits.holeSearchMin {
      let file = device.files[Int(index)]
      return append(segment, of: file, number: index, from: first, limit: limit, &extents)
    }
    patience -= 1
    let isZero = segment.source == .zeroes
    let extent = DiskExtent(count: segment.count, isZero: isZero, isHole: isZero && !segment.isAllocated)
    return add(extent, from: first, limit: limit, &extents) && patience > 0
  }

  /// A piece of a file, whose holes are looked for.
  private mutating func append(
    _ segment: Segment, of file: ImageFile, number: UInt8, from first: Int, limit: Int,
    _ extents: inout [DiskExtent]
  ) -> Bool {
    var position = segment.offset
    let end = segment.offset + segment.count
    while position < end {
      patience -= 1
      var next = end
      var isHole = false
      // The file may have become longer since it was opened; there, nobody looks.
      if position < file.size {
        let known = data.map { $0.file == number && $0.range.contains(position) } ?? false
        if !known { data = file.nextData(from: position).map { (number, $0) } }
        if let found = data?.range {
          isHole = position < found.lowerBound
          next = min(end, isHole ? found.lowerBound : found.upperBound)
        } else {
          isHole = true
          next = min(end, file.size)
        }
      }
      let extent = DiskExtent(count: next - position, isZero: isHole, isHole: isHole)
      guard add(extent, from: first, limit: limit, &extents) else { return false }
      position = next
      guard patience > 0 else { return false }
    }
    return true
  }

  /// Returns whether there was room.
  private func add(_ extent: DiskExtent, from first: Int, limit: Int, _ extents: inout [DiskExtent]) -> Bool {
    let last = extents.count - 1
    if last >= first, extents[last].isZero == extent.isZero, extents[last].isHole == extent.isHole {
      extents[last].count += extent.count
      return true
    }
    guard extents.count - first < limit else { return false }
    extents.append(extent)
    return true
  }
}

extension SharedDevice {
  /// Whether zeros need not be written, as far as the host has shown.
  /// - Parameter keepingSpace: whether space is kept for them.
  package func zeroesFast(keepingSpace: Bool) -> Bool {
    guard let file = files.first else { return false }
    return keepingSpace ? !file.refusesToZero : !file.refusesToUnmap
  }
}

extension Limits {
  /// How many pieces one question about a range looks at.
  static let extentPiecesMax = 16384
  /// How much of a disk is planned at a time, at first and at most, and which numbers of pieces make it more.
  static let extentStepMin: UInt64 = 16 << 20
  static let extentStepMax: UInt64 = 256 << 20
  static let extentSegmentsFew = 64
  /// Shorter pieces of a file are taken for data.
  static let holeSearchMin: UInt64 = 65536
}
