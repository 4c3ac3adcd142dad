// What those need to know who move the bytes of a disk themselves.
package import BlockIO

/// How the bytes of a write get where they belong.
package enum WriteRoute: Equatable, Sendable {
  /// The room around a first write: blocks of this many bytes, aligned.
  package static let roomBytes: UInt64 = 256 << 10

  /// To the segments of the plan, all of them in the image's own files; nothing is left to do afterwards.
  case inPlace
  /// To the one segment of the plan, in pages that are not all here yet.
  ///
  /// What the write leaves of the first and of the last page, `head` and `tail`, must be written along with
  /// it, as the disk has it now; then `finishWrite` makes the pages count. Until then nobody else writes to
  /// these pages.
  /// `room` is what may be filled with zeros around the pages by the same write, as long as nobody else
  /// writes there; nil: nothing.
  case firstTouch(
    pages: Range<UInt64>, head: Range<UInt64>?, tail: Range<UInt64>?, room: Range<UInt64>?)
  /// Through the image's own `write`, which blocks.
  ///
  /// - `exclusive`: no request that was planned before may be under way (`changesNeedQuiet`).
  case blocking(exclusive: Bool)
}

/// What a flush has to do: synchronise the file; if there is metadata to be written, write it, and
/// synchronise the file again.
package struct FlushPlan {
  /// A piece of metadata, as it was when the flush began.
  package struct Piece {
    /// Where in the file.
    package let offset: UInt64
    /// SAFETY: valid until `endFlush`.
    package let bytes: UnsafeRawBufferPointer
  }

  /// Nil when all is done already.
  package let file: ImageFile?
  /// In the order of the file.
  package let pieces: [Piece]
}

/// How a flush ended.
package enum FlushResult: Sendable {
  case done
  /// The metadata that was to be written still is.
  case writeFailed
  /// The kernel may have dropped what it could not write: no later flush succeeds.
  case synchronizeFailed
}
