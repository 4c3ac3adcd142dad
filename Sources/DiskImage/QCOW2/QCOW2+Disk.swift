// A qcow2 file and what it stands on.
package import BlockIO
package import Glibc
import Linux

extension QCOW2 {
  /// The disk that a qcow2 file and its backing image make together.
  ///
  /// Data is written at once, to clusters that nothing refers to yet, or in place where the disk is their
  /// only user. Tables change in memory and reach the file in `writeBack`, in an order that leaves the file
  /// valid at every moment: what is counted, then what refers to it, then (for what was dropped) the other
  /// way.
  package final class Disk: DiskImage {
    package internal(set) var header: Header
    var geometry: Geometry
    package let snapshots: [Snapshot]
    package let isReadOnly: Bool
    package internal(set) var size: UInt64
    package internal(set) var exactSize: UInt64
    package var format: ImageFormat { .qcow2 }
    package let path: String
    package let warnings: [String]
    package internal(set) var backing: (any DiskImage)?
    package internal(set) var files: [ImageFile]
    /// How many of `files` are not the backing image's.
    let ownFileCount: Int
    /// The file with the tables; the disk is open.
    var metadata: ImageFile { files[0] }
    let engine: any BlockEngine
    let registry: FileRegistry

    /// The L1 table that is shown.
    var l1: (offset: UInt64, count: UInt64)
    var tables: TableCache
    var durability = Durability()
    /// What was dropped, and may still be referred to by tables on the medium.
    var pendingFrees: [Freed] = []
    /// No cluster below has no reference.
    var freeHint: UInt64
    /// Where the next compressed cluster may begin: behind the last one, in the same host cluster.
    var compressedEnd: UInt64 = 0
    /// How long the file is at least, where it may have something other than zeros, and how long it must be.
    var writtenEnd: UInt64
    var touchedEnd: UInt64
    var neededEnd: UInt64 = 0
    /// Whether the header says that we write.
    var isPrepared = false
    package var isBusy = false

    // Scratch memory, so that a request allocates nothing.
    var reader = SegmentReader()
    var gathered = IOVectorList()
    var edges = EdgeBuffers()
    var shown: [Segment] = []

    /// - Parameter journal: where changes are kept that are not flushed; nil, and if the disk is only read:
    ///   in memory of our own.
    init(
      _ opened: Opened, readOnly: Bool, notices: [String] = [], journal: JournalOptions? = nil,
      registry: FileRegistry, engine: any BlockEngine
    ) throws(LinuxError) {
      header = opened.header
      geometry = Geometry(opened.header)
      snapshots = opened.snapshots
      isReadOnly = readOnly
      exactSize = opened.snapshot?.size ?? opened.header.size
      // Near 2^64 there is no next multiple; such sizes were refused.
      size = exactSize.roundedUp(to: Limits.sectorSize) ?? exactSize
      path = opened.file.path
      warnings = notices + QCOW2.warnings(opened, readOnly: readOnly)
      backing = opened.backing
      let own = [opened.file] + (opened.data.map { [$0] } ?? [])
      ownFileCount = own.count
      files = own + (opened.backing?.files ?? [])
      self.engine = engine
      self.registry = registry
      l1 =
        if let snapshot = opened.snapshot {
          (snapshot.l1Offset, UInt64(snapshot.l1Size))
        } else {
          (opened.header.l1Offset, UInt64(opened.header.l1Size))
        }
      let shape = QCOW2.journalShape(opened.header)
      tables = TableCache(shape, try MetadataMemory(shape, readOnly ? nil : journal, for: opened.file))
      freeHint = 1
      // Longer than when it was opened, if another disk was made of it since.
      writtenEnd = (try? opened.file.status().size) ?? opened.file.size
      touchedEnd = writtenEnd
    }

    deinit { try? close() }

    package func read(at offset: UInt64, into parts: UnsafeBufferPointer<iovec>) throws(DiskImageError) {
      try requireOpen()
      let range = try checkedRange(offset: offset, count: parts.byteCount, size: size)
      guard !range.isEmpty else { return }
      try reader.read(range, of: self, into: parts, engine: engine)
    }

    package func flush() throws(DiskImageError) {
      try requireOpen()
      try writeBack()
    }

    package func close() throws(DiskImageError) {
      guard !files.isEmpty else { return }
      defer {
        files = []
        backing = nil
        reader.forgetDecompressed()
      }
      do throws(DiskImageError) {
        try writeBack()
        // What was freed by that.
        try writeBack()
      } catch {
        // The next one has what we could not write.
        tables.endJournal(isDone: false)
        throw error
      }
      endJournal()
    }

    func requireOpen(writing: Bool = false) throws(DiskImageError) {
      guard !files.isEmpty else { throw .closed(path: path) }
      guard !writing || !isReadOnly else { throw .readOnly(path: path) }
    }
  }
}
