// A COW file as a file: its bitmap, its slots and its header, without its backing file.
import BlockIO

extension UMLCOW {
  /// The header of a file that must be one that we write: version 3, sectors of 512 bytes.
  static func readCurrentHeader(
    _ file: ImageFile, engine: any BlockEngine
  ) throws(DiskImageError) -> Opened {
    let opened = try readHeader(file, engine: engine)
    let header = opened.header
    guard header.version == .v3, header.sectorSize == 512 else {
      throw .unsuitable(
        path: file.path,
        reason: "is a UML COW file of version \(header.version) with sectors of \(header.sectorSize) bytes, "
          + "which is only read: run: ttblk image upgrade \(shellQuoted(file.path))")
    }
    return opened
  }

  /// Calls `body` with every piece of the file that holds data of which no bit says anything, and that can
  /// be given back: whole blocks of the file.
  ///
  /// The last block does not count: UML writes a zero there to make the file as long as it must be. Nor do
  /// sectors that have no bit at all (versions 1 and 2).
  static func forEachLeak(
    _ opened: Opened, engine: any BlockEngine, _ body: (Range<UInt64>) throws(DiskImageError) -> Void
  ) throws(DiskImageError) {
    let geometry = opened.geometry
    let file = opened.overlay
    guard !file.isBlockDevice else { return }
    let slotsEnd = geometry.dataOffset + geometry.sectorCount * geometry.sectorSize
    let end = min(slotsEnd, (max(file.size, 1) - 1) / Limits.fileBlock * Limits.fileBlock)
    var position = geometry.dataOffset
    while position < end, let data = file.nextData(from: position), data.lowerBound < end {
      let stop = min(data.upperBound, end)
      var pending: Range<UInt64>?
      try forEachUnsetRun(of: opened, data.lowerBound..<stop, engine: engine) {
        (run) throws(DiskImageError) in
        if let before = pending, before.upperBound == run.lowerBound {
          pending = before.lowerBound..<run.upperBound
        } else {
          if let blocks = wholeBlocks(pending) { try body(blocks) }
          pending = run
        }
      }
      if let blocks = wholeBlocks(pending) { try body(blocks) }
      position = max(stop, position + 1)
    }
  }

  private static func wholeBlocks(_ range: Range<UInt64>?) -> Range<UInt64>? {
    guard let range, let lower = range.lowerBound.roundedUp(to: Limits.fileBlock) else { return nil }
    let upper = range.upperBound / Limits.fileBlock * Limits.fileBlock
    return lower < upper ? lower..<upper : nil
  }

  /// Calls `body` with the pieces of a range of the file whose sectors have bits that are not set.
  static func forEachUnsetRun(
    of opened: Opened, _ range: Range<UInt64>, engine: any BlockEngine,
    _ body: (Range<UInt64>) throws(DiskImageError) -> Void
  ) throws(DiskImageError) {
    let geometry = opened.geometry
    let size = geometry.sectorSize
    let first = (range.lowerBound - geometry.dataOffset) / size
    let last = min((range.upperBound - geometry.dataOffset + size - 1) / size, geometry.sectorCount)
    var bytes: [UInt8] = []
    var loaded: Range<UInt64> = 0..<0
    var sector = first
    while sector < last {
      if !loaded.contains(sector) {
        let start = sector / 8
        let count = min(geometry.bitmapCount - start, UInt64(bitmapBytesPerRead))
        bytes = [UInt8](repeating: 0, count: Int(count))
        do throws(BlockIOError) {
          try engine.read(opened.overlay, at: geometry.bitmapOffset + start, into: &bytes)
        } catch { throw .file(error) }
        loaded = start * 8..<(start + count) * 8
      }
      let byte = bytes[Int((sector - loaded.lowerBound) / 8)]
      let end: UInt64
      if sector % 8 == 0, byte == 0 || byte == 0xff { end = sector + 8 } else { end = sector + 1 }
      if byte >> UInt8(sector % 8) & 1 == 0 {
        let place = geometry.dataOffset + sector * size
        let stop = geometry.dataOffset + min(end, last) * size
        try body(max(place, range.lowerBound)..<min(stop, range.upperBound))
      }
      sector = end
    }
  }

  private static let bitmapBytesPerRead = 65536

  /// Gives back the space of data that no bit says anything of. The bitmap on the medium is the one that
  /// counts: whoever cleared bits has flushed them.
  static func punchLeaks(_ opened: Opened, engine: any BlockEngine) throws(DiskImageError) {
    try forEachLeak(opened, engine: engine) { (range) throws(DiskImageError) in
      do throws(BlockIOError) { try engine.zero(opened.overlay, range, unmap: true) } catch {
        throw .file(error)
      }
    }
  }

  /// Gives a file of version 3 another backing path, time or both, so that at every moment the old header or
  /// the new one counts.
  ///
  /// The time is at 8 and the path begins at 32, both in the first 512 bytes, which a disk writes as a whole.
  /// What an old path that ends there has behind its NUL means nothing: so the rest of a new, longer path
  /// goes there first, and the first sector, by one write, makes it count. Where the new path ends within the
  /// first sector, that sector goes first. Only if both paths are longer than 479 bytes, and differ behind
  /// those, does the change take more than a sector: one write of one page (4 KiB), which disks with sectors
  /// of 4 KiB and journals write as a whole, others almost always; torn, it names a file that is not there,
  /// and `rebase --unsafe` puts it right.
  static func replaceHeader(
    of opened: Opened, by header: Header, engine: any BlockEngine
  ) throws(DiskImageError) {
    precondition(
      header.backingSize == opened.header.backingSize && header.alignment == opened.header.alignment)
    let file = opened.overlay
    let bytes = header.encoded()
    let first = Limits.atomicWrite
    // The path and its NUL.
    func fits(_ header: Header) -> Bool { 32 + header.backingPath.count < first }
    let isTailSame = bytes[first...] == opened.header.encoded()[first...]
    do throws(BlockIOError) {
      if fits(opened.header), !fits(header) {
        try engine.write(file, at: UInt64(first), from: bytes[first...])
        try engine.synchronize(file)
      }
      let count = fits(opened.header) || fits(header) || isTailSame ? first : bytes.count
      try engine.write(file, at: 0, from: bytes[..<count])
      try engine.synchronize(file)
      // Nothing that counts any more: so that no piece of an old path stays.
      if count == first, !isTailSame { try engine.write(file, at: UInt64(first), from: bytes[first...]) }
    } catch { throw .file(error) }
  }
}
