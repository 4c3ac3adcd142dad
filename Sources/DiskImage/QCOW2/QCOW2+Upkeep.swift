// What the commands for upkeep do with qcow2 files.
import BlockIO
import Linux

extension QCOW2 {
  /// A check in the terms of every format: errors are damage, leaks are warnings.
  static func findings(
    of file: ImageFile, engine: any BlockEngine
  ) throws(DiskImageError) -> [Finding] {
    let report: CheckReport
    do throws(DiskImageError) {
      report = try check(file, engine: engine)
    } catch .qcow2(_, let defect) {
      return [Finding(.header, .damage, defect.description)]
    }
    var findings = findings(of: report)
    let header = try readHeader(file, engine: engine)
    if header.incompatible & Incompatible.dirty != 0 {
      findings.append(
        Finding(.header, .warning, "it was not closed properly: its counts may be old (ttblk image repair)"))
    }
    if header.incompatible & Incompatible.corrupt != 0 {
      findings.append(Finding(.header, .damage, "it is marked as corrupt (ttblk image repair)"))
    }
    return findings
  }

  static func findings(of report: CheckReport) -> [Finding] {
    var findings = report.messages.prefix(Limits.placesListed).map { message in
      let isError = message.hasPrefix("error: ")
      let text = String(message.dropFirst(isError ? 7 : message.hasPrefix("leak: ") ? 6 : 0))
      return Finding(isError ? .references : .leaks, isError ? .damage : .warning, text)
    }
    if report.errors + report.leaks > UInt64(findings.count) {
      findings.append(
        Finding(
          .references, report.errors > 0 ? .damage : .warning,
          "in all \(report.errors) errors and \(report.leaks) clusters leaked"))
    }
    return findings
  }

  /// Puts counts, flags and marks right; the tables are saved first.
  static func repair(
    _ file: ImageFile, options: Repair.Options, savingTo saved: String, registry: FileRegistry,
    engine: any BlockEngine
  ) throws(DiskImageError) -> Repair.Outcome {
    let before = try findings(of: file, engine: engine)
    let isNeeded = before.contains { $0.severity == .damage || $0.kind == .header } || options.leaks
    guard !options.dryRun, isNeeded, !before.isEmpty else {
      let repairable = before.filter { options.leaks || $0.kind != .leaks }
      return .init(
        repaired: options.dryRun ? repairable : [],
        remaining: options.dryRun ? before.filter { !repairable.contains($0) } : before, saved: nil)
    }
    try saveTables(of: file, to: saved, registry: registry, engine: engine)
    _ = try repair(file, .all, engine: engine)
    let after = try findings(of: file, engine: engine)
    return .init(repaired: before.filter { !after.contains($0) }, remaining: after, saved: saved)
  }

  /// Keeps everything that a repair may overwrite: header, counts, and tables.
  private static func saveTables(
    of file: ImageFile, to path: String, registry: FileRegistry, engine: any BlockEngine
  ) throws(DiskImageError) {
    var output = try OutputFile(path: path, family: Repair.savedStart(of: file.path))
    try output.create(like: file)
    do {
      var checker = try Checker(file, engine: engine)
      let header = checker.header
      let cluster = header.clusterSize
      let target = try registry.openFile(output.temporary, writable: true, lock: false)
      var writer = try SavedPieces.Writer(file, to: target, engine: engine)
      try writer.append(0..<cluster)
      let table = header.refcountTableOffset
      try writer.append(table..<table + UInt64(header.refcountTableClusters) * cluster)
      try checker.forEachBlock { (checker, _, block) throws(DiskImageError) in
        if checker.isBlock(block) { try writer.append(block..<block + cluster) }
      }
      var seen: Set<UInt64> = []
      try checker.forEachCopied { (_, place, _, _, _) throws(DiskImageError) in
        let start = place / cluster * cluster
        if seen.insert(start).inserted { try writer.append(start..<start + cluster) }
      }
      try writer.finish()
    }
    try output.publish()
  }

  /// Gives a file another backing image, or none; what it shows stays the same.
  static func rebase(
    _ file: ImageFile, backing name: String, format: ImageFormat?, unsafe: Bool, registry: FileRegistry,
    engine: any BlockEngine, progress: Progress
  ) throws(DiskImageError) -> Rebase.Outcome {
    if let status = try? registry.status(of: name), status.identity == file.identity {
      throw .outputIsInput(path: name)
    }
    let backing = try name.isEmpty ? nil : Backing(name, format: format, for: file.path, registry: registry)
    if unsafe {
      try changeBacking(of: file, to: backing, engine: engine)
      return Rebase.Outcome(backing: name, copied: 0)
    }
    let chain = try Chain().adding(file.identity, path: file.path)
    let disk = try open(
      file, options: ImageOptions(format: .qcow2), registry: registry, engine: engine, chain: chain)
    var copied: UInt64 = 0
    if let backing {
      let new = try openImage(
        path: name, options: ImageOptions(format: backing.format, readOnly: true), registry: registry,
        engine: engine, chain: chain, lockStyle: .qemu)
      let unit = Int(disk.clusterSize)
      try Comparison(disk, new, progress: progress).differences(unit: unit) {
        (range) throws(DiskImageError) in
        copied += try disk.copyUp(range.clamped(to: 0..<disk.size))
      }
    } else {
      try progress.begin("copying", total: disk.size)
      copied = try disk.copyUp(0..<disk.size, skippingZeros: true, progress: progress)
    }
    try disk.flush()
    try disk.changeBacking(to: backing)
    try disk.close()
    return Rebase.Outcome(backing: name, copied: copied)
  }

  /// Rewrites a file without what it does not need: clusters of zeros, clusters that are the same as its
  /// backing image's, clusters that nothing refers to.
  static func compact(
    _ file: ImageFile, registry: FileRegistry, engine: any BlockEngine, progress: Progress
  ) throws(DiskImageError) {
    let header = try readHeader(file, engine: engine)
    let hasBitmaps =
      header.autoclear & Autoclear.bitmaps != 0
      && header.extensions.contains { $0.type == ExtensionType.bitmaps }
    guard try readSnapshots(header, of: file, engine: engine).isEmpty, !header.hasDataFile, !hasBitmaps else {
      throw .unsuitable(
        path: file.path,
        reason: "has internal snapshots, dirty bitmaps or an external data file, which would be lost")
    }
    let chain = try Chain().adding(file.identity, path: file.path)
    let options = ImageOptions(format: .qcow2, readOnly: true)
    let disk = try open(file, options: options, registry: registry, engine: engine, chain: chain)
    var made = Convert.QCOW2Options()
    made.clusterBits = header.clusterBits
    made.refcountOrder = header.refcountOrder
    if let backing = disk.backing {
      // As it is stored: relative to the folder that both files are in.
      let path = String(decoding: header.backingPath, as: UTF8.self)
      made.backing = Backing(path: path, format: backing.format)
    } else if try holdsCompressed(disk) {
      made.compression = header.compression
    }
    var conversion = Convert(
      disk, to: file.path, replacing: true, registry: registry, engine: engine, progress: progress)
    conversion.replaces = file.identity
    try conversion.toQCOW2(made)
  }

  private static func holdsCompressed(_ disk: Disk) throws(DiskImageError) -> Bool {
    var cursor = ExtentCursor(disk, holeSearchMin: .max)
    while let extent = try cursor.next() { if case .compressed = extent.segment.source { return true } }
    return false
  }
}

extension QCOW2.Disk {
  /// Puts into the file what a range shows, as far as the file does not have it.
  /// - Parameter skippingZeros: leave out zeros, for a disk that nothing will be beneath.
  /// - Returns: how many bytes of the disk were looked at.
  func copyUp(
    _ range: Range<UInt64>, skippingZeros: Bool = false, progress: Progress = Progress()
  ) throws(DiskImageError) -> UInt64 {
    var copied: UInt64 = 0
    let copier = Copier(self, progress: Progress())
    let sink = ImageSink(self, isFresh: skippingZeros)
    // The plan changes with what is written: it is asked for a piece at a time.
    var position = range.lowerBound
    while position < range.upperBound {
      var cursor = ExtentCursor(self, range: position..<range.upperBound, holeSearchMin: .max)
      guard let extent = try cursor.next() else { break }
      let isOwn = extent.segment.depth == 0 && (extent.segment.isAllocated || backing == nil)
      if !isOwn {
        try copier.copy(extent.range, to: sink)
        if !extent.isZero || !skippingZeros { copied += extent.segment.count }
      }
      try progress.advance(by: extent.segment.count)
      position = extent.range.upperBound
    }
    return copied
  }
}
