// A file or block device that is the disk.
package import BlockIO
package import Glibc

/// A disk whose bytes are those of a file, at the same offsets.
///
/// A length that is no multiple of 512 is rounded up, as UML does: the rest reads as zeros, and writing it
/// makes the file longer.
package final class RawDisk: DiskImage {
  package private(set) var size: UInt64
  package private(set) var exactSize: UInt64
  package let isReadOnly: Bool
  package let path: String
  package var format: ImageFormat { .raw }
  package var warnings: [String] { [] }
  package var backing: (any DiskImage)? { nil }
  package private(set) var files: [ImageFile]

  private let engine: any BlockEngine
  private var durability = Durability()
  /// Whether the format was guessed, so that the first bytes must not come to look like another one.
  private let wasGuessed: Bool

  init(_ file: ImageFile, readOnly: Bool, wasGuessed: Bool, engine: any BlockEngine) {
    files = [file]
    self.engine = engine
    self.wasGuessed = wasGuessed
    path = file.path
    isReadOnly = readOnly || file.isReadOnly
    // Near 2^64 there is no next multiple, and no file that long.
    size = file.size.roundedUp(to: Limits.sectorSize) ?? file.size
    exactSize = file.size
  }

  deinit { try? close() }

  package func read(at offset: UInt64, into parts: UnsafeBufferPointer<iovec>) throws(DiskImageError) {
    let file = try open()
    let range = try checkedRange(offset: offset, count: parts.byteCount, size: size)
    guard !range.isEmpty else { return }
    do throws(BlockIOError) { try engine.read(file, at: offset, into: parts) } catch { throw .file(error) }
  }

  package func plan(_ range: Range<UInt64>, into segments: inout [Segment]) {
    segments.append(
      Segment(.file(0), offset: range.lowerBound, count: range.upperBound - range.lowerBound))
  }

  package func write(at offset: UInt64, from parts: UnsafeBufferPointer<iovec>) throws(DiskImageError) {
    let file = try open(writing: true)
    let range = try checkedRange(offset: offset, count: parts.byteCount, size: size)
    guard !range.isEmpty else { return }
    if wasGuessed, offset < UInt64(Probe.byteCount) { try refuseDisguise(file, offset, parts) }
    durability.willChange()
    do throws(BlockIOError) { try engine.write(file, at: offset, from: parts) } catch { throw .file(error) }
  }

  package func flush() throws(DiskImageError) {
    let file = try open()
    try durability.synchronize(file, engine: engine)
  }

  package func discard(_ range: Range<UInt64>) throws(DiskImageError) {
    try writeZeroes(range, unmap: true)
  }

  package func writeZeroes(_ range: Range<UInt64>, unmap: Bool) throws(DiskImageError) {
    let file = try open(writing: true)
    guard range.upperBound <= size else {
      throw .outOfBounds(
        offset: range.lowerBound, count: range.upperBound - range.lowerBound, size: size)
    }
    guard !range.isEmpty else { return }
    durability.willChange()
    do throws(BlockIOError) { try engine.zero(file, range, unmap: unmap) } catch { throw .file(error) }
  }

  package func close() throws(DiskImageError) {
    guard let file = files.first else { return }
    files = []
    try durability.synchronize(file, engine: engine)
  }

  package var identicalFrom: UInt64? { wasGuessed ? UInt64(Probe.byteCount) : 0 }
  package var movesBytes: Bool { false }
  package var zeroGranularity: UInt64? { 1 }
  package var isBusy = false
  package var wantsFlush: Bool { false }
  package var changesNeedQuiet: Bool { false }
  package var flushNeedsQuiet: Bool { false }

  package func releaseMemory() {}

  package func expectOutsideWrites() { durability.expectOutsideWrites() }

  /// Writes to the first bytes are made one after the other, so that each is judged by what the others left.
  package func planWrite(
    _ range: Range<UInt64>, of data: UnsafeBufferPointer<iovec>, into segments: inout [Segment]
  ) throws(DiskImageError) -> WriteRoute {
    let file = try open(writing: true)
    plan(range, into: &segments)
    guard wasGuessed, range.lowerBound < UInt64(Probe.byteCount), data.count > 0 else { return .inPlace }
    try refuseDisguise(file, range.lowerBound, data)
    return .firstTouch(pages: 0..<Limits.pageSize, head: nil, tail: nil, room: nil)
  }

  package func finishWrite(_ pages: Range<UInt64>) {}

  package func beginFlush() throws(DiskImageError) -> FlushPlan {
    let file = try open()
    try durability.requireTrust(file)
    return FlushPlan(file: file, pieces: [])
  }

  package func endFlush(_ result: FlushResult) {
    if case .synchronizeFailed = result { durability.lose() }
  }

  package func refreshSize() throws(DiskImageError) {
    let file = try open()
    do throws(BlockIOError) { exactSize = try file.status().size } catch { throw .file(error) }
    size = exactSize.roundedUp(to: Limits.sectorSize) ?? exactSize
  }

  private func open(writing: Bool = false) throws(DiskImageError) -> ImageFile {
    guard let file = files.first else { throw .closed(path: path) }
    guard !writing || !isReadOnly else { throw .readOnly(path: path) }
    return file
  }

  /// A guest that writes another format's header into its own disk would have us follow that header the next
  /// time.
  private func refuseDisguise(
    _ file: ImageFile, _ offset: UInt64, _ parts: UnsafeBufferPointer<iovec>
  ) throws(DiskImageError) {
    var bytes = [UInt8](repeating: 0, count: Probe.byteCount)
    do throws(BlockIOError) { try engine.read(file, at: 0, into: &bytes) } catch { throw .file(error) }
    parts.copyStart(to: &bytes[Int(offset)...])
    guard Probe.examine(bytes) == .format(.raw) else { throw .wouldChangeFormat(path: path) }
  }
}
