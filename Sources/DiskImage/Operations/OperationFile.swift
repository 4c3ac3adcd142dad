// The file that an operation on an image works on.
import BlockIO

/// Opens an image as a file, without the images beneath it, and locks it the way its format is locked.
/// - Parameters:
///   - format: where it is known; otherwise it is guessed.
///   - lock: false looks at the file whoever uses it.
func openOperationFile(
  _ path: String, format: ImageFormat?, writable: Bool, lock: Bool = true, registry: FileRegistry,
  engine: any BlockEngine
) throws(DiskImageError) -> (file: ImageFile, format: ImageFormat) {
  let file = try registry.openFile(path, writable: writable, lock: lock, style: nil)
  let found: ImageFormat
  if let format {
    found = format
  } else {
    found = try Probe.format(of: file, engine: engine)
  }
  if lock {
    do throws(BlockIOError) { try file.lock(found.lockStyle) } catch { throw .file(error) }
  }
  if writable {
    for notice in try JournalRecovery.run(file, format: found, mayWrite: true, engine: engine) {
      registry.onNotice?(notice)
    }
  }
  return (file, found)
}

/// Before an image is copied as a file: takes over what a killed server had not flushed, or says that the
/// copy will lack it.
func completeForCopy(
  _ path: String, registry: FileRegistry, engine: any BlockEngine
) throws(DiskImageError) {
  let notices: [String]
  do {
    let (file, format) = try openOperationFile(
      path, format: nil, writable: false, registry: registry, engine: engine)
    notices = try JournalRecovery.run(file, format: format, mayWrite: false, engine: engine)
  }
  guard !notices.isEmpty else { return }
  do throws(DiskImageError) {
    _ = try openOperationFile(path, format: nil, writable: true, registry: registry, engine: engine)
  } catch .file(.cannotOpen(_)) {
    for notice in notices { registry.onNotice?(notice) }
  }
}

/// Ranges of which the first few are kept and all are counted.
struct Places {
  /// How many bytes all ranges have.
  private(set) var count: UInt64 = 0
  /// The first ranges; neighbours are one.
  private(set) var first: [Range<UInt64>] = []
  private var isFull = false

  mutating func add(_ range: Range<UInt64>) {
    guard !range.isEmpty else { return }
    count += range.upperBound - range.lowerBound
    if isFull { return }
    if let last = first.last, last.upperBound == range.lowerBound {
      first[first.count - 1] = last.lowerBound..<range.upperBound
    } else if first.count < Limits.placesListed {
      first.append(range)
    } else {
      isFull = true
    }
  }
}
