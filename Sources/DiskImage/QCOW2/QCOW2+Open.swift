// Everything that is checked before a qcow2 file is used.
import BlockIO
import Linux

extension QCOW2 {
  static func open(
    _ file: ImageFile, options: ImageOptions, registry: FileRegistry, engine: any BlockEngine, chain: Chain,
    notices: [String] = []
  ) throws(DiskImageError) -> Disk {
    let header = try readHeader(file, engine: engine)
    let snapshots = try readSnapshots(header, of: file, engine: engine)
    let readOnly = options.readOnly || options.snapshot != nil
    if !readOnly { try requireWritable(header, path: file.path) }
    let snapshot: Snapshot? =
      if let name = options.snapshot { try find(name, in: snapshots, path: file.path) } else { nil }
    if let snapshot { try requireUsable(snapshot, header, path: file.path) }
    let backing = try openBacking(
      of: header, file, options: options, registry: registry, engine: engine, chain: chain)
    let data = try openDataFile(of: header, file, options: options, registry: registry)
    let opened = Opened(
      header: header, snapshots: snapshots, snapshot: snapshot, file: file, data: data, backing: backing)
    do throws(LinuxError) {
      return try Disk(
        opened, readOnly: readOnly, notices: notices, journal: options.journal, registry: registry,
        engine: engine)
    } catch { throw .system(error) }
  }

  /// What a disk is made of.
  struct Opened {
    let header: Header
    let snapshots: [Snapshot]
    /// What is shown; nil shows the disk as it is now.
    let snapshot: Snapshot?
    let file: ImageFile
    let data: ImageFile?
    let backing: (any DiskImage)?
  }

  static func readHeader(_ file: ImageFile, engine: any BlockEngine) throws(DiskImageError) -> Header {
    let size = try status(file).size
    var bytes = [UInt8](repeating: 0, count: Int(min(size, 512)))
    do throws(BlockIOError) { try engine.read(file, at: 0, into: &bytes) } catch { throw .file(error) }
    // Extensions and the backing path may be anywhere in the first cluster.
    if bytes.count >= 24 {
      let bits = bytes.span.bytes.u32(20)
      if (Limits.qcow2ClusterBitsMin...Limits.qcow2ClusterBitsMax).contains(bits), bits > 9 {
        bytes = [UInt8](repeating: 0, count: Int(min(size, 1 << UInt64(bits))))
        do throws(BlockIOError) { try engine.read(file, at: 0, into: &bytes) } catch { throw .file(error) }
      }
    }
    do throws(Defect) { return try Header(parsing: bytes.span.bytes) } catch {
      throw .qcow2(path: file.path, error)
    }
  }

  /// What we do not keep in order when writing is refused.
  static func requireWritable(_ header: Header, path: String) throws(DiskImageError) {
    let defect: Defect? =
      if header.incompatible & Incompatible.corrupt != 0 {
        .corrupt
      } else if header.incompatible & Incompatible.dirty != 0 {
        .dirty
      } else if header.version == 2 {
        .oldVersion
      } else if header.isExtendedL2 {
        .notWritable("subclusters (extended L2 entries)")
      } else if header.hasDataFile {
        .notWritable("an external data file")
      } else {
        nil
      }
    if let defect { throw .qcow2(path: path, defect) }
  }

  private static func requireUsable(
    _ snapshot: Snapshot, _ header: Header, path: String
  ) throws(DiskImageError) {
    let bytes = UInt64(snapshot.l1Size) * 8
    guard bytes <= Limits.qcow2L1BytesMax, snapshot.l1Size == 0 || header.isTable(snapshot.l1Offset, bytes),
      snapshot.size <= UInt64(Int64.max) - 2 * header.clusterSize,
      header.l1EntriesNeeded(for: snapshot.size) <= UInt64(snapshot.l1Size)
    else { throw .qcow2(path: path, .snapshotUnreadable(snapshot.name)) }
  }

  // MARK: what it stands on

  private static func openBacking(
    of header: Header, _ file: ImageFile, options: ImageOptions, registry: FileRegistry,
    engine: any BlockEngine, chain: Chain
  ) throws(DiskImageError) -> (any DiskImage)? {
    guard let name = try backingName(of: header, override: options.backing, path: file.path) else {
      return nil
    }
    let path = file.path
    let identity: FileIdentity
    do throws(BlockIOError) { identity = try registry.status(of: name).identity } catch {
      throw .backingUnavailable(path: path, backing: name, error)
    }
    guard identity != file.identity else { throw .backingIsItself(path: path) }
    _ = try chain.adding(identity, path: name)
    do throws(DiskImageError) {
      let format = try backingFormat(of: header, name, file, options, registry, engine)
      return try openImage(
        path: name,
        options: ImageOptions(format: format, readOnly: !options.writesBacking, lock: options.lock),
        registry: registry, engine: engine, chain: chain, lockStyle: .qemu)
    } catch .file(let error) {
      throw .backingUnavailable(path: path, backing: name, error)
    }
  }

  /// The path of the backing file, seen from here; nil when there is none.
  static func backingName(
    of header: Header, override: String?, path: String
  ) throws(DiskImageError) -> String? {
    guard !header.backingPath.isEmpty else { return nil }
    if let override { return override }
    guard let name = String(validating: header.backingPath, as: UTF8.self), !name.utf8.contains(0) else {
      throw .qcow2(path: path, .backingPathNoText)
    }
    // QEMU takes what is before the first colon for a protocol, unless a slash comes first.
    if let colon = name.firstIndex(of: ":"), !name[..<colon].contains("/") {
      guard name.hasPrefix("file:") else { throw .qcow2(path: path, .backingProtocol(printable(name))) }
      return resolve(String(name.dropFirst(5)), directoryName(path))
    }
    return resolve(name, directoryName(path))
  }

  /// The recorded format. Where none is, only raw is accepted, and only if the file looks like nothing else:
  /// whoever can write to a raw disk could choose the next file to be opened.
  static func backingFormat(
    of header: Header, _ name: String, _ file: ImageFile, _ options: ImageOptions, _ registry: FileRegistry,
    _ engine: any BlockEngine
  ) throws(DiskImageError) -> ImageFormat {
    if let recorded = header.text(of: ExtensionType.backingFormat), !recorded.isEmpty {
      guard let format = ImageFormat(rawValue: recorded) else {
        throw .qcow2(path: file.path, .backingFormat(recorded))
      }
      return format
    }
    let backing = try registry.openFile(name, writable: false, lock: options.lock, style: nil)
    if let looks = try Probe.otherFormat(of: backing, engine: engine) {
      throw .qcow2(path: file.path, .backingFormatMissing(backing: name, looks: looks))
    }
    return .raw
  }

  private static func openDataFile(
    of header: Header, _ file: ImageFile, options: ImageOptions, registry: FileRegistry
  ) throws(DiskImageError) -> ImageFile? {
    guard header.hasDataFile else { return nil }
    guard let name = header.text(of: ExtensionType.dataFile), !name.isEmpty, !name.utf8.contains(0) else {
      throw .qcow2(path: file.path, .dataFileMissing)
    }
    let path = resolve(name, directoryName(file.path))
    do throws(BlockIOError) {
      let data = try registry.open(path, writable: false, lock: options.lock, style: .qemu)
      guard data.identity != file.identity else { throw .inUse(path: path, writable: false) }
      return data
    } catch { throw .backingUnavailable(path: file.path, backing: path, error) }
  }

  /// What somebody who uses the disk ought to know.
  static func warnings(_ opened: Opened, readOnly: Bool) -> [String] {
    let path = opened.file.path
    var warnings: [String] = []
    if opened.header.incompatible & Incompatible.corrupt != 0 {
      warnings.append("'\(path)' is marked as corrupt: what it shows may be wrong (ttblk image check)")
    }
    if opened.header.incompatible & Incompatible.dirty != 0 {
      warnings.append("'\(path)' was not closed properly: ttblk image repair puts its reference counts right")
    }
    if !readOnly, opened.header.autoclear & Autoclear.bitmaps != 0,
      opened.header.extensions.contains(where: { $0.type == ExtensionType.bitmaps })
    {
      warnings.append(
        "'\(path)' has dirty bitmaps: they are not kept up to date, and the first write voids them")
    }
    return warnings + (opened.backing?.warnings ?? [])
  }
}
