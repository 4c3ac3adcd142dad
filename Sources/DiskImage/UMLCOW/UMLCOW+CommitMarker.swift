// The note that a commit leaves in a COW file until it is done.
import BlockIO

extension UMLCOW {
  /// Says that the backing file is being overwritten with what is in this COW file, so that its changed time
  /// is our doing and the commit can go on after an interruption.
  ///
  /// It lies behind the header, where UML leaves a gap, and holds as long as the header still has the time
  /// that the backing file had when the commit began:
  ///
  /// ```
  /// @4128  "ttblkCMT"
  /// @4136  u32, big-endian: mtime of the header when the commit began
  /// @4140  zeros up to 64 bytes
  /// ```
  enum CommitMarker {
    static let offset: UInt64 = 4128
    static let byteCount = 64
    private static let magic = Array("ttblkCMT".utf8)

    /// Whether there is room for it in front of the bitmap; version 3 always has some.
    static func fits(_ geometry: Geometry) -> Bool { geometry.bitmapOffset >= offset + UInt64(byteCount) }

    /// Whether a commit of this file began and did not end.
    static func isSet(in opened: Opened, engine: any BlockEngine) throws(DiskImageError) -> Bool {
      guard opened.header.version == .v3, fits(opened.geometry) else { return false }
      var bytes = [UInt8](repeating: 0, count: byteCount)
      do throws(BlockIOError) { try engine.read(opened.overlay, at: offset, into: &bytes) } catch {
        throw .file(error)
      }
      return bytes == encoded(opened.header.backingModified)
    }

    static func set(in opened: Opened, engine: any BlockEngine) throws(DiskImageError) {
      try write(encoded(opened.header.backingModified), to: opened.overlay, engine: engine)
    }

    static func clear(in opened: Opened, engine: any BlockEngine) throws(DiskImageError) {
      try write([UInt8](repeating: 0, count: byteCount), to: opened.overlay, engine: engine)
    }

    private static func encoded(_ modified: UInt32) -> [UInt8] {
      var bytes = magic
      bytes.append(bigEndian: modified)
      return bytes + [UInt8](repeating: 0, count: byteCount - bytes.count)
    }

    private static func write(
      _ bytes: [UInt8], to file: ImageFile, engine: any BlockEngine
    ) throws(DiskImageError) {
      do throws(BlockIOError) {
        try engine.write(file, at: offset, from: bytes[...])
        try engine.synchronize(file)
      } catch { throw .file(error) }
    }
  }
}
