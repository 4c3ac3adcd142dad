// Everything that can be wrong with a COW file.
import BlockIO

extension UMLCOW {
  /// All that is not as it should be; a file that is no COW file has a single finding.
  static func check(
    _ file: ImageFile, options: ImageOptions, registry: FileRegistry, engine: any BlockEngine,
    progress: Progress
  ) throws(DiskImageError) -> [Finding] {
    let opened: Opened
    do throws(DiskImageError) { opened = try readHeader(file, engine: engine) } catch {
      guard case .invalidHeader(_, let defect) = error else { throw error }
      return [Finding(.header, .damage, "no usable header: \(defect): restore the file from a copy")]
    }
    let geometry = opened.geometry
    try progress.begin("checking", total: geometry.diskSize)
    var findings = checkVersion(opened)
    let length = try currentLength(of: file)
    guard length >= geometry.bitmapOffset + geometry.bitmapCount else {
      let end = geometry.bitmapOffset + geometry.bitmapCount
      findings.append(
        Finding(
          .truncated, .damage,
          "the file ends after \(length) bytes, within its bitmap (up to \(end)): "
            + "restore it from a copy"))
      return findings
    }
    findings += try checkBits(opened, engine: engine)
    findings += try checkPadding(opened, engine: engine)
    try progress.advance(by: geometry.diskSize / 2)
    findings += try checkLeaks(opened, engine: engine)
    try progress.advance(by: geometry.diskSize - geometry.diskSize / 2)
    findings += try checkBacking(opened, options: options, registry: registry, engine: engine)
    return findings
  }

  private static func checkVersion(_ opened: Opened) -> [Finding] {
    var findings: [Finding] = []
    let header = opened.header
    let upgrade = "(remedy: ttblk image upgrade)"
    if header.version != .v3 {
      findings.append(Finding(.version, .note, "version \(header.version) is only read \(upgrade)"))
    } else if header.sectorSize != 512 {
      findings.append(
        Finding(
          .version, .warning,
          "sectors of \(header.sectorSize) bytes: UML's ubd takes each bit for 512 bytes \(upgrade)"))
    }
    let geometry = opened.geometry
    if geometry.bitmapCount * 8 * geometry.sectorSize < header.backingSize {
      findings.append(
        Finding(
          .version, .warning, "the last sectors have no bit: what was written to them is lost \(upgrade)"))
    }
    if header.backingSize <= Limits.umlBackingSizeMin {
      findings.append(
        Finding(
          .size, .warning,
          "the disk has at most \(Limits.umlBackingSizeMin) bytes: UML's ubd dies of the first write"))
    }
    if header.backingSize > Limits.umlMooSizeMax {
      findings.append(Finding(.size, .note, "the disk is larger than 2 TiB: uml_moo truncates it"))
    }
    return findings
  }

  /// Bits of sectors that are not in the file, of sectors that do not exist, and of parts of pages.
  private static func checkBits(
    _ opened: Opened, engine: any BlockEngine
  ) throws(DiskImageError) -> [Finding] {
    let geometry = opened.geometry
    let size = geometry.sectorSize
    let length = try currentLength(of: opened.overlay)
    let missing = firstMissingSector(opened, length: length)
    var (lost, mixed) = (Places(), Places())
    try scanBitmap(opened, engine: engine) { first, byte in
      if size == 512, byte != validBits(first, geometry) {
        let start = first * size
        mixed.add(start..<min(start + Limits.pageSize, geometry.diskSize))
      }
      guard let missing, first + 8 > missing else { return }
      for bit in UInt64(0)..<8 where byte >> bit & 1 == 1 && first + bit >= missing {
        lost.add((first + bit) * size..<min((first + bit + 1) * size, geometry.diskSize))
      }
    }
    var findings: [Finding] = []
    if missing != nil {
      let needed = geometry.dataOffset + opened.header.backingSize
      if lost.count > 0 {
        findings.append(
          Finding(
            .truncated, .damage,
            "the file has \(length) bytes and needs \(needed): "
              + "\(lost.count) bytes of the disk are missing: restore it from a copy", lost))
      } else {
        findings.append(
          Finding(
            .short, .warning,
            "the file has \(length) bytes instead of \(needed); nothing is "
              + "missing (remedy: ttblk image repair)"))
      }
    } else if length > geometry.dataOffset + geometry.diskSize {
      var excess = Places()
      excess.add(geometry.dataOffset + geometry.diskSize..<length)
      findings.append(Finding(.excess, .note, "\(excess.count) bytes follow the end of the data", excess))
    }
    if try strayBits(opened, engine: engine) != 0 {
      var places = Places()
      places.add(lastBitmapByte(geometry)..<lastBitmapByte(geometry) + 1)
      findings.append(
        Finding(
          .strayBits, .damage,
          "the bitmap has bits of sectors that do not exist (remedy: ttblk image repair)", places))
    }
    if mixed.count > 0 {
      findings.append(
        Finding(
          .mixedPages, .warning,
          "\(mixed.count.roundedUp(to: 4096).map { $0 / 4096 } ?? 0) pages are in the file only in part: "
            + "UML's own ubd misreads around them (remedy: ttblk image repair --mixed-pages)", mixed))
    }
    return findings
  }

  /// The first sector whose slot is not wholly in the file; nil if all are.
  static func firstMissingSector(_ opened: Opened, length size: UInt64) -> UInt64? {
    let geometry = opened.geometry
    // The slot of a last sector that the backing file has only a part of may end with that part.
    guard size < geometry.dataOffset + opened.header.backingSize else { return nil }
    return size > geometry.dataOffset ? (size - geometry.dataOffset) / geometry.sectorSize : 0
  }

  /// A repair may have made it longer since it was opened.
  static func currentLength(of file: ImageFile) throws(DiskImageError) -> UInt64 {
    do throws(BlockIOError) { return try file.status().size } catch { throw .file(error) }
  }

  private static func lastBitmapByte(_ geometry: Geometry) -> UInt64 {
    geometry.bitmapOffset + geometry.bitmapCount - 1
  }

  /// The bits of the last byte that stand for no sector.
  private static func strayBits(_ opened: Opened, engine: any BlockEngine) throws(DiskImageError) -> UInt8 {
    let geometry = opened.geometry
    guard geometry.bitmapCount > 0 else { return 0 }
    var byte: [UInt8] = [0]
    do throws(BlockIOError) {
      try engine.read(opened.overlay, at: lastBitmapByte(geometry), into: &byte)
    } catch { throw .file(error) }
    return byte[0] & ~validBits((geometry.bitmapCount - 1) * 8, geometry)
  }

  /// Clears the bits of the last byte that stand for no sector, by a write of that byte.
  static func clearStrayBits(_ opened: Opened, engine: any BlockEngine) throws(DiskImageError) {
    let geometry = opened.geometry
    guard try strayBits(opened, engine: engine) != 0 else { return }
    var byte: [UInt8] = [0]
    do throws(BlockIOError) {
      try engine.read(opened.overlay, at: lastBitmapByte(geometry), into: &byte)
      byte[0] &= validBits((geometry.bitmapCount - 1) * 8, geometry)
      try engine.write(opened.overlay, at: lastBitmapByte(geometry), from: byte[...])
      try engine.synchronize(opened.overlay)
    } catch { throw .file(error) }
  }

  private static func checkPadding(
    _ opened: Opened, engine: any BlockEngine
  ) throws(DiskImageError) -> [Finding] {
    let start = opened.geometry.bitmapOffset + opened.geometry.bitmapCount
    // An alignment may be large; UML writes at most two words behind the bitmap.
    let count = min(opened.geometry.dataOffset - start, Limits.pageSize)
    var bytes = [UInt8](repeating: 0, count: Int(count))
    do throws(BlockIOError) { try engine.read(opened.overlay, at: start, into: &bytes) } catch {
      throw .file(error)
    }
    guard let first = bytes.firstIndex(where: { $0 != 0 }), let last = bytes.lastIndex(where: { $0 != 0 })
    else { return [] }
    var places = Places()
    places.add(start + UInt64(first)..<start + UInt64(last) + 1)
    return [
      Finding(.padding, .note, "there is something between bitmap and data, which nobody reads", places)
    ]
  }

  private static func checkLeaks(
    _ opened: Opened, engine: any BlockEngine
  ) throws(DiskImageError) -> [Finding] {
    var leaks = Places()
    try forEachLeak(opened, engine: engine) { range in leaks.add(range) }
    guard leaks.count > 0 else { return [] }
    return [
      Finding(
        .leaks, .warning,
        "\(leaks.count) bytes of data belong to sectors that are not in the file by its "
          + "bitmap: lost in a crash, or left over (remedy: ttblk image repair --leaks)", leaks)
    ]
  }

  private static func checkBacking(
    _ opened: Opened, options: ImageOptions, registry: FileRegistry, engine: any BlockEngine
  ) throws(DiskImageError) -> [Finding] {
    do throws(DiskImageError) {
      let chain = try Chain().adding(opened.overlay.identity, path: opened.overlay.path)
      let image = try openBacking(
        of: opened, override: options.backing, lock: options.lock, registry: registry, engine: engine,
        chain: chain)
      let warnings = try backingWarnings(of: opened, image, engine: engine) + image.warnings
      return warnings.map { Finding(.backing, .note, $0) }
    } catch .backingUnavailable(_, _, .locked(let path, let holder, let command)) {
      throw .file(.locked(path: path, holder: holder, command: command))
    } catch {
      var remedy = ""
      if case .backingModified = error { remedy = ", or: ttblk image restamp" }
      if case .backingUnavailable = error { remedy = " (if it has moved: ttblk image rebase --unsafe)" }
      return [Finding(.backing, .damage, error.description + remedy)]
    }
  }
}
