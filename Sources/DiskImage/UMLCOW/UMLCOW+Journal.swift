// Bits that a killed server had only in memory.
import BlockIO
import Linux

extension UMLCOW {
  /// The journal of a COW file: the bitmap, of which those pages count whose bit is set in the directory.
  static func journalShape(_ geometry: Geometry) -> JournalShape {
    let size = UInt64(Bitmap.pageSize)
    let pages = max(1, Int((geometry.bitmapCount + size - 1) / size))
    return JournalShape(
      kind: .umlCOW, pageSize: Bitmap.pageSize, pageCount: pages, directoryWords: (pages + 63) / 64,
      numbers: [geometry.bitmapOffset, geometry.diskSize, geometry.dataOffset])
  }

  /// Brings the bits that a journal has into the file, durably, after the data that they stand for.
  ///
  /// While a disk is served, bits are only ever set: so a page of the journal has every bit that the file
  /// has, or somebody else has written to the file since.
  /// - Returns: how many pages changed.
  static func replay(
    _ journal: borrowing LeftJournal, on file: ImageFile, engine: any BlockEngine
  ) throws(DiskImageError) -> Result<Int, JournalDefect> {
    let opened = try readHeader(file, engine: engine)
    do throws(DiskImageError) { try requireWritable(opened.header, path: file.path) } catch {
      return .failure(JournalDefect("nobody writes to such an image"))
    }
    // Everything is looked at before anything changes.
    var changed: [Int] = []
    for (index, word) in try journal.directory().enumerated() where word != 0 {
      for bit in 0..<64 where word >> UInt64(bit) & 1 == 1 {
        let page = index * 64 + bit
        guard page < journal.shape.pageCount else {
          return .failure(JournalDefect("it names pages beyond its end"))
        }
        let (old, new) = try pages(page, of: journal, opened, engine: engine)
        if let defect = defect(of: new, page, over: old, opened) { return .failure(defect) }
        if old != new { changed.append(page) }
      }
    }
    do throws(BlockIOError) {
      try engine.synchronize(file)
      for page in changed {
        let new: [UInt8]
        do throws(DiskImageError) { new = try pages(page, of: journal, opened, engine: engine).new } catch {
          return .failure(JournalDefect("it cannot be read: \(error)"))
        }
        try engine.write(file, at: place(of: page, opened.geometry), from: new[...])
      }
      if !changed.isEmpty { try engine.synchronize(file) }
    } catch { throw .file(error) }
    return .success(changed.count)
  }

  private static func place(of page: Int, _ geometry: Geometry) -> UInt64 {
    geometry.bitmapOffset + UInt64(page * Bitmap.pageSize)
  }

  /// A page of the bitmap as it is in the file, and as the journal has it; bits of sectors that do not exist
  /// stay what they are.
  private static func pages(
    _ page: Int, of journal: borrowing LeftJournal, _ opened: Opened, engine: any BlockEngine
  ) throws(DiskImageError) -> (old: [UInt8], new: [UInt8]) {
    let geometry = opened.geometry
    let start = page * Bitmap.pageSize
    let count = min(Bitmap.pageSize, Int(geometry.bitmapCount) - start)
    var old = [UInt8](repeating: 0, count: count)
    do throws(BlockIOError) {
      try engine.read(opened.overlay, at: place(of: page, geometry), into: &old)
    } catch { throw .file(error) }
    var new = Array(try journal.page(page)[..<count])
    for index in new.indices {
      let valid = validBits(UInt64(start + index) * 8, geometry)
      new[index] = new[index] & valid | old[index] & ~valid
    }
    return (old, new)
  }

  private static func defect(
    of new: [UInt8], _ page: Int, over old: [UInt8], _ opened: Opened
  ) -> JournalDefect? {
    guard zip(old, new).allSatisfy({ $0 & ~$1 == 0 }) else {
      return JournalDefect("somebody else has written to the image since")
    }
    let end = (try? currentLength(of: opened.overlay)) ?? 0
    guard let missing = firstMissingSector(opened, length: end) else { return nil }
    for index in new.indices where new[index] & ~old[index] != 0 {
      let first = UInt64(page * Bitmap.pageSize + index) * 8
      if (0..<8).contains(where: { new[index] >> UInt8($0) & 1 == 1 && first + UInt64($0) >= missing }) {
        return JournalDefect("it has bits of sectors that the image does not have")
      }
    }
    return nil
  }
}

extension UMLCOW.Disk {
  /// Before the first change, and before anybody else writes to the file: lets the file name its journal.
  func nameJournal() throws(DiskImageError) {
    guard let name = bitmap.unnamedJournal, let file = files.first else { return }
    durability.willChange()
    do throws(DiskImageError) {
      try UMLCOW.JournalNote.write(name, to: file, engine: engine)
      // Direct writes must not meet dirty memory in the page cache.
      if file.direct != nil { try durability.synchronize(file, engine: engine) }
      bitmap.didNameJournal()
    } catch {
      let reason = error.description
      do throws(LinuxError) { try bitmap.giveJournalUp(reason) } catch { throw .system(error) }
    }
  }

  /// At the end, when everything is durable.
  func endJournal(_ file: ImageFile) {
    // A name that stays means nothing without the journal.
    if bitmap.isJournalNamed { try? UMLCOW.JournalNote.write(nil, to: file, engine: engine) }
    bitmap.endJournal(isDone: true)
  }
}
