// Taking a repair back.
import BlockIO

extension UMLCOW {
  /// Puts back header and bitmap, and only then the slots: those are claimed by no bit any more.
  ///
  /// Everything is looked at before anything is changed: what differs from what was saved must be the
  /// repair's own doing, or the work of an undo that was interrupted.
  static func undoRepair(
    _ file: ImageFile, from saved: ImageFile, registry: FileRegistry, engine: any BlockEngine
  ) throws(DiskImageError) {
    let opened = try readCurrentHeader(file, engine: engine)
    let dataOffset = opened.geometry.dataOffset
    try requireSameImage(opened, saved, engine: engine)
    let backing = try? openBacking(
      of: opened, override: nil, lock: true, registry: registry, engine: engine,
      chain: try Chain().adding(file.identity, path: file.path))
    let limit = dataOffset + opened.geometry.diskSize
    try forEachStep(in: saved, limit: limit, engine: engine) { (place, offset) throws(DiskImageError) in
      let isUndoable =
        place.lowerBound < dataOffset
        ? try isBitmapOfRepair(opened, place, saved, at: offset, engine: engine)
        : try isDataOfRepair(opened, place, saved, at: offset, backing: backing, engine: engine)
      guard isUndoable else {
        throw .unsuitable(
          path: file.path, reason: "was written to since '\(saved.path)' was saved: nothing is put back")
      }
    }
    var isInData = false
    try forEachStep(in: saved, limit: limit, engine: engine) { (place, offset) throws(DiskImageError) in
      let bytes = try SavedPieces.read(
        saved, at: offset, count: place.upperBound - place.lowerBound, engine: engine)
      do throws(BlockIOError) {
        if !isInData, place.lowerBound >= dataOffset {
          isInData = true
          try engine.synchronize(file)
        }
        try engine.write(file, at: place.lowerBound, from: bytes[...])
      } catch { throw .file(error) }
    }
    do throws(BlockIOError) { try engine.synchronize(file) } catch { throw .file(error) }
  }

  /// Calls `body` with each piece that was saved, in steps that fit into memory and end with a sector.
  private static func forEachStep(
    in saved: ImageFile, limit: UInt64, engine: any BlockEngine,
    _ body: (_ place: Range<UInt64>, _ offset: UInt64) throws(DiskImageError) -> Void
  ) throws(DiskImageError) {
    try SavedPieces.forEach(in: saved, limit: limit, engine: engine) {
      (place, offset) throws(DiskImageError) in
      var position = place.lowerBound
      while position < place.upperBound {
        let end = min(place.upperBound, position + UInt64(Limits.copyBytesPerStep))
        try body(position..<end, offset + (position - place.lowerBound))
        position = end
      }
    }
  }

  /// The first piece begins with the header, which no repair changes.
  private static func requireSameImage(
    _ opened: Opened, _ saved: ImageFile, engine: any BlockEngine
  ) throws(DiskImageError) {
    let limit = opened.geometry.dataOffset + opened.geometry.diskSize
    var isSame: Bool?
    try SavedPieces.forEach(in: saved, limit: limit, engine: engine) {
      (place, offset) throws(DiskImageError) in
      guard isSame == nil else { return }
      let count = min(place.upperBound - place.lowerBound, UInt64(Header.byteCountMax))
      let bytes = try SavedPieces.read(saved, at: offset, count: count, engine: engine)
      let header = try? Header(parsing: bytes.span.bytes)
      isSame = place.lowerBound == 0 && header == opened.header
    }
    guard isSame == true else {
      throw .unsuitable(
        path: saved.path,
        reason: "was not saved from '\(opened.overlay.path)', or its header was changed since")
    }
  }

  /// Whether a repair made the bitmap what it is of what was saved; of the header nothing is asked here.
  private static func isBitmapOfRepair(
    _ opened: Opened, _ place: Range<UInt64>, _ saved: ImageFile, at offset: UInt64, engine: any BlockEngine
  ) throws(DiskImageError) -> Bool {
    let geometry = opened.geometry
    let count = place.upperBound - place.lowerBound
    let before = try SavedPieces.read(saved, at: offset, count: count, engine: engine)
    let now = try SavedPieces.read(opened.overlay, at: place.lowerBound, count: count, engine: engine)
    for index in before.indices where before[index] != now[index] {
      let position = place.lowerBound + UInt64(index)
      guard position >= geometry.bitmapOffset, position < geometry.bitmapOffset + geometry.bitmapCount
      else { return false }
      let valid = validBits((position - geometry.bitmapOffset) * 8, geometry)
      let isCompleted = before[index] & valid != 0 && now[index] == valid
      guard isCompleted || now[index] == before[index] & valid else { return false }
    }
    return true
  }

  /// Whether each sector of some slots is claimed by no bit, or is as it was saved, or is what a repair made
  /// of it: the backing file's.
  private static func isDataOfRepair(
    _ opened: Opened, _ place: Range<UInt64>, _ saved: ImageFile, at offset: UInt64,
    backing: (any DiskImage)?, engine: any BlockEngine
  ) throws(DiskImageError) -> Bool {
    let count = place.upperBound - place.lowerBound
    guard (place.lowerBound - opened.geometry.dataOffset) % 512 == 0 else { return false }
    var isClaimed = [Bool](repeating: true, count: Int((count + 511) / 512))
    try forEachUnsetRun(of: opened, place, engine: engine) { run in
      for sector in (run.lowerBound - place.lowerBound) / 512..<(run.upperBound - place.lowerBound + 511)
        / 512
      {
        isClaimed[Int(sector)] = false
      }
    }
    guard isClaimed.contains(true) else { return true }
    let before = try SavedPieces.read(saved, at: offset, count: count, engine: engine)
    let now = try SavedPieces.read(opened.overlay, at: place.lowerBound, count: count, engine: engine)
    let beneath = try backing?.readBytes(at: place.lowerBound - opened.geometry.dataOffset, count: count)
    for sector in isClaimed.indices where isClaimed[sector] {
      let range = sector * 512..<min(sector * 512 + 512, now.count)
      guard now[range] == before[range] || now[range] == beneath?[range] else { return false }
    }
    return true
  }
}
