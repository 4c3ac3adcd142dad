// What a disk did, in numbers.
import Simulation
package import Telemetry

/// Counts of one disk since it was opened.
package struct DeviceStatistics {
  package private(set) var reads: UInt64 = 0
  package private(set) var writes: UInt64 = 0
  package private(set) var flushes: UInt64 = 0
  /// Discards and write zeroes.
  package private(set) var others: UInt64 = 0
  package private(set) var errors: UInt64 = 0
  package private(set) var bytesRead: UInt64 = 0
  package private(set) var bytesWritten: UInt64 = 0
  /// From submission to completion, in simulated time.
  package private(set) var latency = LatencyHistogram()

  package init() {}

  package var requests: UInt64 { reads + writes + flushes + others }

  /// Adds what another one has.
  package mutating func add(_ other: DeviceStatistics) {
    reads += other.reads
    writes += other.writes
    flushes += other.flushes
    others += other.others
    errors += other.errors
    bytesRead += other.bytesRead
    bytesWritten += other.bytesWritten
    latency.add(other.latency)
  }

  mutating func record(_ request: BlockRequest, _ status: BlockStatus, latency span: SimulationDuration) {
    switch request.operation {
    case .read:
      reads += 1
      if status == .ok { bytesRead += request.length }
    case .write:
      writes += 1
      if status == .ok { bytesWritten += request.length }
    case .flush: flushes += 1
    case .discard, .writeZeroes: others += 1
    }
    if status != .ok { errors += 1 }
    latency.record(span)
  }
}
