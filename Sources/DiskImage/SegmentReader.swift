// From a plan to bytes.
import BlockIO
import Glibc

/// Reads what a plan says; keeps its scratch memory, so that a request allocates nothing.
struct SegmentReader: ~Copyable {
  private var segments: [Segment] = []
  private var slices = IOVectorList()

  init() { segments.reserveCapacity(16) }

  /// Fills the parts, which are as long as the range, from the image's own plan.
  mutating func read(
    _ range: Range<UInt64>, of image: some DiskImage, into parts: UnsafeBufferPointer<iovec>,
    engine: any BlockEngine
  ) throws(DiskImageError) {
    segments.removeAll(keepingCapacity: true)
    try image.plan(range, into: &segments)
    do throws(BlockIOError) {
      try engine.read(segments, of: image.files, into: parts, slices: &slices)
    } catch { throw .file(error) }
  }
}
