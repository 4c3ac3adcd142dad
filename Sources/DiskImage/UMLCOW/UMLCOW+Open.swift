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
    _ file: ImageFile, options: ImageOptions, registry: FileRegistry, engine: any BlockEngine, chain: Chain,
    notices: [String] = []
  ) throws(DiskImageError) -> Disk {
    let opened = try readHeader(file, engine: engine)
    let header = opened.header
    if !options.readOnly { try requireWritable(header, path: file.path) }
    try requireComplete(opened, engine: engine)
    let backing = try openBacking(
      of: opened, override: options.backing, lock: options.lock, registry: registry, engine: engine,
      chain: chain)
    let warnings = try backingWarnings(of: opened, backing, engine: engine)
    return try Disk(
      opened, backing: backing, readOnly: options.readOnly, warnings: notices + warnings,
      journal: options.journal, engine: engine)
  }

  /// What UML's own driver sees otherwise than we do, or otherwise than whoever made the file may have meant.
  static func backingWarnings(
    of opened: Opened, _ backing: any DiskImage, engine: any BlockEngine
  ) throws(DiskImageError) -> [String] {
    let path = opened.overlay.path
    guard backing.format == .raw else {
      return [
        "the backing file '\(backing.path)' of '\(path)' is \(backing.formatName): "
          + "ttblk follows it, UML's own ubd would take it for raw data"
      ]
    }
    guard let file = backing.files.first, let looks = try Probe.otherFormat(of: file, engine: engine) else {
      return []
    }
    return [
      "the backing file '\(backing.path)' looks like \(looks), but '\(path)' was made for its raw bytes: "
        + "if that was not meant, make it again"
    ]
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
  static func requireWritable(_ header: Header, path: String) throws(DiskImageError) {
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

  /// Opens the backing image and checks that it is the one that the COW file was made for.
  static func openBacking(
    of opened: Opened, override: String?, lock: Bool, registry: FileRegistry, engine: any BlockEngine,
    chain: Chain
  ) throws(DiskImageError) -> any DiskImage {
    let path = opened.overlay.path
    let name = try backingName(of: opened.header, override: override, path: path)
    let identity: FileIdentity
    do throws(BlockIOError) { identity = try registry.status(of: name).identity } catch {
      throw .backingUnavailable(path: path, backing: name, error)
    }
    // A file of the chain cannot be opened a second time, and that reason would mislead.
    guard identity != opened.overlay.identity else { throw .backingIsItself(path: path) }
    _ = try chain.adding(identity, path: name)
    let file: ImageFile
    let backing: any DiskImage
    do throws(DiskImageError) {
      file = try registry.openFile(name, writable: false, lock: lock, style: nil)
      let format = try backingFormat(of: file, size: opened.header.backingSize, engine: engine)
      backing = try openImage(
        path: name, options: ImageOptions(format: format, readOnly: true, lock: lock), registry: registry,
        engine: engine, chain: chain)
    } catch .file(let error) {
      throw .backingUnavailable(path: path, backing: name, error)
    }
    do throws(DiskImageError) {
      try requireMatch(opened.header, path: path, backing: backing, file: file)
    } catch {
      if case .backingModified = error, try CommitMarker.isSet(in: opened, engine: engine) {
        throw .commitUnfinished(path: path)
      }
      throw error
    }
    return backing
  }

  /// The format of a backing file: raw, as UML takes it, if it is as long as the disk; else what it looks
  /// like.
  ///
  /// So nobody who writes another format's first bytes into a raw disk gets that format followed.
  static func backingFormat(
    of file: ImageFile, size: UInt64, engine: any BlockEngine
  ) throws(DiskImageError) -> ImageFormat {
    file.size == size ? .raw : try Probe.format(of: file, engine: engine)
  }

  /// UML's check: first the length, then the time of the last change, to the second.
  static func requireMatch(
    _ header: Header, path: String, backing: any DiskImage, file: ImageFile
  ) throws(DiskImageError) {
    guard backing.exactSize == header.backingSize else {
      throw .backingSizeChanged(
        path: path, backing: backing.path, expected: header.backingSize, actual: backing.exactSize)
    }
    let status: FileStatus
    do throws(BlockIOError) { status = try file.status() } catch { throw .file(error) }
    guard status.modified == Int64(header.backingModified) else {
      throw .backingModified(
        path: path, backing: backing.path, expected: Int64(header.backingModified), actual: status.modified)
    }
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
