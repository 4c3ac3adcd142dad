// Power that goes at a chosen moment.
import BlockIO
import Glibc
import Simulation
import Testing

@testable import DiskImage

/// Passes a number of changes on to an engine that keeps them in its cache, and then the power is off.
final class PowerCut: BlockEngine {
  let medium = FaultyEngine(holdsUnsynchronized: true)
  private var left: Int
  private(set) var isOff = false

  init(after changes: Int) { left = changes }

  func read(
    _ file: ImageFile, at offset: UInt64, into parts: UnsafeBufferPointer<iovec>
  ) throws(BlockIOError) {
    try requirePower(file, .read)
    try medium.read(file, at: offset, into: parts)
  }

  func write(
    _ file: ImageFile, at offset: UInt64, from parts: UnsafeBufferPointer<iovec>
  ) throws(BlockIOError) {
    try count(file, .write)
    try medium.write(file, at: offset, from: parts)
  }

  func synchronize(_ file: ImageFile) throws(BlockIOError) {
    try count(file, .synchronize)
    try medium.synchronize(file)
  }

  func zero(_ file: ImageFile, _ range: Range<UInt64>, unmap: Bool) throws(BlockIOError) {
    try count(file, .zero)
    try medium.zero(file, range, unmap: unmap)
  }

  private func count(_ file: ImageFile, _ operation: BlockOperation) throws(BlockIOError) {
    if left == 0 { isOff = true }
    left -= 1
    try requirePower(file, operation)
  }

  private func requirePower(_ file: ImageFile, _ operation: BlockOperation) throws(BlockIOError) {
    if isOff { throw .transfer(operation, path: file.path, offset: 0, count: 0, code: ENODEV) }
  }
}

extension FaultyEngine {
  /// The power goes: of what was not synchronised any sectors reach the medium.
  func cutPower(_ random: inout RandomStream) throws {
    try crash { _, count in
      switch random.next() % 3 {
      case 0: 0
      case 1: count
      default: random.next() % (count / 512 + 1) * 512
      }
    }
  }
}

/// Random requests, flushes among them, until the power goes, which it may within a flush, before any of its
/// fdatasyncs.
/// - Parameter synchronizations: how many a flush has.
/// - Returns: what the disk may be of afterwards: what the last completed flush left, and all that it was since.
func runUntilPowerCut(
  _ disk: any DiskImage, on engine: FaultyEngine, synchronizations: UInt64 = 4, random: inout RandomStream
) throws -> [[UInt8]] {
  var model = Model(bytes: try disk.all(), random: random)
  var possible = [model.bytes]
  for _ in 0..<model.random.next() % 30 {
    try model.step(disk)
    possible.append(model.bytes)
    if model.random.next() % 6 == 0 {
      try disk.flush()
      possible = [model.bytes]
    }
  }
  if model.random.next() % 2 == 0 {
    engine.fail(.synchronize, skipping: Int(model.random.next() % synchronizations), code: EIO)
    try? disk.flush()
  }
  random = model.random
  try engine.cutPower(&random)
  // Fails if anything is left to write.
  try? disk.close()
  return possible
}

/// The first byte that none of the states has.
func lostByte(_ bytes: [UInt8], _ possible: [[UInt8]]) -> Int? {
  if possible.contains(bytes) { return nil }
  return bytes.indices.first { index in !possible.contains { $0[index] == bytes[index] } }
}

/// Runs an operation again and again, on the same start, and cuts the power after each of its changes in
/// turn; of what was not synchronised any sectors reach the medium.
/// - Parameters:
///   - after: looks at the files after the crash.
///   - completed: looks at them after the operation was run once more, to its end.
func cutPowerEverywhere(
  seed: UInt64, start: () -> Void, operation: (any BlockEngine) throws -> Void,
  after: (String) throws -> Void, completed: () throws -> Void
) throws {
  var random = RandomStream(seed: seed, name: "cut")
  for cut in 0..<10_000 {
    start()
    let engine = PowerCut(after: cut)
    do { try operation(engine) } catch { try #require(engine.isOff, "\(error)") }
    let isDone = !engine.isOff
    try engine.medium.cutPower(&random)
    try after("seed \(seed), power cut after \(cut) changes")
    try operation(SynchronousEngine())
    try completed()
    if isDone { return }
  }
  Issue.record("the operation has no end")
}
