// Making raw files.
package import BlockIO
import CLinux
import Linux

/// Making disks that are a file and nothing else.
package enum Create {
  /// A raw file of zeros.
  /// - Parameter full: take all its space at once, so that no later write finds the file system full.
  package static func raw(
    path: String, size: UInt64, full: Bool, registry: FileRegistry
  ) throws(DiskImageError) {
    var output = try OutputFile(path: path)
    try output.create()
    do {
      let file = try registry.openFile(output.temporary, writable: true, lock: false)
      do throws(BlockIOError) {
        try file.setLength(size)
        if full { try file.reserve(0..<size) }
      } catch { throw .file(error) }
    }
    try output.publish()
  }

  /// A raw copy of a file, which shares all its blocks until either is written.
  package static func reflink(
    path: String, of source: String, registry: FileRegistry
  ) throws(DiskImageError) {
    let original = try registry.openFile(source, writable: false, lock: true)
    var output = try OutputFile(path: path, inputs: [original.identity])
    try output.create()
    do {
      let file = try registry.openFile(output.temporary, writable: true, lock: false)
      guard file.share(original, at: 0, count: 0, to: 0) else {
        throw .unsuitable(
          path: path,
          reason: "cannot share blocks with '\(source)' on this file system: make a COW file instead")
      }
    }
    try output.publish()
  }
}
