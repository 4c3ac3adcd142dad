// QEMU's copy-on-write format.

/// The qcow2 format: clusters of the disk, anywhere in the file, found through two levels of tables, and a
/// count of references for each cluster of the file.
///
/// ```
/// header, big-endian, in cluster 0                      L1 entry -> L2 table (one cluster)
///   @0  u32 magic "QFI\xfb"   @4  u32 version 2 or 3      63     reference count is exactly 1 ("copied")
///   @8  u64 backing path at   @16 u32 its length          55..9  host offset, 0: nothing here
///   @20 u32 cluster bits      @24 u64 size              L2 entry -> cluster
///   @32 u32 encryption        @36 u32 L1 entries          63     as above      62  compressed
///   @40 u64 L1 table at       @48 u64 refcount table at   55..9  host offset    0  reads as zeros
///   @56 u32 its clusters      @60 u32 snapshots         L2 entry of a compressed cluster, x = 70 - cluster
///   bits @64 u64 snapshots at                                  61..x  further sectors of 512 bytes version 3
///   x-1..0 host offset, any byte @72 u64 incompatible      @80 u64 compatible        extended L2 entry:
///   another u64 follows @88 u64 autoclear         @96 u32 refcount order      31..0  subcluster (a 32nd) is
///   here @100 u32 header length    @104 u8 compression         63..32 subcluster reads as zeros
/// extensions: u32 type, u32 length, data, padded to 8; type 0 ends them
///
/// refcount table entry (63..9) -> refcount block: one cluster of counts, 1 << order bits each
/// ```
///
/// Source: QEMU docs/interop/qcow2.rst; what that leaves open is done as QEMU 7.2 does it.
package enum QCOW2 {
  static let magic: [UInt8] = [0x51, 0x46, 0x49, 0xfb]

  /// Features that whoever does not know them must not open the file with.
  enum Incompatible {
    static let dirty: UInt64 = 1 << 0
    static let corrupt: UInt64 = 1 << 1
    static let dataFile: UInt64 = 1 << 2
    static let compression: UInt64 = 1 << 3
    static let extendedL2: UInt64 = 1 << 4
    static let known = dirty | corrupt | dataFile | compression | extendedL2
  }

  /// Features that whoever does not keep them clears when writing.
  enum Autoclear {
    static let bitmaps: UInt64 = 1 << 0
    static let rawData: UInt64 = 1 << 1
    /// Ours: the journal that the header names is of this file as it is.
    static let journal: UInt64 = 1 << 63
  }

  /// What a header extension holds.
  enum ExtensionType {
    static let end: UInt32 = 0
    static let backingFormat: UInt32 = 0xe279_2aca
    static let featureNames: UInt32 = 0x6803_f857
    static let bitmaps: UInt32 = 0x2385_2875
    static let encryption: UInt32 = 0x0537_be77
    static let dataFile: UInt32 = 0x4441_5441
    /// Ours, "ttJN": the name of a journal.
    static let journal: UInt32 = 0x7474_4a4e
  }

  /// Bits of L1 and L2 entries.
  enum EntryBits {
    static let copied: UInt64 = 1 << 63
    static let compressed: UInt64 = 1 << 62
    static let zero: UInt64 = 1
    static let offset: UInt64 = 0x00ff_ffff_ffff_fe00
  }
}
