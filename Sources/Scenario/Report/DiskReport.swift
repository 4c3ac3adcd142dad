// What one disk did, as it is reported.
import BlockDevice
package import DiskModel
import Simulation
import Telemetry

/// Numbers of one disk; times in simulated nanoseconds, or in the host's if there are no simulated ones.
package struct DiskReport: Equatable, Sendable {
  package var name: String
  package var model: String
  package var requests: UInt64 = 0
  package var reads: UInt64 = 0
  package var writes: UInt64 = 0
  package var flushes: UInt64 = 0
  package var errors: UInt64 = 0
  /// Decisions of its faults.
  package var faults: UInt64 = 0
  package var bytesRead: UInt64 = 0
  package var bytesWritten: UInt64 = 0
  package var latencyMean: UInt64 = 0
  package var latencyP50: UInt64 = 0
  package var latencyP99: UInt64 = 0
  package var latencyMax: UInt64 = 0
  /// What its model counted of its own, in the order of their names: files keep no other.
  package var counters: [ModelCounter] = [] {
    didSet { counters.sort { $0.name < $1.name } }
  }

  init(name: String, model: String) {
    self.name = name
    self.model = model
  }

  init(name: String, model: String, _ statistics: DeviceStatistics) {
    self.init(name: name, model: model)
    requests = statistics.requests
    reads = statistics.reads
    writes = statistics.writes
    flushes = statistics.flushes
    errors = statistics.errors
    bytesRead = statistics.bytesRead
    bytesWritten = statistics.bytesWritten
    latencyMean = statistics.latency.mean.nanoseconds
    latencyP50 = statistics.latency.percentile(50).nanoseconds
    latencyP99 = statistics.latency.percentile(99).nanoseconds
    latencyMax = statistics.latency.maximum.nanoseconds
  }

  /// The counts by their names in files, in the order in which they are written.
  static let fields: [(name: String, path: any WritableKeyPath<DiskReport, UInt64> & Sendable)] = [
    ("requests", \.requests), ("reads", \.reads), ("writes", \.writes), ("flushes", \.flushes),
    ("errors", \.errors), ("faults", \.faults), ("bytes-read", \.bytesRead),
    ("bytes-written", \.bytesWritten),
    ("latency-mean", \.latencyMean), ("latency-p50", \.latencyP50), ("latency-p99", \.latencyP99),
    ("latency-max", \.latencyMax),
  ]
}
