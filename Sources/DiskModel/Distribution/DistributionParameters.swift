// The numbers of a model that draws its latencies.
package import Simulation

/// Distributions (`LatencyShapes`), `servers`, and `[bursts]`.
package struct DistributionParameters: ModelParameters {
  package static let kind = "distribution"

  /// Times of trouble: all latencies are longer by a factor, for a while.
  package struct Bursts: Sendable {
    /// `calm`: the mean time between two of them.
    package let calm: SimulationDuration
    /// `length`: the mean time that one of them lasts.
    package let length: SimulationDuration
    /// `factor`: how many times longer a latency is then.
    package let factor: UInt64
  }

  package let shapes: LatencyShapes
  /// How many requests are served at a time, the others waiting in their order; nil serves all at once.
  ///
  /// Latencies that were measured at some depth have the waiting in them: with servers it counts twice.
  package let servers: Int?
  package let bursts: Bursts?

  package init(_ reader: ParameterReader) throws(DiskModelError) {
    if reader.has("fio") {
      throw reader.error("'fio' is understood in model files alone: model = \"file:PATH\"", key: "fio")
    }
    servers = try reader.integer("servers", in: 1...65_536)
    if let table = try reader.table("bursts") {
      let least = SimulationDuration(nanoseconds: 1_000_000)
      let calm = try table.duration("calm", in: least...SimulationDuration.longest)
      let length = try table.duration("length", in: least...SimulationDuration.longest)
      let factor = try table.integer("factor", in: 2...1000)
      try table.finish()
      bursts = Bursts(
        calm: try table.required("calm", calm), length: try table.required("length", length),
        factor: UInt64(try table.required("factor", factor)))
    } else {
      bursts = nil
    }
    shapes = try LatencyShapes(reader)
    try reader.finish()
  }

  package func make(for context: ModelContext) throws(DiskModelError) -> (any DiskModel)? {
    DistributionModel(self, for: context)
  }
}
