// The copy-on-write files of User-Mode Linux.

/// UML's COW format: a header that names a backing file, a bitmap with a bit for each sector, and the
/// sectors.
///
/// ```
/// [header][pad][bitmap][pad][data: one slot for each sector, at data offset + virtual offset]
///
///                 v1        v2        v3                       broken v3
/// byte order      writer's  big       big                      big
/// magic      u32  @0        @0        @0      "OOOM" (0x4f4f4f4d)
/// version    u32  @4        @4        @4
/// backing         @8 [256]  @8 [4096] @32 [4096]               @36 [4096]   NUL-terminated
/// mtime      u32  @264      @4104     @8                       @8           of the backing file, seconds
/// size       u64  @268      @4108     @12                      @16          of the backing file, bytes
/// sectorsize u32  @276      @4116     @20                      @24
/// alignment  u32  -         -         @24                      @28
/// cow_format u32  -         -         @28     0                @32
/// header          280       4120      4128                     4136
/// bitmap at       280       4120      rounded up to alignment  the same
/// bitmap bytes    size/ss/8, truncated  rounded up             rounded up
/// data at         behind the bitmap, rounded up to ss (v1, v2) or to alignment
/// ```
///
/// Bit i, the least significant first within a byte, says that sector i is in this file. Programs compiled
/// for 64 bits before 2005 padded the v1 and v2 headers differently ("unpacked"), and wrote the "broken" v3.
/// Source: Linux `arch/um/drivers/cow_user.c`, uml-utilities `moo/`.
package enum UMLCOW {
  /// The layout of a header.
  package enum Version: Equatable, Sendable, CustomStringConvertible {
    case v1(bigEndian: Bool)
    case v1Unpacked
    case v2
    case v2Unpacked
    case v3
    case v3Broken

    package var description: String {
      switch self {
      case .v1(let bigEndian): bigEndian ? "1 (big-endian)" : "1"
      case .v1Unpacked: "1 (unpacked)"
      case .v2: "2"
      case .v2Unpacked: "2 (unpacked)"
      case .v3: "3"
      case .v3Broken: "3 (broken 64-bit layout)"
      }
    }
  }

  /// Why a header does not describe a disk.
  package enum HeaderDefect: Error, Equatable, Sendable, CustomStringConvertible {
    case noMagic
    case short(version: UInt32, size: Int, needed: Int)
    case unknownVersion(UInt32)
    case sectorSize(UInt32)
    case alignment(UInt32)
    case unknownFormat(UInt32)
    case endlessPath
    case emptyPath
    case pathIsNoText
    case tooLarge(size: UInt64)

    package var description: String {
      switch self {
      case .noMagic: "it does not begin with MOOO or OOOM"
      case .short(let version, let size, let needed):
        "its header of version \(version) ends after \(size) of \(needed) bytes"
      case .unknownVersion(let version): "its version is \(version), known are 1, 2 and 3"
      case .sectorSize(let size): "its sector size is \(size), not a power of two from 512 to 65536"
      case .alignment(let alignment):
        "its alignment is \(alignment), not a multiple of 512 up to \(Limits.cowAlignmentMax)"
      case .unknownFormat(let format): "its data format is \(format), known is 0 (bitmap)"
      case .endlessPath: "the path of its backing file has no end"
      case .emptyPath: "the path of its backing file is empty"
      case .pathIsNoText: "the path of its backing file is not UTF-8: name the backing file yourself"
      case .tooLarge(let size): "its disk of \(size) bytes is larger than the format allows (8 TiB)"
      }
    }
  }
}
