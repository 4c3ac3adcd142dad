// A disk in another file.
package import BlockIO
import Linux

/// Copying a whole disk into a new file, which appears when it is complete and on the medium.
///
/// Nothing of an input is changed. Zeros take no space; blocks are shared with the files they come from where
/// the file system can.
package struct Convert {
  /// What is copied.
  package let image: any DiskImage
  /// Where to.
  package let path: String
  /// Whether a file of that name may be replaced.
  package var isReplacing: Bool
  /// The input that the output replaces: for those who rewrite an image.
  var replaces: FileIdentity?
  let registry: FileRegistry
  let engine: any BlockEngine
  /// Writes while `engine` reads.
  private let sibling: (any BlockEngine)?
  let progress: Progress

  /// A copy to be made.
  package init(
    _ image: any DiskImage, to path: String, replacing: Bool = false, registry: FileRegistry,
    engine: any BlockEngine = SynchronousEngine(), progress: Progress
  ) {
    self.image = image
    self.path = path
    isReplacing = replacing
    self.registry = registry
    self.engine = engine
    sibling = engine.makeSibling()
    self.progress = progress
  }

  /// How a qcow2 file is made.
  package struct QCOW2Options: Sendable {
    /// 9 to 21.
    package var clusterBits: UInt32 = 16
    /// 0 to 6.
    package var refcountOrder: UInt32 = 4
    /// Nil stores clusters as they are.
    package var compression: CompressedCluster.Method?
    /// How hard to compress; nil is usual.
    package var level: Int32?
    /// What the new file stands on: it holds only what differs.
    package var backing: QCOW2.Backing?

    package init() {}
  }

  /// A raw file, exactly as long as the disk.
  package func toRaw() throws(DiskImageError) {
    var output = try begin()
    try output.create(like: image.files.first)
    do {
      let file = try registry.openFile(output.temporary, writable: true, lock: false)
      do throws(BlockIOError) { try file.setLength(image.exactSize) } catch { throw .file(error) }
      try progress.begin("copying", total: image.size)
      let sink = RawSink(file, size: image.exactSize, isFresh: true, engine: outputEngine)
      try copy(to: sink)
    }
    try output.publish()
  }

  /// A qcow2 file of version 3.
  package func toQCOW2(_ options: QCOW2Options) throws(DiskImageError) {
    var output = try begin()
    do {
      try QCOW2.fill(
        output, size: image.size, clusterBits: options.clusterBits, refcountOrder: options.refcountOrder,
        backing: options.backing, compression: options.compression ?? .deflate, like: image.files.first,
        registry: registry, engine: engine)
      let disk = try openOutput(output.temporary, .qcow2)
      if options.backing != nil {
        try writeDifferences(to: disk, unit: Int(1) << Int(options.clusterBits))
      } else if let method = options.compression, let disk = disk as? QCOW2.Disk {
        try progress.begin("compressing", total: image.size)
        let level = options.level ?? QCOW2.Compressor.usualLevel(method)
        let sink = CompressingSink(disk, method: method, level: level)
        try copy(to: sink)
        try sink.finish()
      } else {
        try progress.begin("copying", total: image.size)
        try copy(to: ImageSink(disk, isFresh: true))
      }
      try disk.close()
    }
    try output.publish()
  }

  /// A COW file over a backing file of the same length: it holds the pages that differ.
  package func toCOW(backing: String, format: ImageFormat? = nil) throws(DiskImageError) {
    var output = try begin()
    do {
      try UMLCOW.fill(
        output, backing: backing, format: format, force: true, like: image.files.first, registry: registry,
        engine: engine)
      let disk = try openOutput(output.temporary, .umlCOW)
      guard disk.size == image.size else {
        throw .unsuitable(
          path: backing,
          reason: "is \(disk.exactSize) bytes long, '\(image.path)' \(image.exactSize): "
            + "a COW file is as long as its backing file")
      }
      try writeDifferences(to: disk, unit: Int(Limits.pageSize))
      try disk.close()
    }
    try output.publish()
  }

  private func begin() throws(DiskImageError) -> OutputFile {
    let inputs = image.files.map(\.identity).filter { $0 != replaces }
    return try OutputFile(path: path, replacing: isReplacing, inputs: inputs)
  }

  private func openOutput(_ name: String, _ format: ImageFormat) throws(DiskImageError) -> any DiskImage {
    // Nobody knows its name; its backing file may be one of our inputs.
    try openImage(
      path: name, options: ImageOptions(format: format, lock: false), registry: registry,
      engine: outputEngine)
  }

  private func copy(to sink: some CopySink) throws(DiskImageError) {
    try Copier(image, progress: progress, isParallel: sibling != nil).copy(to: sink)
  }

  private var outputEngine: any BlockEngine { sibling ?? engine }

  private func writeDifferences(to disk: any DiskImage, unit: Int) throws(DiskImageError) {
    let sink = ImageSink(disk, isFresh: false)
    let copier = Copier(image, progress: Progress())
    try Comparison(image, disk, progress: progress).differences(unit: unit) {
      (range) throws(DiskImageError) in
      try copier.copy(range.clamped(to: 0..<disk.size), to: sink)
    }
  }
}
