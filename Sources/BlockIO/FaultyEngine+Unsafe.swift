// A double: a medium that fails, and a power that goes.
package import Glibc

/// Passes operations on to another engine, except those that it was told to fail.
///
/// With `holdsUnsynchronized`, what is written stays in a volatile cache until `synchronize`, as in a real
/// machine: reads see it, and `crash` loses what it is told to lose, whole or in part, in any combination.
package final class FaultyEngine: BlockEngine {
  /// One operation, as it was asked for.
  package struct Record: Equatable, Sendable {
    /// What was asked for.
    package let operation: BlockOperation
    /// The file, by the path it was opened with.
    package let path: String
    /// Where in the file; 0 for `synchronize`.
    package let offset: UInt64
    /// How many bytes; 0 for `synchronize`.
    package let count: UInt64
  }

  private struct Fault {
    let operation: BlockOperation
    var countdown: Int
    let code: CInt
    let done: UInt64
  }

  private struct Change {
    let file: ImageFile
    let offset: UInt64
    let count: UInt64
    let bytes: [UInt8]?
  }

  private let inner: any BlockEngine
  private let holdsUnsynchronized: Bool
  private var faults: [Fault] = []
  private var unsynchronized: [Change] = []
  private var isDown = false
  /// Everything asked for so far, in order; failures too.
  package private(set) var log: [Record] = []

  /// An engine that fails nothing yet.
  package init(over inner: any BlockEngine = SynchronousEngine(), holdsUnsynchronized: Bool = false) {
    self.inner = inner
    self.holdsUnsynchronized = holdsUnsynchronized
  }

  /// Lets the operation after the next `skipping` ones of its kind fail, once.
  /// - Parameter done: how many bytes a write writes before it fails: a short transfer.
  package func fail(_ operation: BlockOperation, skipping: Int = 0, code: CInt, done: UInt64 = 0) {
    faults.append(Fault(operation: operation, countdown: skipping, code: code, done: done))
  }

  /// How many changes wait for `synchronize`.
  package var unsynchronizedCount: Int { unsynchronized.count }

  /// The power goes: of each change that waits, only what `keeping` returns (a number of bytes, from its
  /// start) reaches the medium. Every operation from now on fails with ENODEV.
  package func crash(keeping: (_ index: Int, _ count: UInt64) -> UInt64) throws(BlockIOError) {
    let changes = unsynchronized
    unsynchronized = []
    isDown = true
    for (index, change) in changes.enumerated() {
      try apply(change, count: min(change.count, keeping(index, change.count)))
    }
  }

  /// Forgets what was asked for so far.
  package func clearLog() { log = [] }

  package func read(
    _ file: ImageFile, at offset: UInt64, into parts: UnsafeBufferPointer<iovec>
  ) throws(BlockIOError) {
    try begin(.read, file, offset, parts.byteCount ?? .max) { _ throws(BlockIOError) in }
    try inner.read(file, at: offset, into: parts)
    for change in unsynchronized where change.file === file {
      overlay(change, on: parts, from: offset)
    }
  }

  package func write(
    _ file: ImageFile, at offset: UInt64, from parts: UnsafeBufferPointer<iovec>
  ) throws(BlockIOError) {
    let bytes = parts.gathered()
    let count = UInt64(bytes.count)
    try begin(.write, file, offset, count) { (done) throws(BlockIOError) in
      try change(Change(file: file, offset: offset, count: min(done, count), bytes: bytes))
    }
    try change(Change(file: file, offset: offset, count: count, bytes: bytes))
  }

  package func synchronize(_ file: ImageFile) throws(BlockIOError) {
    try begin(.synchronize, file, 0, 0) { _ throws(BlockIOError) in }
    let changes = unsynchronized.filter { $0.file === file }
    unsynchronized.removeAll { $0.file === file }
    for change in changes { try apply(change, count: change.count) }
    try inner.synchronize(file)
  }

  package func zero(_ file: ImageFile, _ range: Range<UInt64>, unmap: Bool) throws(BlockIOError) {
    let count = range.upperBound - range.lowerBound
    try begin(.zero, file, range.lowerBound, count) { _ throws(BlockIOError) in }
    try change(Change(file: file, offset: range.lowerBound, count: count, bytes: nil))
  }

  private func begin(
    _ operation: BlockOperation, _ file: ImageFile, _ offset: UInt64, _ count: UInt64,
    partly: (UInt64) throws(BlockIOError) -> Void
  ) throws(BlockIOError) {
    log.append(Record(operation: operation, path: file.path, offset: offset, count: count))
    var code: CInt? = isDown ? ENODEV : nil
    if let index = faults.firstIndex(where: { $0.operation == operation }), !isDown {
      faults[index].countdown -= 1
      if faults[index].countdown < 0 {
        let fault = faults.remove(at: index)
        code = fault.code
        if fault.done > 0 { try partly(fault.done) }
      }
    }
    if let code { throw .transfer(operation, path: file.path, offset: offset, count: count, code: code) }
  }

  private func change(_ change: Change) throws(BlockIOError) {
    if holdsUnsynchronized { unsynchronized.append(change) } else { try apply(change, count: change.count) }
  }

  private func apply(_ change: Change, count: UInt64) throws(BlockIOError) {
    guard count > 0 else { return }
    guard let bytes = change.bytes else {
      return try inner.zero(change.file, change.offset..<change.offset + count, unmap: true)
    }
    try inner.write(change.file, at: change.offset, from: bytes[..<Int(count)])
  }

  private func overlay(_ change: Change, on parts: UnsafeBufferPointer<iovec>, from offset: UInt64) {
    let start = max(change.offset, offset)
    let end = change.offset + change.count
    guard start < end else { return }
    let skipped = Int(start - change.offset)
    guard let bytes = change.bytes else {
      return parts.overwrite(at: start - offset, count: end - start, with: nil)
    }
    bytes.withUnsafeBytes {
      guard let base = $0.baseAddress else { return }
      parts.overwrite(at: start - offset, count: end - start, with: base + skipped)
    }
  }
}
