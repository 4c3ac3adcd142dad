// A double: files whose changes stay in memory.
package import Glibc

/// Keeps what is written in memory; the files themselves are read once and never changed.
///
/// For tests and for measuring what everything but the storage costs. It holds the whole of each file, so
/// that the files must be small.
package final class MemoryEngine: BlockEngine {
  private var files: [(file: ImageFile, bytes: [UInt8])] = []

  /// An engine that has read nothing yet.
  package init() {}

  /// What the file would contain.
  package func contents(of file: ImageFile) throws(BlockIOError) -> [UInt8] { files[try slot(file)].bytes }

  package func read(
    _ file: ImageFile, at offset: UInt64, into parts: UnsafeBufferPointer<iovec>
  ) throws(BlockIOError) {
    let index = try slot(file)
    parts.fillWithZeros()
    let bytes = files[index].bytes
    guard offset < bytes.count else { return }
    bytes.withUnsafeBytes {
      let rest = UnsafeRawBufferPointer(rebasing: $0[Int(offset)...])
      if let base = rest.baseAddress { parts.overwrite(at: 0, count: UInt64(rest.count), with: base) }
    }
  }

  package func write(
    _ file: ImageFile, at offset: UInt64, from parts: UnsafeBufferPointer<iovec>
  ) throws(BlockIOError) {
    let index = try slot(file)
    let new = parts.gathered()
    let end = try self.end(file, offset, UInt64(new.count))
    guard !new.isEmpty else { return }
    files[index].bytes.append(contentsOf: repeatElement(0, count: max(0, end - files[index].bytes.count)))
    files[index].bytes.replaceSubrange(Int(offset)..<end, with: new)
  }

  package func synchronize(_ file: ImageFile) throws(BlockIOError) {}

  package func zero(_ file: ImageFile, _ range: Range<UInt64>, unmap: Bool) throws(BlockIOError) {
    let index = try slot(file)
    let end = min(range.upperBound, UInt64(files[index].bytes.count))
    guard range.lowerBound < end else { return }
    for position in Int(range.lowerBound)..<Int(end) { files[index].bytes[position] = 0 }
  }

  private func end(_ file: ImageFile, _ offset: UInt64, _ count: UInt64) throws(BlockIOError) -> Int {
    let (end, overflow) = offset.addingReportingOverflow(count)
    guard !overflow, end <= MemoryEngine.bytesMax else {
      throw .outOfRange(path: file.path, offset: offset, count: count)
    }
    return Int(end)
  }

  private func slot(_ file: ImageFile) throws(BlockIOError) -> Int {
    if let index = files.firstIndex(where: { $0.file === file }) { return index }
    guard file.size <= MemoryEngine.bytesMax else {
      throw .outOfRange(path: file.path, offset: 0, count: file.size)
    }
    var bytes = [UInt8](repeating: 0, count: Int(file.size))
    let engine = SynchronousEngine()
    try engine.read(file, at: 0, into: &bytes)
    files.append((file, bytes))
    return files.count - 1
  }

  private static let bytesMax: UInt64 = 1 << 30
}
