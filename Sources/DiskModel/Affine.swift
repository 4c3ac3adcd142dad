// A fixed time for each request, and a time for each byte.
package import Simulation

/// `latency + bytes / bandwidth`, any number of requests at a time.
///
/// Flush, discard and write zeroes move no bytes: they cost the latency alone. Closed form, no state.
package struct AffineModel: DiskModel {
  package let latency: SimulationDuration
  /// Bytes per second of simulated time; nil costs nothing.
  package let bandwidth: UInt64?

  package init(latency: SimulationDuration, bandwidth: UInt64? = nil) {
    self.latency = latency
    self.bandwidth = bandwidth
  }

  package init(_ reader: ParameterReader) throws(DiskModelError) {
    latency = try reader.required("latency", reader.duration("latency"))
    bandwidth = try reader.bandwidth("bandwidth")
    try reader.finish()
  }

  package var minimumLatency: SimulationDuration { latency }

  package var nextWake: SimulationTime? { nil }

  package func submit(
    _ request: ModelRequest, at now: SimulationTime, into finished: inout [ModelCompletion]
  ) {
    finished.append(ModelCompletion(sequence: request.sequence, time: now + duration(of: request)))
  }

  package func advance(to now: SimulationTime, into finished: inout [ModelCompletion]) {}

  /// Rounded up to a nanosecond.
  package func duration(of request: ModelRequest) -> SimulationDuration {
    guard let bandwidth, request.operation == .read || request.operation == .write else { return latency }
    let product = request.length.multipliedFullWidth(by: 1_000_000_000)
    // Does not fit only for a request of centuries.
    guard product.high < bandwidth else { return SimulationDuration(nanoseconds: .max) }
    let (quotient, remainder) = bandwidth.dividingFullWidth(product)
    let (sum, overflow) = latency.nanoseconds.addingReportingOverflow(quotient)
    return SimulationDuration(nanoseconds: overflow ? .max : remainder == 0 ? sum : sum &+ 1)
  }
}
