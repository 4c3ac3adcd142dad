// Repairing a COW file.
import BlockIO

extension UMLCOW {
  /// The steps, each of which is on the medium before the next one begins, and none of which needs another
  /// one to be done:
  ///
  /// 1. what will change is saved: header, bitmap, and the slots that steps 4 and 5 overwrite;
  /// 2. bits of sectors that do not exist are cleared, by a write of one byte;
  /// 3. a file that is too short, though nothing is missing, gets its length;
  /// 4. pages that are here in part are completed: first the data, in slots that no bit claims yet, then the
  ///    bits;
  /// 5. data that no bit claims is given back.
  static func repair(
    _ file: ImageFile, options: Repair.Options, savingTo saved: String, registry: FileRegistry,
    engine: any BlockEngine, progress: Progress
  ) throws(DiskImageError) -> Repair.Outcome {
    let opened = try readCurrentHeader(file, engine: engine)
    let imageOptions = ImageOptions(format: .umlCOW)
    let findings = try check(
      file, options: imageOptions, registry: registry, engine: engine, progress: progress)
    let plan = findings.filter { isRepairable($0, options, among: findings) }
    if plan.isEmpty || options.dryRun {
      let rest = findings.filter { !plan.contains($0) }
      return Repair.Outcome(repaired: plan, remaining: rest.filter { $0.severity != .note }, saved: nil)
    }
    func plans(_ kind: Finding.Kind) -> Bool { plan.contains { $0.kind == kind } }
    try save(
      opened, mixedPages: plans(.mixedPages), leaks: plans(.leaks), to: saved, registry: registry,
      engine: engine, progress: progress)
    if plans(.strayBits) { try clearStrayBits(opened, engine: engine) }
    if plans(.short) {
      do throws(BlockIOError) {
        try file.setLength(opened.geometry.dataOffset + opened.header.backingSize)
        try engine.synchronize(file)
      } catch { throw .file(error) }
    }
    if plans(.mixedPages) {
      let disk = try open(
        file, options: imageOptions, registry: registry, engine: engine,
        chain: try Chain().adding(file.identity, path: file.path))
      try completeMixedPages(opened, of: disk, engine: engine, progress: progress)
      try disk.close()
    }
    if plans(.leaks) { try punchLeaks(opened, engine: engine) }
    do throws(BlockIOError) { try engine.synchronize(file) } catch { throw .file(error) }
    let rest = try check(
      file, options: imageOptions, registry: registry, engine: engine, progress: progress)
    return Repair.Outcome(
      repaired: plan, remaining: rest.filter { $0.severity != .note && !plan.contains($0) }, saved: saved)
  }

  private static func isRepairable(
    _ finding: Finding, _ options: Repair.Options, among findings: [Finding]
  ) -> Bool {
    switch finding.kind {
    case .strayBits, .short: true
    case .leaks: options.leaks
    // The rest of the page comes from the backing file, which must be the right one.
    case .mixedPages:
      options.mixedPages
        && !findings.contains {
          $0.severity == .damage && ($0.kind == .backing || $0.kind == .truncated)
        }
    default: false
    }
  }

  private static func save(
    _ opened: Opened, mixedPages: Bool, leaks: Bool, to path: String, registry: FileRegistry,
    engine: any BlockEngine, progress: Progress
  ) throws(DiskImageError) {
    let geometry = opened.geometry
    var output = try OutputFile(path: path, family: Repair.savedStart(of: opened.overlay.path))
    try output.create(like: opened.overlay)
    do {
      let target = try registry.openFile(output.temporary, writable: true, lock: false)
      var writer = try SavedPieces.Writer(opened.overlay, to: target, engine: engine)
      // Header and bitmap first: they come back first, too. Holes of the bitmap stay what they are.
      try writer.append(0..<geometry.bitmapOffset)
      try forEachData(
        of: opened.overlay, geometry.bitmapOffset..<geometry.bitmapOffset + geometry.bitmapCount
      ) { (range) throws(DiskImageError) in try writer.append(range) }
      if mixedPages {
        try scanBitmap(opened, engine: engine) { (first, byte) throws(DiskImageError) in
          try progress.advance(by: 0)
          let missing = ~byte & validBits(first, geometry)
          for bit in UInt64(0)..<8 where missing >> bit & 1 == 1 {
            let place = geometry.dataOffset + (first + bit) * geometry.sectorSize
            try writer.append(place..<place + geometry.sectorSize)
          }
        }
      }
      if leaks {
        try forEachLeak(opened, engine: engine) { (range) throws(DiskImageError) in
          try progress.advance(by: 0)
          try writer.append(range)
        }
      }
      try writer.finish()
    }
    try output.publish()
  }

  private static func forEachData(
    of file: ImageFile, _ range: Range<UInt64>, _ body: (Range<UInt64>) throws(DiskImageError) -> Void
  ) throws(DiskImageError) {
    var position = range.lowerBound
    while position < range.upperBound, let data = file.nextData(from: position),
      data.lowerBound < range.upperBound
    {
      let end = min(data.upperBound, range.upperBound)
      if data.lowerBound < end { try body(data.lowerBound..<end) }
      position = max(end, position + 1)
    }
  }

  /// Completes pages of which only some sectors are in the file, in batches that fit into memory.
  static func completeMixedPages(
    _ opened: Opened, of disk: Disk, engine: any BlockEngine, progress: Progress
  ) throws(DiskImageError) {
    let geometry = opened.geometry
    try progress.begin("completing pages", total: geometry.diskSize)
    while true {
      var batch: [Range<UInt64>] = []
      try scanBitmap(opened, engine: engine) { first, byte in
        guard byte != validBits(first, geometry) else { return }
        let start = first * geometry.sectorSize
        let page = start..<min(start + Limits.pageSize, geometry.diskSize)
        if let last = batch.last, last.upperBound == page.lowerBound {
          batch[batch.count - 1] = last.lowerBound..<page.upperBound
        } else if batch.count < pagesPerBatch {
          batch.append(page)
        }
      }
      if batch.isEmpty { return }
      for range in batch { _ = try disk.copyUp(range, progress: progress) }
      try disk.flush()
    }
  }

  private static let pagesPerBatch = 65536
}

extension UMLCOW.Disk {
  /// Puts whole pages into the file, with what they show; those that are wholly there are left alone.
  ///
  /// Nothing changes for the guest; the bits follow at the next flush, after the data.
  /// - Returns: how many bytes of the disk were copied.
  func copyUp(_ range: Range<UInt64>, progress: Progress) throws(DiskImageError) -> UInt64 {
    var copied: UInt64 = 0
    let copier = Copier(self, progress: progress)
    let sink = ImageSink(self, isFresh: false)
    let pages = wholePages(around: range)
    var run: Range<UInt64>?
    var position = pages.lowerBound
    while position < pages.upperBound {
      let page = wholePages(around: position..<position + 1)
      try reclaimBitmap()
      try load(page)
      if !bitmap.allSet(page.lowerBound / geometry.sectorSize..<page.upperBound / geometry.sectorSize) {
        run = (run?.lowerBound ?? page.lowerBound)..<page.upperBound
      } else if let missing = run {
        try copier.copy(missing, to: sink)
        copied += missing.upperBound - missing.lowerBound
        run = nil
      }
      position = page.upperBound
    }
    if let run {
      try copier.copy(run, to: sink)
      copied += run.upperBound - run.lowerBound
    }
    return copied
  }
}
