// Changing what a COW file stands on.
import BlockIO
import Linux

extension UMLCOW {
  static func rebase(
    _ file: ImageFile, backing name: String, backingFormat: ImageFormat?, unsafe: Bool,
    registry: FileRegistry, engine: any BlockEngine, progress: Progress
  ) throws(DiskImageError) -> Rebase.Outcome {
    let opened = try readCurrentHeader(file, engine: engine)
    let chain = try Chain().adding(file.identity, path: file.path)
    let new = try openNewBacking(
      name, format: backingFormat, chain: chain, opened, registry: registry, engine: engine)
    let header = try newHeader(opened, for: new, named: name)
    var copied: UInt64 = 0
    if !unsafe {
      // Of the format raw or not, the old backing image is the right one, or this fails.
      let disk = try open(
        file, options: ImageOptions(format: .umlCOW), registry: registry, engine: engine, chain: chain)
      copied = try copyDifferences(of: disk, new, progress: progress)
      try disk.close()
    }
    try replaceHeader(of: opened, by: header, engine: engine)
    return Rebase.Outcome(backing: String(decoding: header.backingPath, as: UTF8.self), copied: copied)
  }

  private static func openNewBacking(
    _ name: String, format: ImageFormat?, chain: Chain, _ opened: Opened, registry: FileRegistry,
    engine: any BlockEngine
  ) throws(DiskImageError) -> any DiskImage {
    let identity: FileIdentity
    do throws(BlockIOError) { identity = try registry.status(of: name).identity } catch { throw .file(error) }
    guard identity != opened.overlay.identity else { throw .outputIsInput(path: name) }
    // The file is open: opening it once more, down the chain, must be a loop and not a conflict of locks.
    _ = try chain.adding(identity, path: name)
    let file = try registry.openFile(name, writable: false, lock: false)
    // By the same rule by which it is opened later.
    let found: ImageFormat
    if let format {
      found = format
    } else {
      found = try self.backingFormat(of: file, size: opened.header.backingSize, engine: engine)
    }
    let image = try openImage(
      path: name, options: ImageOptions(format: found, readOnly: true), registry: registry, engine: engine,
      chain: chain)
    guard image.exactSize == opened.header.backingSize else {
      throw .unsuitable(
        path: name,
        reason:
          "has \(image.exactSize) bytes, the disk \(opened.header.backingSize): a COW file is as long as "
          + "its backing file: make a copy of the right length (ttblk image resize), and rebase to that")
    }
    return image
  }

  private static func newHeader(
    _ opened: Opened, for image: any DiskImage, named name: String
  ) throws(DiskImageError) -> Header {
    let made = try header(for: image, named: name, force: true)
    var header = opened.header
    header.backingPath = made.backingPath
    header.backingModified = made.backingModified
    return header
  }

  /// Puts every page into the file in which the backing images differ; all is on the medium then.
  private static func copyDifferences(
    of disk: Disk, _ new: any DiskImage, progress: Progress
  ) throws(DiskImageError) -> UInt64 {
    guard let old = disk.backing else { throw .closed(path: disk.path) }
    var copied: UInt64 = 0
    let quiet = Progress()
    let comparison = Comparison(old, new, progress: progress)
    try comparison.differences(unit: Int(Limits.pageSize)) { (range) throws(DiskImageError) in
      copied += try disk.copyUp(range, progress: quiet)
    }
    // The rest of a last sector counts as well.
    try disk.flush()
    return copied
  }

  static func restamp(
    _ file: ImageFile, evidence: Restamp.Evidence, registry: FileRegistry, engine: any BlockEngine,
    progress: Progress
  ) throws(DiskImageError) -> Restamp.Outcome {
    let opened = try readHeader(file, engine: engine)
    let header = opened.header
    // Its own commit changed the backing file, and goes on with the old time only.
    guard try !CommitMarker.isSet(in: opened, engine: engine) else {
      throw .commitUnfinished(path: file.path)
    }
    let (backing, status) = try openChangedBacking(opened, registry: registry, engine: engine)
    if case .original(let name) = evidence {
      // Also if the time is the right one: two changes within a second leave the same.
      let difference = try firstDifference(
        of: backing, from: name, registry: registry, engine: engine, progress: progress)
      if let difference { return .differs(at: difference) }
      // Whoever writes without a lock may have done so meanwhile.
      guard let now = try? backing.files.first?.status(), now == status else {
        throw .unsuitable(path: backing.path, reason: "changed while it was compared: stop who writes to it")
      }
    }
    let before = Int64(header.backingModified)
    if status.modified == before { return .current }
    guard let modified = UInt32(exactly: status.modified) else {
      throw .backingTimeUnrepresentable(backing: backing.path, time: status.modified)
    }
    try writeTime(modified, to: opened, engine: engine)
    return .stamped(from: before, to: status.modified)
  }

  /// Where a backing image differs first from a copy of what it was, also in its length.
  private static func firstDifference(
    of backing: any DiskImage, from name: String, registry: FileRegistry, engine: any BlockEngine,
    progress: Progress
  ) throws(DiskImageError) -> UInt64? {
    let original = try openImage(
      path: name, options: ImageOptions(format: backing.format, readOnly: true), registry: registry,
      engine: engine)
    guard original.files.first?.identity != backing.files.first?.identity else {
      throw .unsuitable(path: name, reason: "is the backing file itself: name a copy of the original")
    }
    let difference = try Comparison(backing, original, progress: progress).firstDifference()
    guard original.exactSize != backing.exactSize else { return difference }
    return min(difference ?? .max, min(original.exactSize, backing.exactSize))
  }

  /// Opens the backing file whatever its time, if it has the right length.
  private static func openChangedBacking(
    _ opened: Opened, registry: FileRegistry, engine: any BlockEngine
  ) throws(DiskImageError) -> (any DiskImage, FileStatus) {
    let path = opened.overlay.path
    let name = try backingName(of: opened.header, override: nil, path: path)
    let chain = try Chain().adding(opened.overlay.identity, path: path)
    do throws(DiskImageError) {
      let identity: FileIdentity
      do throws(BlockIOError) { identity = try registry.status(of: name).identity } catch {
        throw DiskImageError.file(error)
      }
      guard identity != opened.overlay.identity else { throw DiskImageError.backingIsItself(path: path) }
      let file = try registry.openFile(name, writable: false, lock: true, style: nil)
      let format = try backingFormat(of: file, size: opened.header.backingSize, engine: engine)
      let image = try openImage(
        path: name, options: ImageOptions(format: format, readOnly: true), registry: registry,
        engine: engine, chain: chain)
      guard image.exactSize == opened.header.backingSize else {
        throw DiskImageError.backingSizeChanged(
          path: path, backing: name, expected: opened.header.backingSize, actual: image.exactSize)
      }
      do throws(BlockIOError) { return (image, try file.status()) } catch {
        throw DiskImageError.file(error)
      }
    } catch .file(let error) {
      throw .backingUnavailable(path: path, backing: name, error)
    }
  }

  /// Writes the four bytes of the time, which lie within one sector in every version.
  private static func writeTime(
    _ time: UInt32, to opened: Opened, engine: any BlockEngine
  ) throws(DiskImageError) {
    let version = opened.header.version
    let isBig = version != .v1(bigEndian: false) && version != .v1Unpacked
    var bytes: [UInt8] = []
    bytes.append(bigEndian: isBig ? time : time.byteSwapped)
    do throws(BlockIOError) {
      try engine.write(opened.overlay, at: UInt64(Layout(version).modified), from: bytes[...])
      try engine.synchronize(opened.overlay)
    } catch { throw .file(error) }
  }
}
