// From what fio measured to a distribution, and how well it fits.
package import DiskModel
import Simulation

/// The model of a disk on which fio measured latencies.
package struct FioFit {
  /// How one operation came out.
  package struct Quality {
    package let operation: ModelRequest.Operation
    package let count: UInt64
    /// How many bins there were; nil where percentiles had to do.
    package let bins: Int?
    /// fio's own, ns.
    package let mean: Double?
    /// The table's, ns.
    package let fitted: UInt64
    /// Of the percentiles that fio printed, the one that is furthest off, and by how much of itself.
    package let worst: (percentile: QuantilePoint, error: Double)?

    /// Of the mean, as a part of fio's; nil if fio did not say it.
    package var meanError: Double? {
      guard let mean, mean >= 1 else { return nil }
      return (Double(fitted) - mean) / mean
    }
  }

  package let parameters: ParameterTable
  package let qualities: [Quality]
  package let result: FioResult

  package init(_ result: FioResult) {
    self.result = result
    var parameters: ParameterTable = ["kind": "distribution"]
    var qualities: [Quality] = []
    for latencies in result.latencies {
      let points = latencies.bins.isEmpty ? Self.points(percentiles: latencies) : Self.points(bins: latencies)
      parameters[latencies.operation.key] = ["table": .array(points.map { .string("\($0)") })]
      let table = QuantileTable(.table(points))
      var worst: (percentile: QuantilePoint, error: Double)?
      for point in latencies.percentiles where point.latency > .zero {
        // Shares as parts of 2^64.
        let number = UInt64(min(UInt128(point.share) << 64 / UInt128(QuantilePoint.all), UInt128(UInt64.max)))
        let value = Double(table.value(at: number).nanoseconds)
        let error = value / Double(point.latency.nanoseconds) - 1
        if worst.map({ abs($0.error) < abs(error) }) ?? true { worst = (point, error) }
      }
      qualities.append(
        Quality(
          operation: latencies.operation, count: latencies.count,
          bins: latencies.bins.isEmpty ? nil : latencies.bins.count, mean: latencies.mean,
          fitted: table.mean.nanoseconds, worst: worst))
    }
    self.parameters = parameters
    self.qualities = qualities
  }

  /// What its user ought to know, a line each.
  package var notes: [String] {
    var notes: [String] = []
    if result.depth > 1 {
      notes.append(
        "'\(result.path)' was measured at depth \(result.depth): these latencies have the waiting in them; "
          + "'servers' would count it twice, and at other depths they are wrong")
    }
    for quality in qualities {
      guard let error = quality.meanError, abs(error) > 0.02 else { continue }
      notes.append(
        "'\(result.path)': the \(quality.operation.key) mean of the fit is \(percent(error)) off"
          + (quality.bins == nil ? ": measure with --output-format=json+, which has bins" : ""))
    }
    return notes
  }

  /// A line for each operation: where it is from, and its errors.
  package var summary: [String] {
    qualities.map { quality in
      var line = "\(quality.operation.key): \(quality.count) latencies from "
      line += quality.bins.map { "\($0) bins" } ?? "percentiles"
      line += ", mean \(fixed(Double(quality.fitted) / 1000, 3)) us"
      if let mean = quality.mean, let error = quality.meanError {
        line += ", fio's \(fixed(mean / 1000, 3)) us (error \(percent(error)))"
      }
      if let (point, error) = quality.worst {
        line += "; worst of fio's percentiles: \(String("\(point)".prefix { $0 != "%" })) (\(percent(error)))"
      }
      return line
    }
  }

  /// The model file.
  package var toml: String {
    let jobs = result.jobs.joined(separator: ", ")
    var comments = ["from '\(result.path)' (\(result.version)), job \(jobs), depth \(result.depth)"]
    comments += summary + notes
    return comments.map { "# \(oneLine($0))\n" }.joined() + parameters.toml
  }

  /// What is in a file may contain anything; a comment ends with its line.
  private func oneLine(_ text: String) -> String {
    String(text.unicodeScalars.map { $0.value < 32 || $0.value == 127 ? "?" : Character($0) })
  }

  private func percent(_ share: Double) -> String {
    (share < 0 ? "-" : "+") + fixed(abs(share) * 100, 2) + " %"
  }

  /// The bins' edges and what is below each: within a bin all values are alike.
  ///
  /// fio has 64 bins for each power of two from 128 ns on, and names each by its middle (`plat_idx_to_val`
  /// in its stat.c).
  private static func points(bins latencies: FioResult.Latencies) -> [QuantilePoint] {
    var points: [QuantilePoint] = []
    func add(_ below: UInt64, _ edge: UInt64) {
      let share = UInt64(UInt128(below) * UInt128(QuantilePoint.all) / UInt128(latencies.count))
      let value = min(max(edge, latencies.minimum), latencies.maximum)
      let point = QuantilePoint(
        share: share,
        latency: max(SimulationDuration(nanoseconds: value), points.last?.latency ?? .zero))
      if points.last != point { points.append(point) }
    }
    var below: UInt64 = 0
    for (index, bin) in latencies.bins.enumerated() {
      let half = bin.value < 128 ? 0 : UInt64(1) << UInt64(63 - bin.value.leadingZeroBitCount - 7)
      let next = index + 1 < latencies.bins.count ? latencies.bins[index + 1].value : .max
      add(below, bin.value - half)
      below += bin.count
      add(below, min(bin.value + half, next))
    }
    return points
  }

  /// The percentiles between the extremes.
  private static func points(percentiles latencies: FioResult.Latencies) -> [QuantilePoint] {
    var points = [QuantilePoint(share: 0, latency: SimulationDuration(nanoseconds: latencies.minimum))]
    for point in latencies.percentiles {
      let value = min(max(point.latency.nanoseconds, latencies.minimum), latencies.maximum)
      let clamped = QuantilePoint(share: point.share, latency: SimulationDuration(nanoseconds: value))
      if points.last != clamped { points.append(clamped) }
    }
    let end = QuantilePoint(
      share: QuantilePoint.all, latency: SimulationDuration(nanoseconds: latencies.maximum))
    if points.last != end { points.append(end) }
    return points
  }
}
