// The request header of virtio-blk.
import VhostUser

/// What the first 16 readable bytes of a chain say (virtio 1.2 §5.2.6), little-endian.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | type |
/// | 4 | 4 | reserved |
/// | 8 | 8 | sector, in units of 512 bytes |
struct VirtioBlockHeader {
  static let byteCount = 16

  enum Kind: UInt32 {
    case read = 0
    case write = 1
    case flush = 4
    case identify = 8
    case discard = 11
    case writeZeroes = 13
  }

  /// nil for a type that we do not know.
  let kind: Kind?
  let sector: UInt64

  /// nil when the chain has no whole header.
  init?(_ chain: Chain) {
    var words: (UInt32, UInt32, UInt64) = (0, 0, 0)
    let count = withUnsafeMutableBytes(of: &words) { chain.copyReadable(from: 0, to: $0) }
    guard count == Self.byteCount else { return nil }
    kind = Kind(rawValue: UInt32(littleEndian: words.0))
    sector = UInt64(littleEndian: words.2)
  }
}

/// The data of DISCARD and WRITE_ZEROES: one segment, as the limits in the configuration space say.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | sector |
/// | 8 | 4 | number of sectors |
/// | 12 | 4 | flags; bit 0: unmap |
struct VirtioBlockSegment {
  static let byteCount = 16
  let sector: UInt64
  let sectors: UInt32
  let flags: UInt32

  /// - Parameter chain: its header has been removed.
  init?(_ chain: Chain) {
    guard chain.readableCount == Self.byteCount else { return nil }
    var words: (UInt64, UInt32, UInt32) = (0, 0, 0)
    let count = withUnsafeMutableBytes(of: &words) { chain.copyReadable(from: 0, to: $0) }
    guard count == Self.byteCount else { return nil }
    sector = UInt64(littleEndian: words.0)
    sectors = UInt32(littleEndian: words.1)
    flags = UInt32(littleEndian: words.2)
  }
}
