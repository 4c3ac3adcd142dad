// What a disk is made of, as people want to see it.
import BlockIO

/// The runs of a disk, each of one kind and in one place.
package enum ImageMap {
  /// A run, in the terms of `qemu-img map`.
  package struct Run: Equatable, Sendable {
    /// On the disk, in bytes.
    package var range: Range<UInt64>
    /// How many backing images down it is.
    package let depth: Int
    /// Whether an image has it; otherwise it is zeros for want of anything else.
    package let isPresent: Bool
    /// Whether it reads as zeros, as far as can be told without reading.
    package let isZero: Bool
    /// Whether it is stored.
    package let isData: Bool
    /// Where in its file it is; nil for what has no one place.
    package let offset: UInt64?
    /// The file that it is in.
    package let file: String?

    fileprivate func isContinued(by next: Run) -> Bool {
      let isAdjacent =
        offset.map { $0 + (range.upperBound - range.lowerBound) } == next.offset
        || offset == nil && next.offset == nil
      return range.upperBound == next.range.lowerBound && depth == next.depth && isPresent == next.isPresent
        && isZero == next.isZero && isData == next.isData && isAdjacent
    }
  }

  /// Calls `body` with each run, from the start of the disk to its end; neighbours that are alike are one.
  package static func forEachRun(
    of image: any DiskImage, _ body: (Run) throws(DiskImageError) -> Void
  ) throws(DiskImageError) {
    var cursor = ExtentCursor(image)
    var pending: Run?
    while let extent = try cursor.next() {
      let run = run(extent, of: image)
      if let before = pending, before.isContinued(by: run) {
        pending?.range = before.range.lowerBound..<run.range.upperBound
      } else {
        if let pending { try body(pending) }
        pending = run
      }
    }
    if let pending { try body(pending) }
  }

  private static func run(_ extent: Extent, of image: any DiskImage) -> Run {
    let segment = extent.segment
    var offset: UInt64?
    var file: String?
    if case .file(let index) = segment.source {
      offset = segment.offset
      file = image.files[Int(index)].path
    } else {
      offset = extent.hole
    }
    return Run(
      range: extent.range, depth: Int(segment.depth), isPresent: segment.isAllocated, isZero: extent.isZero,
      isData: !extent.isZero, offset: offset, file: file)
  }
}
