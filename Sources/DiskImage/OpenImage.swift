// From a path to a disk.
package import BlockIO

/// How to open a disk image.
package struct ImageOptions: Sendable {
  /// The format, where it is known; nil guesses, which a guest that writes a raw disk's first bytes can
  /// mislead.
  package var format: ImageFormat?
  /// Whether the disk refuses writes; its files are then opened for reading.
  package var readOnly: Bool
  /// Whether to take UML's locks; without, several processes may share the disk (ubd's flag `c`).
  package var lock: Bool
  /// A backing file to use in place of the one that the header names; it must pass the same checks.
  package var backing: String?
  /// An internal snapshot to show, by id or name, read-only; qcow2 only.
  package var snapshot: String?
  /// Where changes are kept that are not flushed, so that they outlive this process; nil keeps them in its
  /// memory. For disks in real time, which somebody serves.
  package var journal: JournalOptions?
  /// Whether the backing image is opened for writing, too: for those who write to it.
  var writesBacking = false

  /// Options with these values; the defaults guess, write and lock.
  package init(
    format: ImageFormat? = nil, readOnly: Bool = false, lock: Bool = true, backing: String? = nil,
    snapshot: String? = nil, journal: JournalOptions? = nil
  ) {
    self.format = format
    self.readOnly = readOnly
    self.lock = lock
    self.backing = backing
    self.snapshot = snapshot
    self.journal = journal
  }
}

/// Opens the disk that a file holds, with the images beneath it.
/// - Parameter engine: moves the bytes; the disk is used on the engine's thread.
package func openImage(
  path: String, options: ImageOptions = ImageOptions(), registry: FileRegistry,
  engine: any BlockEngine = SynchronousEngine()
) throws(DiskImageError) -> any DiskImage {
  try openImage(path: path, options: options, registry: registry, engine: engine, chain: Chain())
}

/// - Parameter lockStyle: nil takes the format's own; what QEMU reads, too, has QEMU's, whatever its format.
func openImage(
  path: String, options: ImageOptions, registry: FileRegistry, engine: any BlockEngine, chain: Chain,
  lockStyle: LockStyle? = nil
) throws(DiskImageError) -> any DiskImage {
  // Whose lock it takes depends on the format.
  let writable = !options.readOnly && options.snapshot == nil
  let file = try registry.openFile(path, writable: writable, lock: options.lock, style: nil)
  return try openImage(
    file, options: options, registry: registry, engine: engine, chain: chain, lockStyle: lockStyle)
}

/// As `openImage(path:)`, of a file that is open and has no lock yet.
func openImage(
  _ file: ImageFile, options: ImageOptions, registry: FileRegistry, engine: any BlockEngine, chain: Chain,
  lockStyle: LockStyle? = nil
) throws(DiskImageError) -> any DiskImage {
  let chain = try chain.adding(file.identity, path: file.path)
  let format: ImageFormat
  if let named = options.format {
    format = named
  } else {
    format = try Probe.format(of: file, engine: engine)
  }
  if options.lock {
    do throws(BlockIOError) { try file.lock(lockStyle ?? format.lockStyle) } catch { throw .file(error) }
  }
  if let snapshot = options.snapshot, format != .qcow2 {
    throw .qcow2(path: file.path, .snapshotUnknown(snapshot))
  }
  let mayWrite = !options.readOnly && options.snapshot == nil && !file.isReadOnly
  let notices = try JournalRecovery.run(file, format: format, mayWrite: mayWrite, engine: engine)
  switch format {
  case .raw:
    return RawDisk(file, readOnly: options.readOnly, wasGuessed: options.format == nil, engine: engine)
  case .umlCOW:
    return try UMLCOW.open(
      file, options: options, registry: registry, engine: engine, chain: chain, notices: notices)
  case .qcow2:
    return try QCOW2.open(
      file, options: options, registry: registry, engine: engine, chain: chain, notices: notices)
  }
}

extension ImageFormat {
  /// Whose locks files of this format have: UML knows nothing of byte ranges, QEMU little of whole files.
  package var lockStyle: LockStyle {
    switch self {
    case .raw, .umlCOW: .uml
    case .qcow2: .qemu
    }
  }
}

extension FileRegistry {
  /// `open`, with this module's error.
  func openFile(
    _ path: String, writable: Bool, lock: Bool, style: LockStyle? = .uml
  ) throws(DiskImageError) -> ImageFile {
    do throws(BlockIOError) {
      return try open(path, writable: writable, lock: lock, style: style)
    } catch { throw .file(error) }
  }
}
