// A fixed time for each request, and a time for each byte.
package import Simulation

/// `latency + bytes / bandwidth`, any number of requests at a time or `servers` of them.
///
/// Flush, discard and write zeroes move no bytes: they cost their latency alone. Closed form.
package struct AffineModel: DiskModel {
  package let parameters: AffineParameters
  package let minimumLatency: SimulationDuration
  private var servers: ServerPool?

  package init(latency: SimulationDuration, bandwidth: UInt64? = nil, servers: Int? = nil) {
    self.init(AffineParameters(latency: latency, bandwidth: bandwidth, servers: servers))
  }

  package init(_ parameters: AffineParameters) {
    self.parameters = parameters
    minimumLatency = parameters.latencies.all.min() ?? .zero
    servers = parameters.servers.map(ServerPool.init)
  }

  package var nextWake: SimulationTime? { nil }

  package mutating func submit(
    _ request: ModelRequest, at now: SimulationTime, into finished: inout [ModelCompletion]
  ) {
    let service = duration(of: request)
    let done = servers?.serve(at: now, for: service) ?? now + service
    finished.append(ModelCompletion(sequence: request.sequence, time: done))
  }

  package func advance(to now: SimulationTime, into finished: inout [ModelCompletion]) {}

  package var counters: [ModelCounter] { servers.map { [ModelCounter("busy_ns", $0.busy)] } ?? [] }

  /// Rounded up to a nanosecond.
  package func duration(of request: ModelRequest) -> SimulationDuration {
    let latency = parameters.latencies[request.operation]
    guard let bandwidth = parameters.bandwidth, request.operation.movesBytes else { return latency }
    let (sum, overflow) = latency.nanoseconds.addingReportingOverflow(
      transferTime(request.length, at: bandwidth))
    return SimulationDuration(nanoseconds: overflow ? .max : sum)
  }
}
