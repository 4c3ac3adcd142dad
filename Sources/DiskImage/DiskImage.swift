// What a virtual disk can do.
package import Glibc

/// A virtual disk, whatever it is stored in.
///
/// One thread at a time uses it. Nothing is taken for granted about a request: its bounds are checked here,
/// and a request that is refused changes nothing. No method allocates memory once its scratch arrays have
/// grown.
///
/// A write that returned is visible to later reads; it is durable after the next `flush` that returned. After
/// a failed write, the bytes of its range are the old or the new ones; nothing outside it changed.
package protocol DiskImage: AnyObject {
  /// Length in bytes, a multiple of 512.
  var size: UInt64 { get }
  /// Whether writes are refused.
  var isReadOnly: Bool { get }
  /// One word for messages: `raw`, `uml-cow`.
  var formatName: String { get }

  /// Fills the memory from consecutive bytes of the disk; their number is the sum of the lengths.
  func read(at offset: UInt64, into parts: UnsafeBufferPointer<iovec>) throws(DiskImageError)
  /// Writes the memory to consecutive bytes of the disk.
  func write(at offset: UInt64, from parts: UnsafeBufferPointer<iovec>) throws(DiskImageError)
  /// Makes durable what was written: data, then what says where the data is.
  ///
  /// After a failure every later flush fails too: the kernel may have dropped what it could not write.
  func flush() throws(DiskImageError)
  /// Makes the range read as zeros, and gives its space back as far as the file system can.
  func discard(_ range: Range<UInt64>) throws(DiskImageError)
  /// Makes the range read as zeros.
  /// - Parameter unmap: give its space back; otherwise keep space for it.
  func writeZeroes(_ range: Range<UInt64>, unmap: Bool) throws(DiskImageError)
  /// Flushes, and lets go of the files and their locks; every later request fails.
  ///
  /// An image that is merely dropped does the same, but nobody hears of a failure.
  func close() throws(DiskImageError)
}

/// The numbers that bound this module.
package enum Limits {
  /// What the disk sizes are multiples of, and what a bit of a COW file stands for.
  package static let sectorSize: UInt64 = 512
  /// UML loses its place in a read that meets both values in one page (6.1 to 6.12, ubd_kern.c), so that all
  /// bits of a page are kept equal.
  package static let pageSize: UInt64 = 4096
  /// The longest backing path in a UML COW header, without its NUL.
  package static let backingPathBytesMax = 4095
  /// UML computes the offset of the data in an `int` (ubd_kern.c): the bitmap ends below 2 GiB.
  package static let cowDataOffsetMax: UInt64 = (1 << 31) - 4096
  /// More than any page size that UML was ever built for.
  package static let cowAlignmentMax: UInt32 = 16 << 20
  /// uml_moo counts sectors in an `unsigned`.
  package static let umlMooSizeMax: UInt64 = 2 << 40
  /// Up to this size of the backing file UML's ubd dies of the first write: its bitmap is a single word.
  package static let umlBackingSizeMin: UInt64 = 32 << 10
  /// How many pages of a bitmap stay in memory (each stands for 16 MiB of disk) before the clean ones are let
  /// go.
  static let bitmapPagesResident = 256
  /// Zeroes and discards proceed in steps of this many bytes.
  static let zeroBytesPerStep: UInt64 = 1 << 30
}
