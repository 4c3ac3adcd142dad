// Files in memory behind a cache that is lost when the power goes.
import BlockIO
import Glibc
import Simulation

/// Holds files as they were when they were first touched, and everything written since: what was synchronised
/// survives a crash, of the rest any part may.
final class VolatileMedium: BlockEngine {
  struct Change {
    let sequence: Int
    let offset: Int
    /// Nil for zeros.
    let bytes: [UInt8]?
    let count: Int
  }

  private final class Contents {
    let file: ImageFile
    var visible: [UInt8]
    var durable: [UInt8]
    var pending: [Change] = []

    init(_ file: ImageFile) throws(BlockIOError) {
      self.file = file
      var bytes = [UInt8](repeating: 0, count: Int(file.size))
      try SynchronousEngine().read(file, at: 0, into: &bytes)
      visible = bytes
      durable = bytes
    }
  }

  private var all: [Contents] = []
  private(set) var sequence = 0
  /// Everything is refused from now on.
  private(set) var isDown = false

  private func contents(_ file: ImageFile) throws(BlockIOError) -> Contents {
    if isDown { throw .transfer(.read, path: file.path, offset: 0, count: 0, code: ENODEV) }
    if let known = all.first(where: { $0.file === file }) { return known }
    let new = try Contents(file)
    all.append(new)
    return new
  }

  func read(_ file: ImageFile, at offset: UInt64, into parts: UnsafeBufferPointer<iovec>) throws(BlockIOError)
  {
    let bytes = try contents(file).visible
    parts.fillWithZeros()
    guard offset < bytes.count else { return }
    bytes.withUnsafeBytes {
      parts.overwrite(at: 0, count: UInt64($0.count) - offset, with: $0.baseAddress! + Int(offset))
    }
  }

  func write(_ file: ImageFile, at offset: UInt64, from parts: UnsafeBufferPointer<iovec>)
    throws(BlockIOError)
  {
    let bytes = parts.reduce(into: [UInt8]()) {
      $0.append(contentsOf: UnsafeRawBufferPointer(start: $1.iov_base, count: $1.iov_len))
    }
    try change(file, Int(offset), bytes, bytes.count)
  }

  func zero(_ file: ImageFile, _ range: Range<UInt64>, unmap: Bool) throws(BlockIOError) {
    let end = min(Int(range.upperBound), try contents(file).visible.count)
    guard Int(range.lowerBound) < end else { return }
    try change(file, Int(range.lowerBound), nil, end - Int(range.lowerBound))
  }

  func synchronize(_ file: ImageFile) throws(BlockIOError) { try synchronize(file, upTo: .max) }

  /// What was changed before counts, and no more: as a real fdatasync that began then.
  func synchronize(_ file: ImageFile, upTo limit: Int) throws(BlockIOError) {
    let contents = try contents(file)
    for change in contents.pending where change.sequence <= limit {
      VolatileMedium.apply(change, change.count, &contents.durable)
    }
    contents.pending.removeAll { $0.sequence <= limit }
  }

  /// The power goes. The files become what the medium has: all that was synchronised, and of each other
  /// change nothing, all or a beginning, in whole units.
  func crash(_ random: inout RandomStream, unit: Int) throws {
    for contents in all where !contents.file.isReadOnly {
      for change in contents.pending {
        let count =
          switch random.next() % 3 {
          case 0: 0
          case 1: change.count
          default: Int(random.next() % UInt64(change.count / unit + 1)) * unit
          }
        VolatileMedium.apply(change, count, &contents.durable)
      }
      try SynchronousEngine().write(contents.file, at: 0, from: contents.durable[...])
    }
    isDown = true
    all = []
  }

  /// The files become what is seen of them.
  func settle() throws {
    for contents in all where !contents.file.isReadOnly {
      try SynchronousEngine().write(contents.file, at: 0, from: contents.visible[...])
    }
    all = []
  }

  private func change(_ file: ImageFile, _ offset: Int, _ bytes: [UInt8]?, _ count: Int) throws(BlockIOError)
  {
    let contents = try contents(file)
    sequence += 1
    let change = Change(sequence: sequence, offset: offset, bytes: bytes, count: count)
    VolatileMedium.apply(change, count, &contents.visible)
    contents.pending.append(change)
  }

  private static func apply(_ change: Change, _ count: Int, _ target: inout [UInt8]) {
    guard count > 0 else { return }
    let end = change.offset + count
    if target.count < end { target.append(contentsOf: repeatElement(0, count: end - target.count)) }
    target.withUnsafeMutableBytes { target in
      if let bytes = change.bytes {
        bytes.withUnsafeBytes { _ = memcpy(target.baseAddress! + change.offset, $0.baseAddress!, count) }
      } else {
        memset(target.baseAddress! + change.offset, 0, count)
      }
    }
  }
}
