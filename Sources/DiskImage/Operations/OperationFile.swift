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
  return (file, found)
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
