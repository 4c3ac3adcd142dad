// What fio measured.
package import DiskModel
import Linux
import Simulation
import Telemetry

/// The latencies in a result of `fio --output-format=json` or `json+` (fio 3), by operation.
package struct FioResult {
  /// All of one operation, of all jobs that were taken.
  package struct Latencies {
    package let operation: ModelRequest.Operation
    /// How many.
    package fileprivate(set) var count: UInt64
    /// In nanoseconds.
    package fileprivate(set) var minimum: UInt64
    package fileprivate(set) var maximum: UInt64
    /// In nanoseconds, fio's own; nil if the file does not say.
    package fileprivate(set) var mean: Double?
    /// Nanoseconds in the middle of a bin, and how many fell into it, ascending; empty without `json+`.
    package fileprivate(set) var bins: [Bin]
    /// Ascending; used where there are no bins.
    package let percentiles: [QuantilePoint]
  }

  package struct Bin: Equatable {
    package var value: UInt64
    package var count: UInt64
  }

  package let path: String
  /// `fio-3.33`; empty if it is not said.
  package let version: String
  /// The jobs that were taken.
  package let jobs: [String]
  /// How many requests were under way at a time, at most.
  package let depth: UInt64
  package let latencies: [Latencies]

  /// - Parameter job: takes this one alone.
  package init(path: String, job: String? = nil) throws(ConfigurationError) {
    let text: [UInt8]
    do throws(LinuxError) { text = Array(try readFile(path, limit: 64 << 20)) } catch {
      throw ConfigurationError("cannot \(error)")
    }
    try self.init(text: text, path: path, job: job)
  }

  package init(text: [UInt8], path: String, job: String? = nil) throws(ConfigurationError) {
    let reader = FioReader(file: path)
    let root: JSONText
    do throws(JSONText.SyntaxError) {
      root = try JSONText(parsing: FioResult.withoutPreface(text))
    } catch {
      throw ConfigurationError("not JSON: \(error.message)", file: path, line: error.line)
    }
    self.path = path
    version = root["fio version"]?.string ?? ""
    guard let all = root["jobs"]?.elements, !all.isEmpty else {
      throw reader.error("'jobs' is missing: this is no result of fio --output-format=json", root)
    }
    let taken = all.filter { job == nil || $0["jobname"]?.string == job }
    guard !taken.isEmpty else {
      let names = all.compactMap { $0["jobname"]?.string }
      throw reader.error("no job '\(job ?? "")'; there are \(names.joined(separator: ", "))", root)
    }
    jobs = taken.map { $0["jobname"]?.string ?? "?" }
    depth = taken.reduce(0) { $0 &+ FioReader.depth(of: $1, root["global options"]) }
    var latencies: [Latencies] = []
    for (section, operation) in FioReader.sections {
      var merged: Latencies?
      for job in taken {
        guard let object = job[section], let one = try reader.latencies(object, section, operation) else {
          continue
        }
        if let sofar = merged { merged = try reader.merge(sofar, one, section, job) } else { merged = one }
      }
      if let merged { latencies.append(merged) }
    }
    guard !latencies.isEmpty else {
      throw reader.error("no latencies: no job has 'clat_ns' or 'lat_ns' of anything that was done", root)
    }
    self.latencies = latencies
  }

  /// fio writes warnings before its JSON: blanks instead of those lines.
  private static func withoutPreface(_ text: [UInt8]) -> [UInt8] {
    var start = 0
    while start < text.count, text[start] != UInt8(ascii: "{") {
      start = (text[start...].firstIndex(of: UInt8(ascii: "\n")) ?? text.count - 1) + 1
    }
    guard start < text.count else { return text }
    return text[..<start].map { $0 == UInt8(ascii: "\n") ? $0 : UInt8(ascii: " ") } + text[start...]
  }
}

/// Takes latencies out of fio's objects, and says where it cannot.
private struct FioReader {
  let file: String

  static let sections: [(String, ModelRequest.Operation)] = [
    ("read", .read), ("write", .write), ("trim", .discard), ("sync", .flush),
  ]

  func error(_ message: String, _ place: JSONText) -> ConfigurationError {
    ConfigurationError(message, file: file, line: place.line)
  }

  /// As the job's options say: engines that wait have one request under way, whatever `iodepth` is.
  static func depth(of job: JSONText, _ global: JSONText?) -> UInt64 {
    func option(_ name: String) -> String? {
      job["job options"]?[name]?.string ?? global?[name]?.string
    }
    let waiting = ["sync", "psync", "vsync", "pvsync", "pvsync2", "mmap"]
    let own = waiting.contains(option("ioengine") ?? "psync") ? 1 : UInt64(option("iodepth") ?? "1") ?? 1
    let copies = option("group_reporting") == nil ? 1 : UInt64(option("numjobs") ?? "1") ?? 1
    return own.multipliedReportingOverflow(by: copies).partialValue
  }

  /// nil if the job did nothing of the kind.
  func latencies(
    _ section: JSONText, _ name: String, _ operation: ModelRequest.Operation
  ) throws(ConfigurationError) -> FioResult.Latencies? {
    let found = ["clat_ns", "lat_ns"].compactMap { section[$0] }
    let isDone = section["total_ios"]?.unsigned.map { $0 > 0 } ?? found.contains { $0["N"]?.unsigned != 0 }
    guard isDone else { return nil }
    guard !found.isEmpty else {
      if let old = section["clat"] ?? section["lat"] {
        throw error("'\(name)' has latencies in microseconds: fio 3 or later is needed", old)
      }
      throw error("'\(name)' has neither 'clat_ns' nor 'lat_ns': was latency measurement disabled?", section)
    }
    for object in found where object["bins"]?.members?.isEmpty == false {
      return try latencies(object, name, operation, bins: try bins(object["bins"], name))
    }
    for object in found where object["percentile"]?.members?.isEmpty == false {
      return try latencies(object, name, operation, bins: [])
    }
    throw error(
      "'\(name)' has neither 'bins' (--output-format=json+) nor 'percentile' (clat_percentiles=1)",
      found[0])
  }

  private func latencies(
    _ object: JSONText, _ name: String, _ operation: ModelRequest.Operation, bins: [FioResult.Bin]
  ) throws(ConfigurationError) -> FioResult.Latencies? {
    let points = try percentiles(object["percentile"], name)
    let total = bins.reduce(0) { $0 + $1.count }
    let first = bins.first?.value ?? points.first?.latency.nanoseconds
    let last = bins.last?.value ?? points.last?.latency.nanoseconds
    guard let first, let last else {
      throw error("'\(name)': all of 'bins' are empty", object)
    }
    let minimum = try extreme("min", object, name) ?? first
    let maximum = try extreme("max", object, name) ?? last
    guard minimum <= maximum else {
      throw error("'\(name)': 'min' is \(minimum), more than 'max', \(maximum)", object["min"] ?? object)
    }
    if let mean = object["mean"], mean.number.map({ $0 >= 0 && $0 < 1e15 }) != true {
      throw error("'\(name)': 'mean' is \(mean.summary), not a time in nanoseconds", mean)
    }
    return FioResult.Latencies(
      operation: operation, count: bins.isEmpty ? object["N"]?.unsigned ?? 0 : total, minimum: minimum,
      maximum: maximum, mean: object["mean"]?.number, bins: bins, percentiles: points)
  }

  private func extreme(
    _ key: String, _ object: JSONText, _ name: String
  ) throws(ConfigurationError) -> UInt64? {
    guard let found = object[key] else { return nil }
    return try nanoseconds(found, "'\(name)': '\(key)'")
  }

  private func nanoseconds(_ value: JSONText, _ what: String) throws(ConfigurationError) -> UInt64 {
    guard let number = value.unsigned, number <= SimulationDuration.longest.nanoseconds else {
      throw error("\(what) is \(value.summary), not nanoseconds of at most a day", value)
    }
    return number
  }

  private func bins(_ object: JSONText?, _ name: String) throws(ConfigurationError) -> [FioResult.Bin] {
    var bins: [FioResult.Bin] = []
    var total: UInt64 = 0
    for member in object?.members ?? [] {
      guard let value = UInt64(member.name), value <= SimulationDuration.longest.nanoseconds else {
        throw error(
          "'\(name)': 'bins' has \"\(member.name)\", not nanoseconds of at most a day", member.value)
      }
      guard let count = member.value.unsigned else {
        throw error(
          "'\(name)': 'bins' has \(member.value.summary) at \"\(member.name)\", not a count", member.value)
      }
      let (sum, overflow) = total.addingReportingOverflow(count)
      // Before any are added up: a bin may be there twice.
      guard !overflow, sum <= UInt64(Int64.max) else {
        throw error(
          "'\(name)': the counts of 'bins' do not fit: \(count) more at \"\(member.name)\"", member.value)
      }
      total = sum
      if count > 0 { bins.append(FioResult.Bin(value: value, count: count)) }
    }
    return FioReader.sorted(bins)
  }

  /// Ascending, with one bin for each value.
  private static func sorted(_ bins: [FioResult.Bin]) -> [FioResult.Bin] {
    var result: [FioResult.Bin] = []
    for bin in bins.sorted(by: { $0.value < $1.value }) {
      if result.last?.value == bin.value {
        result[result.count - 1].count += bin.count
      } else {
        result.append(bin)
      }
    }
    return result
  }

  private func percentiles(
    _ object: JSONText?, _ name: String
  ) throws(ConfigurationError) -> [QuantilePoint] {
    var found: [(point: QuantilePoint, member: JSONText.Member)] = []
    for member in object?.members ?? [] {
      guard let share = QuantilePoint.share(percent: member.name) else {
        throw error("'\(name)': 'percentile' has \"\(member.name)\", not a number up to 100", member.value)
      }
      let value = try nanoseconds(member.value, "'\(name)': percentile \(member.name)")
      let latency = SimulationDuration(nanoseconds: value)
      found.append((QuantilePoint(share: share, latency: latency), member))
    }
    found.sort { $0.point.share < $1.point.share }
    for (a, b) in zip(found, found.dropFirst()) where b.point.latency < a.point.latency {
      throw error(
        "'\(name)': percentile \(b.member.name) is \(b.point.latency.nanoseconds) ns, less than percentile "
          + "\(a.member.name), \(a.point.latency.nanoseconds) ns", b.member.value)
    }
    return found.map(\.point)
  }

  /// Two jobs' latencies of one operation: bins can be added, percentiles cannot.
  func merge(
    _ a: FioResult.Latencies, _ b: FioResult.Latencies, _ section: String, _ job: JSONText
  ) throws(ConfigurationError) -> FioResult.Latencies {
    guard !a.bins.isEmpty, !b.bins.isEmpty else {
      throw error(
        "'\(section)' of several jobs with percentiles only, which cannot be added: choose one of the jobs "
          + "(--job), or measure with --output-format=json+ or group_reporting", job)
    }
    let (count, overflow) = a.count.addingReportingOverflow(b.count)
    guard !overflow, count <= UInt64(Int64.max) else {
      throw error("'\(section)': the counts of 'bins' do not fit", job)
    }
    var sum = FioResult.Latencies(
      operation: a.operation, count: count, minimum: min(a.minimum, b.minimum),
      maximum: max(a.maximum, b.maximum), mean: nil, bins: FioReader.sorted(a.bins + b.bins), percentiles: [])
    if let first = a.mean, let second = b.mean {
      sum.mean = (first * Double(a.count) + second * Double(b.count)) / Double(count)
    }
    return sum
  }
}
