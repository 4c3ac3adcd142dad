// The numbers of a volume that is sold by requests and bytes per second.
package import Simulation

/// What a provider lets through, and how long a request takes besides.
package struct CloudVolumeParameters: ModelParameters {
  package static let kind = "cloud"

  /// Requests per second for a volume of some size.
  package enum Rate: Sendable {
    /// `iops`.
    case fixed(UInt64)
    /// `iops_per_gib`, at least `iops_min` and at most `iops_max`.
    case sized(perGiB: UInt64, range: ClosedRange<UInt64>)
  }

  package let rate: Rate
  /// `burst_iops`: the rate while credit is left, and `burst_credit`: how many requests can be saved.
  package let burst: (rate: UInt64, credit: UInt64)?
  /// `throughput`, bytes per second; nil is not limited.
  package let throughput: UInt64?
  /// `small_throughput`: that of volumes up to `small_size` bytes.
  package let small: (size: UInt64, throughput: UInt64)?
  /// `io_unit`: a request costs one for each so many bytes.
  package let unit: UInt64
  /// `slack`: for how long what is not used can be saved, bursts apart.
  package let slack: SimulationDuration
  /// `size`: the volume's, bytes; nil takes the disk's.
  package let size: UInt64?
  /// `slow_seconds_per_1000`, in which only `slow_rate_percent` of the rates are given.
  package let slowness: (perThousand: UInt64, percent: UInt64)?
  package let latencies: LatencyShapes

  package init(_ reader: ParameterReader) throws(DiskModelError) {
    rate = try Self.rate(reader)
    let burstRate = try reader.integer("burst_iops", in: 1...10_000_000)
    let credit = try reader.integer("burst_credit", in: 1...1_000_000_000_000)
    burst =
      burstRate == nil && credit == nil
      ? nil
      : (
        UInt64(try reader.required("burst_iops", burstRate)),
        UInt64(try reader.required("burst_credit", credit))
      )
    throughput = try reader.bandwidth("throughput")
    let smallSize = try reader.bytes("small_size")
    let smallThroughput = try reader.bandwidth("small_throughput")
    small =
      smallSize == nil && smallThroughput == nil
      ? nil
      : (
        try reader.required("small_size", smallSize),
        try reader.required("small_throughput", smallThroughput)
      )
    unit = try reader.bytes("io_unit", in: 512...(1 << 30)) ?? 256 << 10
    slack =
      try reader.duration("slack", in: .zero...SimulationDuration(nanoseconds: 60_000_000_000))
      ?? SimulationDuration(nanoseconds: 1_000_000)
    size = try reader.bytes("size", in: 1...(1 << 60))
    let slowSeconds = try reader.integer("slow_seconds_per_1000", in: 1...999)
    let slowRate = try reader.integer("slow_rate_percent", in: 1...99)
    slowness =
      slowSeconds == nil && slowRate == nil
      ? nil
      : (
        UInt64(try reader.required("slow_seconds_per_1000", slowSeconds)),
        UInt64(try reader.required("slow_rate_percent", slowRate))
      )
    latencies = try LatencyShapes(reader)
    try Self.checkLimits(reader, rate, throughput, size)
    try reader.finish()
  }

  private static func rate(_ reader: ParameterReader) throws(DiskModelError) -> Rate {
    let fixed = try reader.integer("iops", in: 1...10_000_000)
    let perGiB = try reader.integer("iops_per_gib", in: 1...1_000_000)
    let least = try reader.integer("iops_min", in: 1...10_000_000)
    let most = try reader.integer("iops_max", in: 1...10_000_000)
    if let fixed {
      for (key, other) in [("iops_per_gib", perGiB), ("iops_min", least), ("iops_max", most)]
      where other != nil {
        throw reader.error("'iops' and '\(key)': the rate is either fixed or by size", key: key)
      }
      return .fixed(UInt64(fixed))
    }
    guard let perGiB else {
      throw reader.error("'iops' is missing, or 'iops_per_gib'", key: "iops")
    }
    let range = (least ?? 1, most ?? 10_000_000)
    guard range.0 <= range.1 else {
      throw reader.error("'iops_min' is \(range.0), more than 'iops_max', \(range.1)", key: "iops_min")
    }
    return .sized(perGiB: UInt64(perGiB), range: UInt64(range.0)...UInt64(range.1))
  }

  /// What the provider does not sell: `limit_iops`, `limit_iops_per_gib` (beyond `free_iops`),
  /// `limit_throughput`, and `limit_bytes_per_request` of throughput for each of the requests per second.
  private static func checkLimits(
    _ reader: ParameterReader, _ rate: Rate, _ throughput: UInt64?, _ size: UInt64?
  ) throws(DiskModelError) {
    let most = try reader.integer("limit_iops", in: 1...10_000_000)
    let perGiB = try reader.integer("limit_iops_per_gib", in: 1...1_000_000)
    let free = try reader.integer("free_iops", in: 0...10_000_000) ?? 0
    let mostBytes = try reader.bandwidth("limit_throughput")
    let perRequest = try reader.bytes("limit_bytes_per_request", in: 1...(1 << 30))
    if let throughput, let mostBytes, throughput > mostBytes {
      throw reader.error(
        "'throughput' is \(ByteUnit.describe(bandwidth: throughput)), more than 'limit_throughput', "
          + ByteUnit.describe(bandwidth: mostBytes), key: "throughput")
    }
    guard case .fixed(let iops) = rate else { return }
    if let most, iops > most {
      throw reader.error("'iops' is \(iops), more than 'limit_iops', \(most)", key: "iops")
    }
    // A test's small image stands for a volume that is large enough, unless it says otherwise.
    if let size, let perGiB, iops > max(UInt64(free), UInt64(perGiB) * (size >> 30)) {
      throw reader.error(
        "'iops' is \(iops), but 'size', \(size >> 30) GiB, allows \(perGiB) for each GiB", key: "iops")
    }
    if let throughput, let perRequest, throughput > max(iops, UInt64(free)) * perRequest {
      throw reader.error(
        "'throughput' is \(ByteUnit.describe(bandwidth: throughput)), but \(iops) requests per second allow "
          + ByteUnit.describe(bandwidth: max(iops, UInt64(free)) * perRequest), key: "throughput")
    }
  }

  /// The rate that is always there, for a volume of `size` bytes.
  package func requests(forSize size: UInt64) -> UInt64 {
    switch rate {
    case .fixed(let iops): iops
    case .sized(let perGiB, let range): min(max(perGiB * (size >> 30), range.lowerBound), range.upperBound)
    }
  }

  /// Bytes per second for a volume of `size` bytes; nil is not limited.
  package func throughput(forSize size: UInt64) -> UInt64? {
    if let small, size <= small.size { return small.throughput }
    return throughput
  }

  package func make(for context: ModelContext) throws(DiskModelError) -> (any DiskModel)? {
    CloudVolumeModel(self, for: context)
  }
}
