// Letting go of what a COW file does not need.
import BlockIO

extension UMLCOW {
  /// The steps, each of which is on the medium before the next one begins:
  ///
  /// 1. slots of pages of zeros become holes; their bits stay, so that they go on reading as zeros;
  /// 2. bits of pages that are the same in the backing file are cleared: each may go by itself;
  /// 3. data that no bit claims is given back, whoever left it.
  static func compact(
    _ file: ImageFile, registry: FileRegistry, engine: any BlockEngine, progress: Progress
  ) throws(DiskImageError) {
    let opened = try readCurrentHeader(file, engine: engine)
    let disk = try open(
      file, options: ImageOptions(format: .umlCOW), registry: registry, engine: engine,
      chain: try Chain().adding(file.identity, path: file.path))
    guard let backing = disk.backing else { throw .closed(path: file.path) }
    var same: UInt64 = 0
    let quiet = Progress()
    let copier = Copier(disk, progress: quiet)
    let sink = PunchSink(file, dataOffset: opened.geometry.dataOffset, end: file.size, engine: engine)
    let comparison = Comparison(disk, backing, progress: progress)
    // Ranges come in order: between two of them the disk shows what its backing file does.
    try comparison.differences(unit: Int(Limits.pageSize)) { (range) throws(DiskImageError) in
      try disk.drop(same..<range.lowerBound)
      try copier.copy(range, to: sink)
      same = range.upperBound
    }
    try disk.drop(same..<disk.size)
    try disk.close()
    try punchLeaks(opened, engine: engine)
    do throws(BlockIOError) { try engine.synchronize(file) } catch { throw .file(error) }
  }
}

extension UMLCOW.Disk {
  /// Clears the bits of whole pages that show the same as the backing file, in memory; their slots stay as
  /// they are until the cleared bits are on the medium.
  func drop(_ range: Range<UInt64>) throws(DiskImageError) {
    guard !range.isEmpty else { return }
    var cursor = ExtentCursor(self, range: range, holeSearchMin: .max)
    while let extent = try cursor.next() {
      guard extent.segment.source == .file(0) else { continue }
      var position = extent.range.lowerBound
      // No more at a time than the bits that are kept in memory.
      while position < extent.range.upperBound {
        let stop = min(position + Limits.zeroBytesPerStep, extent.range.upperBound)
        try reclaimBitmap()
        try load(position..<stop)
        durability.willChange()
        bitmap.clear(
          position / geometry.sectorSize..<(stop + geometry.sectorSize - 1) / geometry.sectorSize)
        position = stop
      }
    }
  }
}
