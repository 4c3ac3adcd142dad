// A COW file into its backing file.
import BlockIO
import Glibc

extension UMLCOW {
  /// The steps, each of which is on the medium before the next one begins:
  ///
  /// 1. a note in the COW file that a commit is under way: from now on a changed time of the backing file is
  ///    ours, and only a commit goes on with this file (`CommitMarker`);
  /// 2. the sectors, into the backing file; doing that twice does no harm;
  /// 3. the backing file's new time, into the header: the COW file is valid again, and shows the same;
  /// 4. the bitmap is cleared: each bit may go by itself, for the backing file has the same bytes;
  /// 5. the sectors give their space back, and the note goes.
  static func commit(
    _ file: ImageFile, keepingSpace: Bool, registry: FileRegistry, engine: any BlockEngine, progress: Progress
  ) throws(DiskImageError) -> Commit.Outcome {
    let opened = try readHeader(file, engine: engine)
    try requireWritable(opened.header, path: file.path)
    try requireComplete(opened, engine: engine)
    guard CommitMarker.fits(opened.geometry) else {
      throw .unsuitable(
        path: file.path, reason: "has no room between header and bitmap: run ttblk image upgrade first")
    }
    let backing = try openBackingForWriting(of: opened, registry: registry, engine: engine)
    let wasContinued = try CommitMarker.isSet(in: opened, engine: engine)
    if !wasContinued {
      try requireMatch(opened.header, path: file.path, backing: backing.image, file: backing.file)
      // Nothing to commit: the backing file keeps its time, and other images on it stay valid.
      guard try hasSectors(opened, engine: engine) else {
        return Commit.Outcome(backing: backing.image.path, count: 0, wasContinued: false)
      }
    }
    let disk = try Disk(opened, backing: backing.image, readOnly: true, engine: engine)
    // Before the note: one that stays for nothing would excuse somebody else's change later.
    try Commit.requireNoDisguise(disk, on: backing.image)
    try CommitMarker.set(in: opened, engine: engine)
    let count = try Commit.copyOwn(disk, to: backing.image, engine: engine, progress: progress)
    let renewed = try stamp(opened, after: backing.file, engine: engine)
    try empty(renewed, keepingSpace: keepingSpace, engine: engine)
    return Commit.Outcome(backing: backing.image.path, count: count, wasContinued: wasContinued)
  }

  private static func openBackingForWriting(
    of opened: Opened, registry: FileRegistry, engine: any BlockEngine
  ) throws(DiskImageError) -> (image: any DiskImage, file: ImageFile) {
    let path = opened.overlay.path
    let name = try backingName(of: opened.header, override: nil, path: path)
    do throws(DiskImageError) {
      let file = try registry.openFile(name, writable: true, lock: true, style: nil)
      let format = try backingFormat(of: file, size: opened.header.backingSize, engine: engine)
      let image: any DiskImage
      if format == .raw {
        do throws(BlockIOError) { try file.lock(format.lockStyle) } catch { throw DiskImageError.file(error) }
        // As if its format were guessed, so that no guest can make it look like another one.
        image = RawDisk(file, readOnly: false, wasGuessed: true, engine: engine)
      } else {
        image = try openImage(
          file, options: ImageOptions(format: format), registry: registry, engine: engine, chain: Chain())
      }
      guard image.exactSize == opened.header.backingSize else {
        throw DiskImageError.backingSizeChanged(
          path: path, backing: name, expected: opened.header.backingSize, actual: image.exactSize)
      }
      return (image, file)
    } catch .file(let error) {
      throw .backingUnavailable(path: path, backing: name, error)
    }
  }

  private static func hasSectors(_ opened: Opened, engine: any BlockEngine) throws(DiskImageError) -> Bool {
    var found = false
    try scanBitmap(opened, engine: engine) { _, _ in found = true }
    return found
  }

  /// Puts the backing file's new time into the header, by a write within the first sector.
  private static func stamp(
    _ opened: Opened, after backing: ImageFile, engine: any BlockEngine
  ) throws(DiskImageError) -> Opened {
    var header = opened.header
    let modified = try renewedTime(of: backing, besides: Int64(header.backingModified))
    guard let time = UInt32(exactly: modified) else {
      throw .backingTimeUnrepresentable(backing: backing.path, time: modified)
    }
    header.backingModified = time
    do throws(BlockIOError) {
      try engine.write(opened.overlay, at: 0, from: header.encoded()[..<512])
      try engine.synchronize(opened.overlay)
    } catch { throw .file(error) }
    return Opened(header: header, geometry: opened.geometry, overlay: opened.overlay)
  }

  /// The time of a file's last change; another one than before even when all happened within a second, so
  /// that the note in the COW file holds no longer.
  private static func renewedTime(of file: ImageFile, besides before: Int64) throws(DiskImageError) -> Int64 {
    do throws(BlockIOError) {
      let modified = try file.status().modified
      guard modified == before else { return modified }
      try file.setModified(before + 1)
      return before + 1
    } catch { throw .file(error) }
  }

  private static func empty(
    _ opened: Opened, keepingSpace: Bool, engine: any BlockEngine
  ) throws(DiskImageError) {
    let geometry = opened.geometry
    let file = opened.overlay
    do throws(BlockIOError) {
      let bitmap = geometry.bitmapOffset..<geometry.bitmapOffset + geometry.bitmapCount
      try engine.zero(file, bitmap, unmap: true)
      try engine.synchronize(file)
      if !keepingSpace {
        try engine.zero(file, geometry.dataOffset..<geometry.dataOffset + geometry.diskSize, unmap: true)
      }
    } catch { throw .file(error) }
    try CommitMarker.clear(in: opened, engine: engine)
  }
}
