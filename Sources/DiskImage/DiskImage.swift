// What a virtual disk can do.
package import BlockIO
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
  /// Length in bytes as the format has it; `size` is this, rounded up.
  var exactSize: UInt64 { get }
  /// Whether writes are refused.
  var isReadOnly: Bool { get }
  /// Which format it is stored in.
  var format: ImageFormat { get }
  /// As the file was named when it was opened.
  var path: String { get }
  /// What whoever uses this disk ought to know, a line each.
  var warnings: [String] { get }
  /// What shows where this image has nothing; nil for an image that stands alone.
  var backing: (any DiskImage)? { get }
  /// The files that segments name by number: its own, then those of its backing image; none when closed.
  var files: [ImageFile] { get }

  /// Appends what a range of the disk is made of, in order and without gaps.
  ///
  /// The range lies within the disk. Segments hold until the next change of the disk.
  func plan(_ range: Range<UInt64>, into segments: inout [Segment]) throws(DiskImageError)

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

  // For those who move the bytes themselves, from several threads: all of this under one lock, which is also
  // held around everything above.

  /// From where on every byte of the disk is the byte of file 0 at the same offset, for ever: such bytes may
  /// be read and written by anybody at any time, without a plan and without the lock. Nil where there are
  /// none. Reads, and writes of zeros, may do so from the beginning of the disk on, if this is not nil.
  var identicalFrom: UInt64? { get }
  /// Whether bytes of the disk may come to be elsewhere in the files, so that space may be reused which plans
  /// under way name: those who move bytes say so (`isBusy`).
  var movesBytes: Bool { get }
  /// What whole pieces of this many bytes are made zeros in, in the places that `planWrite` names; nil where
  /// `discard` and `writeZeroes` know better.
  var zeroGranularity: UInt64? { get }
  /// Whether requests are under way that were planned before; nothing is reused as long as they are.
  var isBusy: Bool { get set }
  /// Whether a flush should come soon: much metadata waits in memory.
  var wantsFlush: Bool { get }
  /// Whether `write`, `discard` and `writeZeroes` must come when nothing is under way.
  var changesNeedQuiet: Bool { get }
  /// Whether a flush must: it frees space then.
  var flushNeedsQuiet: Bool { get }

  /// Lets go of what can be read again, if that is much: at the start of a request that is planned.
  func releaseMemory()
  /// From now on bytes are also written without this object's knowledge: whether there is anything to
  /// synchronise is no longer known here.
  func expectOutsideWrites()
  /// Appends where the bytes of a range are to be written.
  ///
  /// The range is not empty and lies within the disk. Nothing is appended for the route `blocking`.
  /// - Parameter data: what is to be written; not needed for zeros. If the range begins before
  ///   `identicalFrom`, nobody changes its first bytes meanwhile.
  func planWrite(
    _ range: Range<UInt64>, of data: UnsafeBufferPointer<iovec>, into segments: inout [Segment]
  ) throws(DiskImageError) -> WriteRoute
  /// The data of these pages is written: they count. After a failure they do not.
  func finishWrite(_ pages: Range<UInt64>) throws(DiskImageError)
  /// Takes copies of the metadata that would make what is written durable, before the data is synchronised:
  /// so none of it is ahead of its data. One flush at a time.
  func beginFlush() throws(DiskImageError) -> FlushPlan
  /// The flush that began is over.
  func endFlush(_ result: FlushResult)
  /// Looks how long the file is now, where the length of the disk follows from that.
  func refreshSize() throws(DiskImageError)
}

extension DiskImage {
  /// One word for messages: `raw`, `uml-cow`.
  package var formatName: String { format.rawValue }

  /// Appends what the backing image has of a range, as seen from an image above it; zeros behind its end.
  /// - Parameter ownFiles: how many files the image above puts before those of the backing image.
  func planBacking(
    _ range: Range<UInt64>, ownFiles: UInt8, into segments: inout [Segment]
  ) throws(DiskImageError) {
    var position = range.lowerBound
    if let backing, position < backing.size {
      let first = segments.count
      position = min(range.upperBound, backing.size)
      try backing.plan(range.lowerBound..<position, into: &segments)
      for index in first..<segments.count {
        segments[index].depth += 1
        switch segments[index].source {
        case .file(let file): segments[index].source = .file(file + ownFiles)
        case .compressed(var cluster):
          cluster.file += ownFiles
          segments[index].source = .compressed(cluster)
        case .zeroes: break
        }
      }
    }
    guard position < range.upperBound else { return }
    segments.append(
      Segment(.zeroes, offset: 0, count: range.upperBound - position, depth: 0, isAllocated: false))
  }
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
  /// The alignment of new COW files. UML and uml_mkcow take a page; then data begins at an odd multiple of a
  /// page, large requests meet the page cache's large folios across their ends, and cost 1.4 times as much.
  package static let cowAlignment: UInt32 = 128 << 10
  /// uml_moo counts sectors in an `unsigned`.
  package static let umlMooSizeMax: UInt64 = 2 << 40
  /// Up to this size of the backing file UML's ubd dies of the first write: its bitmap is a single word.
  package static let umlBackingSizeMin: UInt64 = 32 << 10
  /// What QEMU makes clusters of.
  package static let qcow2ClusterBitsMin: UInt32 = 9
  package static let qcow2ClusterBitsMax: UInt32 = 21
  /// What QEMU takes of an L1 table, and of a refcount table, in bytes.
  static let qcow2L1BytesMax: UInt64 = 32 << 20
  static let qcow2RefcountTableBytesMax: UInt64 = 8 << 20
  /// What QEMU takes of the snapshot table: entries, bytes, and unknown bytes in each entry.
  static let qcow2SnapshotsMax: UInt32 = 65536
  static let qcow2SnapshotBytesMax: UInt64 = 64 << 20
  static let qcow2SnapshotExtraBytesMax: UInt64 = 1024
  /// What QEMU takes of the directory of bitmaps.
  static let qcow2BitmapsMax: UInt32 = 65535
  static let qcow2BitmapDirectoryBytesMax: UInt64 = 64 << 20
  /// The longest backing path in a qcow2 header.
  package static let qcow2BackingPathBytesMax = 1023
  /// The longest path of a folder for journals: an image names it within one sector.
  static let journalFolderBytesMax = 340
  /// A journal that is locked is looked at so often, with such pauses: ten seconds, as the lock of an image.
  static let journalLockAttempts = 500
  static let journalLockPauseMicroseconds: UInt32 = 20_000
  /// Where the host offsets of a qcow2 file end.
  static let qcow2HostOffsetMax: UInt64 = 1 << 56
  /// How many bytes of its tables a qcow2 disk keeps in memory; half of them may wait to be written.
  static let qcow2CacheBytes = 4 << 20
  /// How many runs of clusters wait to be freed before the tables that dropped them are written.
  static let qcow2PendingFreesMax = 4096
  /// How many images a chain of backing images may have.
  package static let chainLengthMax = 32
  /// How many pages of a bitmap stay in memory (each stands for 16 MiB of disk) before the clean ones are let
  /// go.
  static let bitmapPagesResident = 256
  /// Zeroes and discards proceed in steps of this many bytes.
  static let zeroBytesPerStep: UInt64 = 1 << 30
  /// Plans of whole disks: how much is asked for at first, at least and at most, and which numbers of pieces
  /// make it more or less.
  static let planStepStart: UInt64 = 256 << 20
  static let planStepMin: UInt64 = 64 << 20
  static let planStepMax: UInt64 = 1 << 44
  static let planSegmentsFew = 16
  static let planSegmentsMany = 16384
  /// How many bytes are copied by one read: enough for a disk to be busy with when they are written past the
  /// page cache, and for threads that wake each other.
  static let copyBytesPerStep = 1 << 20
  /// How many reads may be ahead of the writes that they are for.
  static let copyStepsUnderWay = 4
  /// Pieces of a file that are shorter are read, not searched for holes.
  static let holeSearchMin: UInt64 = 1 << 20
  /// Zeros are left out in blocks of this many bytes.
  static let zeroBlock = 4096
  /// Shorter pieces are copied, not shared with the file they come from.
  static let shareMin: UInt64 = 1 << 20
  /// How many bytes of clusters are compressed side by side.
  static let compressionBatchBytes = 4 << 20
  /// Shorter pieces are written by way of the page cache, and so are those that do not match the unit.
  static let directWriteMin = 256 << 10
  static let directWriteUnit: UInt = 4096
  /// How many bytes are complete before the medium begins with them.
  static let writeBackStep: UInt64 = 4 << 20
  /// Zeros that must be written are written in pieces of this many bytes.
  static let zeroBytesPerWrite = 65536
  /// How many places of each kind of finding a check names.
  static let placesListed = 8
  /// What file systems allocate: no smaller piece of a file is worth a hole.
  static let fileBlock: UInt64 = 4096
  /// What a disk writes as a whole even when its power goes.
  static let atomicWrite = 512
}
