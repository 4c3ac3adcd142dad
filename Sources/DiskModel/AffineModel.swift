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

  init(arguments: ArraySlice<Substring>, of specification: String) throws(DiskModelError) {
    guard let first = arguments.first, arguments.count <= 2, let latency = SimulationDuration(parsing: first)
    else {
      throw DiskModelError(
        "model '\(specification)' has no valid latency; write it like affine:50us or affine:50us:500MB/s")
    }
    self.latency = latency
    guard arguments.count == 2, let text = arguments.last else {
      bandwidth = nil
      return
    }
    guard let bandwidth = Self.bandwidth(text) else {
      throw DiskModelError(
        "model '\(specification)' has no valid bandwidth; write it like affine:50us:500MB/s or :100MiB/s")
    }
    self.bandwidth = bandwidth
  }

  package var specification: String {
    guard let bandwidth else { return "affine:\(latency)" }
    let (unit, scale) = Self.units.first { bandwidth % $0.1 == 0 } ?? ("B/s", 1)
    return "affine:\(latency):\(bandwidth / scale)\(unit)"
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

  /// Larger ones first, `B/s` last: every unit ends in that.
  private static let units: [(String, UInt64)] = [
    ("GiB/s", 1 << 30), ("GB/s", 1_000_000_000), ("MiB/s", 1 << 20), ("MB/s", 1_000_000), ("KiB/s", 1 << 10),
    ("kB/s", 1_000), ("B/s", 1),
  ]

  private static func bandwidth(_ text: Substring) -> UInt64? {
    guard let (unit, scale) = Self.units.first(where: { text.hasSuffix($0.0) }),
      let number = UInt64(text.dropLast(unit.count)), number > 0
    else { return nil }
    let (product, overflow) = number.multipliedReportingOverflow(by: scale)
    return overflow ? nil : product
  }
}
