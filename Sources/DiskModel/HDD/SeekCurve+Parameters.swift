// A seek curve, as it is written.
import Simulation

extension SeekCurve {
  private enum Form: String, CaseIterable {
    case table
    case twoPiece = "two-piece"
    case lee, root
  }

  /// Reads `seek` and the keys of its form.
  init(_ reader: ParameterReader) throws(DiskModelError) {
    func duration(_ key: String) throws(DiskModelError) -> UInt64 {
      try reader.required(key, reader.duration(key, in: .zero...HDDParameters.Limits.second)).nanoseconds
    }
    switch try reader.required("seek", reader.word("seek", Form.self)) {
    case .table: self = try Self.measured(reader)
    case .twoPiece:
      self = .twoPiece(
        knee: UInt64(
          try reader.required(
            "seek_knee", reader.integer("seek_knee", in: 1...HDDParameters.Limits.cylinders))),
        base: try duration("seek_base"), root: try duration("seek_root"),
        farBase: try duration("seek_far_base"),
        slope: try duration("seek_per_1000"))
      guard isSound else {
        throw reader.error(
          "the seek curve falls at 'seek_knee': the two pieces do not meet", key: "seek_knee")
      }
    case .lee:
      self = .lee(
        minimum: try duration("seek_minimum"), average: try duration("seek_average"),
        full: try duration("seek_full"))
      guard isSound else {
        throw reader.error(
          "no rising curve has this 'seek_minimum', 'seek_average' and 'seek_full'", key: "seek_average")
      }
    case .root:
      self = .root(minimum: try duration("seek_minimum"), average: try duration("seek_average"))
      guard isSound else {
        throw reader.error("'seek_average' is less than 'seek_minimum'", key: "seek_average")
      }
    }
  }

  private static func measured(_ reader: ParameterReader) throws(DiskModelError) -> SeekCurve {
    let distances = try reader.required(
      "seek_distances",
      reader.array("seek_distances", of: "numbers of cylinders from 1") { value -> UInt64? in
        guard case .integer(let number) = value, number > 0 else { return nil }
        return number <= HDDParameters.Limits.cylinders ? UInt64(number) : nil
      })
    let times = try reader.required(
      "seek_times",
      reader.array("seek_times", of: "times up to 1s, like \"1.5ms\"") { value -> UInt64? in
        guard case .string(let text) = value, let time = SimulationDuration(parsing: text) else { return nil }
        return time <= HDDParameters.Limits.second ? time.nanoseconds : nil
      })
    guard !distances.isEmpty, distances.count == times.count else {
      throw reader.error(
        "'seek_distances' has \(distances.count) entries and 'seek_times' \(times.count)", key: "seek_times")
    }
    for (one, next) in zip(distances, distances.dropFirst()) where next <= one {
      throw reader.error("'seek_distances' has \(next) after \(one): they must rise", key: "seek_distances")
    }
    return .table(distances: distances, times: times)
  }
}
