// Who moves the bytes.
package import Glibc

/// Moves bytes between memory and files, and blocks until they are moved.
///
/// An engine has one owner: the thread that calls it; it holds no lock. Engines on several threads may work
/// on one `ImageFile`. This is the blocking mode, and the one of everything simulated; `QueuedEngine` is the
/// other.
///
/// Rules, for every engine:
/// - An operation is done completely, or throws; after a throw any part of it may have happened.
/// - The memory that the parts name stays valid and untouched by others until the call returns; the list of
///   parts is the caller's, and is not changed.
/// - Reading beyond the end of a file gives zeros. Writing beyond it makes the file longer.
/// - Nothing is durable before `synchronize` returns.
package protocol BlockEngine: AnyObject {
  /// Fills the parts, in order, from consecutive bytes of the file.
  func read(_ file: ImageFile, at offset: UInt64, into parts: UnsafeBufferPointer<iovec>) throws(BlockIOError)
  /// Writes the parts, in order, to consecutive bytes of the file.
  func write(_ file: ImageFile, at offset: UInt64, from parts: UnsafeBufferPointer<iovec>)
    throws(BlockIOError)
  /// Makes everything written before durable (`fdatasync(2)`).
  ///
  /// After a failure the kernel may have dropped what it could not write: a later success proves nothing.
  func synchronize(_ file: ImageFile) throws(BlockIOError)
  /// Makes a range read as zeros; the file becomes no longer.
  /// - Parameter unmap: give its space back; otherwise keep space for it, if the file system can.
  func zero(_ file: ImageFile, _ range: Range<UInt64>, unmap: Bool) throws(BlockIOError)
  /// Another engine of its kind for another thread; nil if the operations of both would get into each other's
  /// way, as with the doubles, which keep a record of all.
  func makeSibling() -> (any BlockEngine)?
}

extension BlockEngine {
  package func makeSibling() -> (any BlockEngine)? { nil }
}

/// A cluster that is stored compressed, and where in it a segment begins.
package struct CompressedCluster: Equatable, Sendable {
  /// How the bytes were compressed.
  package enum Method: UInt8, Sendable {
    /// Without a header (RFC 1951).
    case deflate = 0
    case zstd = 1
  }

  /// The number of the file in the image's list.
  package var file: UInt8
  /// How the bytes were compressed.
  package var method: Method
  /// How many bytes are stored at most; what is behind the compressed ones has no meaning.
  package var storedCount: UInt32
  /// How many bytes come out.
  package var count: UInt32
  /// How many of those are before the segment.
  package var skip: UInt32

  /// A cluster with these fields.
  package init(file: UInt8, method: Method, storedCount: UInt32, count: UInt32, skip: UInt32) {
    self.file = file
    self.method = method
    self.storedCount = storedCount
    self.count = count
    self.skip = skip
  }
}

/// A piece of a request: consecutive bytes of one file, zeros, or a part of a compressed cluster.
package struct Segment: Equatable, Sendable {
  /// Where the bytes are: in the n-th of the image's files, or nowhere.
  package enum Source: Equatable, Sendable {
    case file(UInt8)
    case zeroes
    case compressed(CompressedCluster)
  }

  /// Where the bytes are.
  package var source: Source
  /// In the file: where the bytes are, or where the compressed ones begin; of no meaning for zeros.
  package var offset: UInt64
  /// How many bytes.
  package var count: UInt64
  /// How far down the chain of backing images they were found; 0 is the image that was asked.
  package var depth: UInt8
  /// Whether an image says so. Zeros that none says anything of are there for want of anything else.
  package var isAllocated: Bool

  /// A segment with these fields.
  package init(_ source: Source, offset: UInt64, count: UInt64, depth: UInt8 = 0, isAllocated: Bool = true) {
    self.source = source
    self.offset = offset
    self.count = count
    self.depth = depth
    self.isAllocated = isAllocated
  }
}

extension BlockEngine {
  /// Fills the parts from segments that together are as long as the parts; none of them is compressed.
  /// - Parameter slices: scratch memory, reused from call to call.
  package func read(
    _ segments: [Segment], of files: [ImageFile], into parts: UnsafeBufferPointer<iovec>,
    slices: inout IOVectorList
  ) throws(BlockIOError) {
    if segments.count == 1, case .file(let index) = segments[0].source {
      return try read(files[Int(index)], at: segments[0].offset, into: parts)
    }
    var cursor = IOVectorCursor()
    for segment in segments {
      slices.removeAll()
      slices.append(segment.count, of: parts, from: &cursor)
      switch segment.source {
      case .file(let index): try read(files[Int(index)], at: segment.offset, into: slices.parts)
      case .zeroes: slices.parts.fillWithZeros()
      case .compressed: preconditionFailure("an engine was asked to decompress")
      }
    }
  }
}
