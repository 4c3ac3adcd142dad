// Everything that is checked before a COW file is used.
import BlockIO
import Linux

extension UMLCOW {
  /// A header and the file that it was read from.
  struct Opened {
    let header: Header
    let geometry: Geometry
    let overlay: ImageFile
  }

  static func open(
    _ file: ImageFile, options: ImageOptions, registry: FileRegistry, engine: any BlockEngine
  ) throws(DiskImageError) -> Disk {
    let opened = try readHeader(file, engine: engine)
    let header = opened.header
    if !options.readOnly { try requireWritable(header, path: file.path) }
    try requireComplete(opened, engine: engine)
    let backing = try openBacking(
      of: opened, override: options.backing, lock: options.lock, registry: registry, engine: engine)
    do throws(LinuxError) {
      return try Disk(
        header: header, geometry: opened.geometry, overlay: file, backing: backing,
        readOnly: options.readOnly,
        engine: engine)
    } catch { throw .system(error) }
  }

  static func readHeader(_ file: ImageFile, engine: any BlockEngine) throws(DiskImageError) -> Opened {
    let count = min(file.size, UInt64(Header.byteCountMax))
    var bytes = [UInt8](repeating: 0, count: Int(count))
    do throws(BlockIOError) { try engine.read(file, at: 0, into: &bytes) } catch { throw .file(error) }
    do throws(HeaderDefect) {
      let header = try Header(parsing: bytes.span.bytes)
      return Opened(header: header, geometry: try header.geometry(), overlay: file)
    } catch { throw .invalidHeader(path: file.path, error) }
  }

  /// Old versions lack bits, or keep them where the next UML does not look; other sector sizes are read in
  /// two ways by UML and uml_moo.
  private static func requireWritable(_ header: Header, path: String) throws(DiskImageError) {
    guard header.version == .v3 else {
      throw .readOnlyFormat(path: path, version: header.version.description)
    }
    guard header.sectorSize == 512 else {
      throw .readOnlyFormat(path: path, version: "3 with sectors of \(header.sectorSize) bytes")
    }
  }

  /// The bitmap is all there, and so is the data of every sector that it claims.
  static func requireComplete(_ opened: Opened, engine: any BlockEngine) throws(DiskImageError) {
    let geometry = opened.geometry
    let file = opened.overlay
    let bitmapEnd = geometry.bitmapOffset + geometry.bitmapCount
    guard file.size >= bitmapEnd else {
      throw .truncated(path: file.path, size: file.size, needed: bitmapEnd)
    }
    let dataEnd = geometry.dataOffset + opened.header.backingSize
    guard file.size < dataEnd else { return }
    // UML makes the file as long as its data from the start. A shorter one is fine if nothing is missing.
    let firstMissing =
      file.size > geometry.dataOffset ? (file.size - geometry.dataOffset) / geometry.sectorSize : 0
    var isMissing = false
    try scanBitmap(opened, engine: engine) { first, byte in
      for bit in UInt64(0)..<8 where byte >> bit & 1 == 1 && first + bit >= firstMissing { isMissing = true }
    }
    if isMissing { throw .truncated(path: file.path, size: file.size, needed: dataEnd) }
  }

  /// Opens the backing file and checks that it is the one that the COW file was made for.
  static func openBacking(
    of opened: Opened, override: String?, lock: Bool, registry: FileRegistry, engine: any BlockEngine
  ) throws(DiskImageError) -> ImageFile {
    let path = opened.overlay.path
    let name = try backingName(of: opened.header, override: override, path: path)
    let backing: ImageFile
    let isItself: Bool
    do throws(BlockIOError) {
      isItself = try registry.status(of: name).identity == opened.overlay.identity
      // The COW file cannot be opened a second time, and that reason would mislead.
      backing = isItself ? opened.overlay : try registry.open(name, writable: false, lock: lock)
    } catch { throw .backingUnavailable(path: path, backing: name, error) }
    guard !isItself else { throw .backingIsItself(path: path) }
    try requireMatch(opened.header, path: path, backing: backing)
    try requireNoOverlay(backing, engine: engine)
    return backing
  }

  /// UML's check: first the length, then the time of the last change, to the second.
  static func requireMatch(_ header: Header, path: String, backing: ImageFile) throws(DiskImageError) {
    let status: FileStatus
    do throws(BlockIOError) { status = try backing.status() } catch { throw .file(error) }
    guard status.size == header.backingSize else {
      throw .backingSizeChanged(
        path: path, backing: backing.path, expected: header.backingSize, actual: status.size)
    }
    guard status.modified == Int64(header.backingModified) else {
      throw .backingModified(
        path: path, backing: backing.path, expected: Int64(header.backingModified), actual: status.modified)
    }
  }

  /// UML reads every backing file as raw data; a chain of COW files would show the guest a header.
  static func requireNoOverlay(_ backing: ImageFile, engine: any BlockEngine) throws(DiskImageError) {
    var bytes = [UInt8](repeating: 0, count: Probe.byteCount)
    do throws(BlockIOError) { try engine.read(backing, at: 0, into: &bytes) } catch { throw .file(error) }
    guard !Header.looksLikeOne(bytes) else { throw .backingIsOverlay(backing: backing.path) }
  }

  static func backingName(
    of header: Header, override: String?, path: String
  ) throws(DiskImageError) -> String {
    if let override { return override }
    guard let name = String(validating: header.backingPath, as: UTF8.self) else {
      throw .invalidHeader(path: path, .pathIsNoText)
    }
    return name
  }
}
