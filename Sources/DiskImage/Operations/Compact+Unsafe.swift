// Giving back space that nobody needs.
package import BlockIO
import Glibc

/// Making an image occupy less, and show the same.
package enum Compact {
  /// What became of it.
  package struct Outcome: Equatable, Sendable {
    /// Bytes that the file occupied before.
    package let before: UInt64
    /// Bytes that it occupies now.
    package let after: UInt64

    /// How much less it occupies.
    package var freed: UInt64 { before - min(before, after) }
  }

  /// Gives back what an image does not need: blocks of zeros become holes, and a COW file lets go of pages
  /// that are the same as its backing file's.
  ///
  /// It may be interrupted at any moment, also by a loss of power, and be called again.
  package static func run(
    path: String, format: ImageFormat? = nil, registry: FileRegistry,
    engine: any BlockEngine = SynchronousEngine(), progress: Progress
  ) throws(DiskImageError) -> Outcome {
    let (file, format) = try openOperationFile(
      path, format: format, writable: true, registry: registry, engine: engine)
    guard !file.isBlockDevice else {
      throw .unsuitable(path: path, reason: "is a block device, which has no space to give back")
    }
    let before = try allocated(file)
    switch format {
    case .raw: try compactRaw(file, engine: engine, progress: progress)
    case .qcow2:
      try QCOW2.compact(file, registry: registry, engine: engine, progress: progress)
      let after: FileStatus
      do throws(BlockIOError) { after = try registry.status(of: path) } catch { throw .file(error) }
      return Outcome(before: before, after: after.allocated)
    case .umlCOW: try UMLCOW.compact(file, registry: registry, engine: engine, progress: progress)
    }
    return Outcome(before: before, after: try allocated(file))
  }

  private static func allocated(_ file: ImageFile) throws(DiskImageError) -> UInt64 {
    do throws(BlockIOError) { return try file.status().allocated } catch { throw .file(error) }
  }

  /// The contents stay, and so does the time of their last change: COW files on top of this one hold it.
  private static func compactRaw(
    _ file: ImageFile, engine: any BlockEngine, progress: Progress
  ) throws(DiskImageError) {
    let modified: timespec
    do throws(BlockIOError) { modified = try file.modificationTime() } catch { throw .file(error) }
    do throws(DiskImageError) {
      let image = RawDisk(file, readOnly: true, wasGuessed: false, engine: engine)
      try progress.begin("compacting", total: image.size)
      let copier = Copier(image, progress: progress)
      let sink = PunchSink(file, dataOffset: 0, end: file.size, engine: engine)
      try copier.copy(to: sink)
    } catch {
      try? file.setModificationTime(modified)
      throw error
    }
    do throws(BlockIOError) {
      try engine.synchronize(file)
      try file.setModificationTime(modified)
    } catch { throw .file(error) }
  }
}

/// Takes nothing, and makes holes of zeros where a file has them as data.
///
/// SAFETY: it never looks at the bytes that it is given.
final class PunchSink: CopySink {
  private let file: ImageFile
  /// Where the disk begins in the file.
  private let dataOffset: UInt64
  /// Where the file ends.
  private let end: UInt64
  private let engine: any BlockEngine

  init(_ file: ImageFile, dataOffset: UInt64, end: UInt64, engine: any BlockEngine) {
    self.file = file
    self.dataOffset = dataOffset
    self.end = end
    self.engine = engine
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {}

  func zero(_ range: Range<UInt64>) throws(DiskImageError) {
    let start = dataOffset + range.lowerBound
    let stop = min(dataOffset + range.upperBound, end)
    // A hole stays one, for nothing.
    guard let data = file.nextData(from: start), data.lowerBound < stop else { return }
    do throws(BlockIOError) { try engine.zero(file, start..<stop, unmap: true) } catch { throw .file(error) }
  }
}
