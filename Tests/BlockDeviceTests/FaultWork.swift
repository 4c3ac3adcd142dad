// Random requests for devices with faults.
import BlockIO
import Glibc
import Simulation

@testable import BlockDevice

/// The same requests at the same times for the same seed, whatever becomes of them.
struct RandomWork {
  let seed: UInt64
  var count = 200
  /// Looks at the device between requests, and more often than it asks for, from this seed on.
  var interruptions: UInt64?

  func run(_ rig: FaultRig) {
    var random = RandomStream(seed: seed, name: "work")
    var interruptions = interruptions.map { RandomStream(seed: $0, name: "interruptions") }
    for index in 0..<count {
      let first = Int(random.below(UInt64(rig.sectorCount - 16)))
      let sectors = first..<first + 1 + Int(random.below(16))
      switch random.next() % 10 {
      case 0: rig.submit(.flush)
      case 1: rig.submit(.discard, sectors)
      case 2...4: rig.submit(.read, sectors)
      default: rig.submit(.write, sectors, number: UInt64(index) + 1)
      }
      let pause = SimulationDuration(nanoseconds: random.next() % 4 == 0 ? random.below(4_000_000) : 0)
      let end = rig.now + pause
      if interruptions != nil {
        for _ in 0..<(interruptions?.below(4) ?? 0) {
          rig.advance(
            to: rig.now
              + SimulationDuration(nanoseconds: interruptions?.below(end.since(rig.now).nanoseconds + 1) ?? 0)
          )
        }
      }
      rig.advance(to: end)
    }
  }
}

/// Counts how often something is made durable.
final class FlushCounter: BlockEngine {
  private let inner = SynchronousEngine()
  private(set) var count = 0

  func read(
    _ file: ImageFile, at offset: UInt64, into parts: UnsafeBufferPointer<iovec>
  ) throws(BlockIOError) {
    try inner.read(file, at: offset, into: parts)
  }

  func write(
    _ file: ImageFile, at offset: UInt64, from parts: UnsafeBufferPointer<iovec>
  ) throws(BlockIOError) {
    try inner.write(file, at: offset, from: parts)
  }

  func synchronize(_ file: ImageFile) throws(BlockIOError) {
    count += 1
    try inner.synchronize(file)
  }

  func zero(_ file: ImageFile, _ range: Range<UInt64>, unmap: Bool) throws(BlockIOError) {
    try inner.zero(file, range, unmap: unmap)
  }
}
