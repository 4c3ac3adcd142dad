// A backing file, seen through a COW file.
package import BlockIO
package import Glibc
import Linux

extension UMLCOW {
  /// The disk that a COW file and its backing file make together.
  ///
  /// Writes go to the COW file, in whole pages: what a write leaves of a page that is not there yet is copied
  /// up from the backing file, by the same system call that writes the data. The bits follow in memory once
  /// the data is written, and reach the file at `flush`: data, fdatasync, bitmap, fdatasync. So the file's
  /// bitmap is never ahead of its data, and a failed write leaves no bit behind.
  package final class Disk: DiskImage {
    /// As it was when the disk was opened.
    package let header: Header
    /// Where bitmap and data are.
    package let geometry: Geometry
    package let isReadOnly: Bool
    package var size: UInt64 { geometry.diskSize }
    package var exactSize: UInt64 { header.backingSize }
    package var format: ImageFormat { .umlCOW }
    package let path: String
    package let warnings: [String]
    package private(set) var backing: (any DiskImage)?
    package private(set) var files: [ImageFile]
    let engine: any BlockEngine
    var bitmap: Bitmap
    var durability = Durability()

    // Scratch memory, so that a request allocates nothing.
    private var reader = SegmentReader()
    private var gathered = IOVectorList()
    private let edges = UnsafeMutableRawBufferPointer.allocate(
      byteCount: 2 * Int(Limits.pageSize), alignment: 4096)

    /// - Parameter journal: where changes are kept that are not flushed; nil, and if the disk is only read:
    ///   in memory of our own.
    init(
      _ opened: Opened, backing: any DiskImage, readOnly: Bool, warnings: [String] = [],
      journal: JournalOptions? = nil, engine: any BlockEngine
    ) throws(DiskImageError) {
      let shape = UMLCOW.journalShape(opened.geometry)
      do throws(LinuxError) {
        bitmap = Bitmap(
          opened.geometry,
          try MetadataMemory(shape, readOnly ? nil : journal, for: opened.overlay))
      } catch { throw .system(error) }
      header = opened.header
      geometry = opened.geometry
      self.engine = engine
      path = opened.overlay.path
      files = [opened.overlay] + backing.files
      self.backing = backing
      self.warnings = warnings + backing.warnings
      isReadOnly = readOnly
    }

    deinit {
      try? close()
      edges.deallocate()
    }

    package func read(at offset: UInt64, into parts: UnsafeBufferPointer<iovec>) throws(DiskImageError) {
      try requireOpen()
      let range = try checkedRange(offset: offset, count: parts.byteCount, size: size)
      guard !range.isEmpty else { return }
      try reclaimBitmap()
      try reader.read(range, of: self, into: parts, engine: engine)
    }

    package func write(at offset: UInt64, from parts: UnsafeBufferPointer<iovec>) throws(DiskImageError) {
      try requireOpen(writing: true)
      let range = try checkedRange(offset: offset, count: parts.byteCount, size: size)
      guard !range.isEmpty else { return }
      try reclaimBitmap()
      try writeWholePages(range, parts)
    }

    package func flush() throws(DiskImageError) {
      try requireOpen()
      try writeBack(files[0])
    }

    package func close() throws(DiskImageError) {
      guard let file = files.first else { return }
      files = []
      backing = nil
      reader.forgetDecompressed()
      do throws(DiskImageError) { try writeBack(file) } catch {
        // The next one has what we could not write.
        bitmap.endJournal(isDone: false)
        throw error
      }
      endJournal(file)
    }

    func requireOpen(writing: Bool = false) throws(DiskImageError) {
      guard !files.isEmpty else { throw .closed(path: path) }
      guard !writing || !isReadOnly else { throw .readOnly(path: path) }
    }

    /// Keeps the memory of the bitmap within its limit, at the start of a request.
    func reclaimBitmap() throws(DiskImageError) {
      guard bitmap.loadedCount > Limits.bitmapPagesResident else { return }
      // Not while somebody writes older copies of it.
      if wantsFlush, !bitmap.isFlushing { try writeBack(files[0]) }
      bitmap.releaseClean()
    }

    package var wantsFlush: Bool { bitmap.dirtyCount > Limits.bitmapPagesResident / 2 }
    package var isBusy = false

    private func writeBack(_ file: ImageFile) throws(DiskImageError) {
      try durability.synchronize(file, engine: engine)
      guard bitmap.dirtyCount > 0 else { return }
      durability.willChange()
      do throws(BlockIOError) { try bitmap.write(to: file, engine: engine) } catch { throw .file(error) }
      try durability.synchronize(file, engine: engine)
      bitmap.forgetDirty()
    }

    package func plan(_ range: Range<UInt64>, into segments: inout [Segment]) throws(DiskImageError) {
      let sector = geometry.sectorSize
      let end = (range.upperBound + sector - 1) / sector
      var position = range.lowerBound
      let start = segments.count
      while position < range.upperBound {
        var first = position / sector
        // Requests are short; who asks for more than a page of the bitmap stands for looks at whole disks.
        if end - first > Bitmap.sectorsPerPage {
          if bitmap.loadedCount > Limits.bitmapPagesResident { bitmap.releaseClean() }
          let empty = bitmap.emptySpan(from: first, to: end, in: files[0])
          if empty > 0 {
            let stop = min((first + empty) * sector, range.upperBound)
            try planBacking(position..<stop, ownFiles: 1, into: &segments)
            position = stop
            continue
          }
        }
        let last = min(end, (first / Bitmap.sectorsPerPage + 1) * Bitmap.sectorsPerPage)
        try load(position..<min(last * sector, range.upperBound))
        while first < last {
          let run = bitmap.run(from: first, to: last)
          first += run.count
          let stop = min(first * sector, range.upperBound)
          try append(position..<stop, isSet: run.isSet, to: &segments, since: start)
          position = stop
        }
      }
    }

    /// Appends a run of sectors that are all in this file, or all not; the segments from `start` on are of
    /// this plan, those before may be of an image above.
    private func append(
      _ range: Range<UInt64>, isSet: Bool, to segments: inout [Segment], since start: Int
    ) throws(DiskImageError) {
      guard isSet else { return try planBacking(range, ownFiles: 1, into: &segments) }
      let count = range.upperBound - range.lowerBound
      let offset = geometry.dataOffset + range.lowerBound
      // Runs end with the pages of the bitmap, too.
      if segments.count > start, let last = segments.last, last.source == .file(0), last.depth == 0,
        last.offset + last.count == offset
      {
        segments[segments.count - 1].count += count
      } else {
        segments.append(Segment(.file(0), offset: offset, count: count))
      }
    }

    func load(_ range: Range<UInt64>) throws(DiskImageError) {
      let sector = geometry.sectorSize
      let sectors = range.lowerBound / sector..<(range.upperBound + sector - 1) / sector
      do throws(BlockIOError) {
        try bitmap.load(sectors: sectors, from: files[0], engine: engine)
      } catch { throw .file(error) }
    }

    /// The smallest range of whole pages around a range; the last page may be cut short by the disk's end.
    func wholePages(around range: Range<UInt64>) -> Range<UInt64> {
      let lower = range.lowerBound - range.lowerBound % Limits.pageSize
      // The disk is far smaller than 2^64 (`Limits.cowDataOffsetMax`).
      let upper = (range.upperBound + Limits.pageSize - 1) / Limits.pageSize * Limits.pageSize
      return lower..<min(upper, size)
    }

    func setBits(_ range: Range<UInt64>) {
      bitmap.set(range.lowerBound / geometry.sectorSize..<range.upperBound / geometry.sectorSize)
    }

    private func writeWholePages(
      _ range: Range<UInt64>, _ parts: UnsafeBufferPointer<iovec>
    ) throws(DiskImageError) {
      let pages = wholePages(around: range)
      try nameJournal()
      try load(pages)
      let (head, tail) = edges(of: range, in: pages)
      gathered.removeAll()
      try appendEdge(head, at: 0)
      gathered.append(parts)
      try appendEdge(tail, at: Int(Limits.pageSize))
      durability.willChange()
      let start = geometry.dataOffset + (head?.lowerBound ?? range.lowerBound)
      do throws(BlockIOError) {
        try engine.write(files[0], at: start, from: gathered.parts)
      } catch { throw .file(error) }
      setBits(pages)
    }

    /// What must be completed of the first and of the last page of a write. The bits were loaded.
    func edges(
      of range: Range<UInt64>, in pages: Range<UInt64>
    ) -> (head: Range<UInt64>?, tail: Range<UInt64>?) {
      let firstPage = wholePages(around: pages.lowerBound..<pages.lowerBound + 1)
      let lastPage = wholePages(around: pages.upperBound - 1..<pages.upperBound)
      return (
        needsFill(firstPage, besides: range) ? firstPage.lowerBound..<range.lowerBound : nil,
        needsFill(lastPage, besides: range) ? range.upperBound..<lastPage.upperBound : nil
      )
    }

    /// Whether a page must be completed because a write covers only a part of it, and not all of it is here.
    private func needsFill(_ page: Range<UInt64>, besides range: Range<UInt64>) -> Bool {
      if range.lowerBound <= page.lowerBound, range.upperBound >= page.upperBound { return false }
      return !bitmap.allSet(page.lowerBound / geometry.sectorSize..<page.upperBound / geometry.sectorSize)
    }

    /// Reads the rest of a page, as the guest sees it, and adds it to what will be written.
    ///
    /// SAFETY: `edges` has a page for each of the two, and an edge is shorter than a page.
    private func appendEdge(_ range: Range<UInt64>?, at position: Int) throws(DiskImageError) {
      guard let range, !range.isEmpty else { return }
      let count = Int(range.upperBound - range.lowerBound)
      let memory = UnsafeMutableRawBufferPointer(rebasing: edges[position..<position + count])
      var part = iovec(iov_base: memory.baseAddress, iov_len: count)
      try withUnsafePointer(to: &part) { (pointer) throws(DiskImageError) in
        try reader.read(
          range, of: self, into: UnsafeBufferPointer(start: pointer, count: 1), engine: engine)
      }
      gathered.append(part)
    }
  }
}
