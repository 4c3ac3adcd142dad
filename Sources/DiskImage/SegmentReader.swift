// From a plan to bytes.
import BlockIO
import Glibc

/// Reads what a plan says; keeps its scratch memory, so that a request allocates nothing.
struct SegmentReader: ~Copyable {
  private var segments: [Segment] = []
  private var slices = IOVectorList()
  private var decompressed = DecompressedCluster()

  init() { segments.reserveCapacity(16) }

  /// Fills the parts, which are as long as the range, from the image's own plan.
  mutating func read(
    _ range: Range<UInt64>, of image: some DiskImage, into parts: UnsafeBufferPointer<iovec>,
    engine: any BlockEngine
  ) throws(DiskImageError) {
    segments.removeAll(keepingCapacity: true)
    try image.plan(range, into: &segments)
    guard !segments.contains(where: \.isCompressed) else {
      return try readDecompressing(image.files, into: parts, engine: engine)
    }
    do throws(BlockIOError) {
      try engine.read(segments, of: image.files, into: parts, slices: &slices)
    } catch { throw .file(error) }
  }

  /// What is stored somewhere has changed: the next read looks again.
  mutating func forgetDecompressed() { decompressed.forget() }

  private mutating func readDecompressing(
    _ files: [ImageFile], into parts: UnsafeBufferPointer<iovec>, engine: any BlockEngine
  ) throws(DiskImageError) {
    var cursor = IOVectorCursor()
    for segment in segments {
      slices.removeAll()
      slices.append(segment.count, of: parts, from: &cursor)
      switch segment.source {
      case .zeroes: slices.parts.fillWithZeros()
      case .file(let index):
        do throws(BlockIOError) {
          try engine.read(files[Int(index)], at: segment.offset, into: slices.parts)
        } catch { throw .file(error) }
      case .compressed(let cluster):
        let file = files[Int(cluster.file)]
        try decompressed.load(cluster, at: segment.offset, of: file, engine: engine)
        decompressed.copy(from: Int(cluster.skip), count: segment.count, to: slices.parts)
      }
    }
  }
}

extension Segment {
  fileprivate var isCompressed: Bool {
    if case .compressed = source { true } else { false }
  }
}
