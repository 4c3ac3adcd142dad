// What a whole disk is made of, piece by piece.
package import BlockIO

/// A piece of a disk: a range, and where its bytes are.
package struct Extent: Equatable, Sendable {
  /// On the disk, in bytes.
  package var range: Range<UInt64>
  /// Where the bytes are; a hole in a file is `.zeroes` with the file's depth, and `hole` says where.
  package var segment: Segment
  /// The place of a hole in its file.
  package var hole: UInt64?

  /// Whether it reads as zeros, and nothing has to be read to know that.
  package var isZero: Bool { segment.source == .zeroes }
}

/// Walks over a disk and tells what it is made of, holes in files included.
///
/// It asks for plans of as much as is worth it: little where the disk is in small pieces, so that memory
/// stays small, and much where nothing is there, so that an empty disk of many tebibytes takes no time.
package struct ExtentCursor {
  private let image: any DiskImage
  private let end: UInt64
  /// Where the pieces that are not planned yet begin.
  private var planned: UInt64
  private var position: UInt64
  private var step = Limits.planStepStart
  private var segments: [Segment] = []
  private var index = 0
  /// The last run of data that was found in each file.
  private var data: [Range<UInt64>?]
  /// Shorter pieces are not searched for holes.
  private let holeSearchMin: UInt64

  /// A cursor at the start of a range; nil stands for the whole disk.
  /// - Parameter holeSearchMin: how long a piece of a file must be to be searched for holes.
  package init(_ image: any DiskImage, range: Range<UInt64>? = nil, holeSearchMin: UInt64 = 0) {
    self.image = image
    let range = range ?? 0..<image.size
    end = range.upperBound
    planned = range.lowerBound
    position = range.lowerBound
    data = Array(repeating: nil, count: image.files.count)
    self.holeSearchMin = holeSearchMin
  }

  /// The next piece; nil at the end.
  package mutating func next() throws(DiskImageError) -> Extent? {
    while index == segments.count {
      guard planned < end else { return nil }
      try plan()
    }
    var segment = segments[index]
    var hole: UInt64?
    if case .file(let file) = segment.source, segment.count >= holeSearchMin {
      hole = cutAtHole(&segment, in: Int(file))
    }
    if segment.count == segments[index].count {
      index += 1
    } else {
      segments[index].offset += segment.count
      segments[index].count -= segment.count
    }
    let start = position
    position += segment.count
    return Extent(range: start..<position, segment: segment, hole: hole)
  }

  private mutating func plan() throws(DiskImageError) {
    segments.removeAll(keepingCapacity: true)
    index = 0
    let stop = min(end, planned + min(step, end - planned))
    try image.plan(planned..<stop, into: &segments)
    planned = stop
    if segments.count <= Limits.planSegmentsFew { step = min(step * 4, Limits.planStepMax) }
    if segments.count >= Limits.planSegmentsMany { step = max(step / 4, Limits.planStepMin) }
  }

  /// Shortens a piece of a file to the data or the hole that it begins with; returns the place of the hole.
  private mutating func cutAtHole(_ segment: inout Segment, in index: Int) -> UInt64? {
    let file = image.files[index]
    guard !file.isBlockDevice else { return nil }
    let offset = segment.offset
    if !(data[index]?.contains(offset) ?? false) { data[index] = file.nextData(from: offset) }
    guard let found = data[index] else {
      segment.source = .zeroes
      return offset
    }
    if found.lowerBound > offset {
      segment.count = min(segment.count, found.lowerBound - offset)
      segment.source = .zeroes
      return offset
    }
    segment.count = min(segment.count, found.upperBound - offset)
    return nil
  }
}
