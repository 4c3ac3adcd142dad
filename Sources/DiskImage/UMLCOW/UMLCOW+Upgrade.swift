// A COW file of any version, rewritten in the current one.
import BlockIO
import Linux

extension UMLCOW {
  static func upgrade(
    _ file: ImageFile, output path: String?, backing: String?, registry: FileRegistry,
    engine: any BlockEngine, progress: Progress
  ) throws(DiskImageError) -> Upgrade.Outcome {
    let opened = try readHeader(file, engine: engine)
    let version = opened.header.version
    if version == .v3, opened.header.sectorSize == 512,
      UInt64(opened.header.alignment) % Limits.pageSize == 0
    {
      return Upgrade.Outcome(version: version.description, output: nil, kept: nil)
    }
    let options = ImageOptions(format: .umlCOW, readOnly: true, backing: backing)
    let chain = try Chain().adding(file.identity, path: file.path)
    let old = try open(file, options: options, registry: registry, engine: engine, chain: chain)
    guard let image = old.backing else { throw .closed(path: file.path) }
    var header = Header(
      backingPath: opened.header.backingPath, backingModified: opened.header.backingModified,
      backingSize: opened.header.backingSize)
    if let backing {
      header.backingPath = try self.header(for: image, named: backing, force: true).backingPath
    }
    var output = try OutputFile(
      path: path ?? file.path, replacing: path == nil,
      inputs: path == nil ? image.files.map(\.identity) : old.files.map(\.identity))
    try output.fill(like: file) { (file, name) throws(LinuxError) in try putHeader(header, to: file, name) }
    do {
      let target = try registry.openFile(output.temporary, writable: true, lock: false)
      let new = try open(
        target, options: ImageOptions(format: .umlCOW, backing: backing), registry: registry, engine: engine,
        chain: Chain())
      try copyOwnPages(of: old, to: new, progress: progress)
      try new.flush()
      // Once, and of what nobody has a second copy: worth reading everything again.
      if let place = try Comparison(old, new, progress: progress).firstDifference() {
        throw .unsuitable(path: output.temporary, reason: "differs from the old file at \(place)")
      }
      try new.close()
    }
    var kept: String?
    if path == nil {
      let name = "\(file.path).v\(version.number)"
      try Upgrade.keep(file, as: name)
      kept = name
    }
    try output.publish()
    return Upgrade.Outcome(version: version.description, output: output.path, kept: kept)
  }

  /// Copies the pages of which the old file has any sector.
  private static func copyOwnPages(
    of old: Disk, to new: Disk, progress: Progress
  ) throws(DiskImageError) {
    try progress.begin("copying", total: old.size)
    let quiet = Progress()
    let copier = Copier(old, progress: quiet)
    let sink = ImageSink(new, isFresh: false)
    var cursor = ExtentCursor(old, holeSearchMin: .max)
    var copied: UInt64 = 0
    while let extent = try cursor.next() {
      if extent.segment.source == .file(0) {
        let pages = new.wholePages(around: extent.range)
        let start = max(pages.lowerBound, copied)
        if start < pages.upperBound { try copier.copy(start..<pages.upperBound, to: sink) }
        copied = max(copied, pages.upperBound)
      }
      try progress.advance(by: extent.segment.count)
    }
  }
}

extension UMLCOW.Version {
  /// 1, 2 or 3.
  var number: Int {
    switch self {
    case .v1, .v1Unpacked: 1
    case .v2, .v2Unpacked: 2
    case .v3, .v3Broken: 3
    }
  }
}
