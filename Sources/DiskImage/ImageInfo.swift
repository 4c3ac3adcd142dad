// What can be said about an image without using it.
package import BlockIO

/// A description of a disk image; of a COW file also when its backing file is missing or does not match.
package struct ImageInfo: Equatable, Sendable {
  /// As it was given.
  package let path: String
  /// As it was named, or guessed.
  package let format: ImageFormat
  /// Length of the disk in bytes.
  package let virtualSize: UInt64
  /// Length of the file in bytes.
  package let fileSize: UInt64
  /// Bytes that the file occupies.
  package let fileAllocated: UInt64
  /// The file and those beneath it, from the top; those that cannot be opened are missing.
  package let chain: [Link]
  /// Nil for other formats.
  package private(set) var cow: COW?
  /// Nil for other formats.
  package private(set) var qcow2: QCOW2Details?

  /// A file of the chain.
  package struct Link: Equatable, Sendable {
    /// As it was found.
    package let path: String
    /// How it is read.
    package let format: ImageFormat
  }

  /// What is known of a COW file.
  package struct COW: Equatable, Sendable {
    /// `3`, or what it is instead.
    package let version: String
    /// Whether the format allows writing; not whether the file does.
    package let isWritable: Bool
    /// What a bit of the bitmap stands for, in bytes.
    package let sectorSize: UInt32
    /// What bitmap and data are aligned to, in bytes.
    package let alignment: UInt32
    /// Where the bitmap is in the file.
    package let bitmapOffset: UInt64
    /// How long the bitmap is.
    package let bitmapBytes: UInt64
    /// Where the data is in the file.
    package let dataOffset: UInt64
    /// Bytes of the disk that are in this file, by its bitmap.
    package let allocated: UInt64
    /// Pages of 4096 bytes that are in this file only in part: UML 6.1 to 6.12 misreads around them.
    package let mixedPages: UInt64
    /// As the header has it; not UTF-8 is repaired.
    package let backingPath: String
    /// The length that the backing file must have.
    package let backingSize: UInt64
    /// The time of change that the backing file must have, in seconds since 1970.
    package let backingModified: Int64
    /// Of the file as it is now; nil when there is none.
    package let actualBackingSize: UInt64?
    /// In seconds since 1970; nil when there is no such file.
    package let actualBackingModified: Int64?
    /// Why the disk cannot be opened, with the remedy; nil when it can.
    package let problem: String?
    /// What deserves attention though the disk can be opened.
    package internal(set) var warnings: [String]
  }

  /// Looks at an image; takes no lock and changes nothing.
  /// - Throws: when it cannot be read, or its header makes no sense.
  package init(
    path: String, options: ImageOptions = ImageOptions(), registry: FileRegistry,
    engine: any BlockEngine = SynchronousEngine()
  ) throws(DiskImageError) {
    let file = try registry.openFile(path, writable: false, lock: false)
    let status: FileStatus
    do throws(BlockIOError) { status = try file.status() } catch { throw .file(error) }
    let format: ImageFormat
    if let named = options.format {
      format = named
    } else {
      format = try Probe.format(of: file, engine: engine)
    }
    self.path = path
    self.format = format
    fileSize = status.size
    fileAllocated = status.allocated
    chain = ImageInfo.chain(path, format, options, registry, engine)
    switch format {
    case .raw:
      virtualSize = status.size.roundedUp(to: Limits.sectorSize) ?? status.size
      cow = nil
      qcow2 = nil
    case .qcow2:
      let header = try QCOW2.readHeader(file, engine: engine)
      virtualSize = header.size.roundedUp(to: Limits.sectorSize) ?? header.size
      cow = nil
      qcow2 = try QCOW2Details(header, file, options: options, registry: registry, engine: engine)
    case .umlCOW:
      let opened = try UMLCOW.readHeader(file, engine: engine)
      virtualSize = opened.geometry.diskSize
      cow = try COW(opened, override: options.backing, registry: registry, engine: engine)
      qcow2 = nil
    }
    let notices = try JournalRecovery.run(file, format: format, mayWrite: false, engine: engine)
    cow?.warnings += notices
    qcow2?.warnings += notices
  }
}

extension ImageInfo {
  /// Why the disk cannot be opened, with the remedy; nil when it can.
  package var problem: String? { cow?.problem ?? qcow2?.problem }

  private static func chain(
    _ path: String, _ format: ImageFormat, _ options: ImageOptions, _ registry: FileRegistry,
    _ engine: any BlockEngine
  ) -> [Link] {
    var options = options
    options.format = format
    options.readOnly = true
    options.lock = false
    var links: [Link] = []
    var image = try? openImage(path: path, options: options, registry: registry, engine: engine)
    while let one = image {
      links.append(Link(path: one.path, format: one.format))
      image = one.backing
    }
    return links.isEmpty ? [Link(path: path, format: format)] : links
  }
}

extension ImageInfo.COW {
  init(
    _ opened: UMLCOW.Opened, override: String?, registry: FileRegistry, engine: any BlockEngine
  ) throws(DiskImageError) {
    let header = opened.header
    let geometry = opened.geometry
    version = header.version.description
    isWritable = header.version == .v3 && header.sectorSize == 512
    sectorSize = header.sectorSize
    alignment = header.alignment
    bitmapOffset = geometry.bitmapOffset
    bitmapBytes = geometry.bitmapCount
    dataOffset = geometry.dataOffset
    backingPath = String(decoding: header.backingPath, as: UTF8.self)
    backingSize = header.backingSize
    backingModified = Int64(header.backingModified)

    var sectors: UInt64 = 0
    var mixed: UInt64 = 0
    try UMLCOW.scanBitmap(opened, engine: engine) { first, byte in
      sectors += UInt64(byte.nonzeroBitCount)
      if byte != UMLCOW.validBits(first, geometry) { mixed += 1 }
    }
    allocated = min(sectors * geometry.sectorSize, geometry.diskSize)
    mixedPages = header.sectorSize == 512 ? mixed : 0

    let name = try UMLCOW.backingName(of: header, override: override, path: opened.overlay.path)
    let status = try? registry.status(of: name)
    // A reference does not know the size of a block device; whoever opens it does.
    let backing = try? registry.open(name, writable: false, lock: false)
    actualBackingSize = backing?.size ?? status?.size
    actualBackingModified = status?.modified
    var problem: String?
    var warnings: [String] = []
    do throws(DiskImageError) {
      try UMLCOW.requireComplete(opened, engine: engine)
      let image = try UMLCOW.openBacking(
        of: opened, override: override, lock: false, registry: registry, engine: engine, chain: Chain())
      warnings += try UMLCOW.backingWarnings(of: opened, image, engine: engine) + image.warnings
    } catch { problem = error.description }
    self.problem = problem

    if mixedPages > 0 {
      warnings.append("\(mixedPages) pages are in the file only in part: UML's own ubd misreads around them")
    }
    if !isWritable { warnings.append("version \(version): it can be opened read-only") }
    if geometry.bitmapCount * 8 * geometry.sectorSize < header.backingSize {
      warnings.append("the last sectors have no bit: they were never saved")
    }
    if header.backingSize > Limits.umlMooSizeMax {
      warnings.append("larger than 2 TiB: uml_moo truncates it")
    }
    if header.backingSize <= Limits.umlBackingSizeMin {
      warnings.append(
        "the disk has at most \(Limits.umlBackingSizeMin) bytes: UML's ubd dies of a write to it")
    }
    self.warnings = warnings
  }
}
