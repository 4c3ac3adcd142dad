// Faults in TOML.
package import BlockDevice
import DiskModel
import Simulation

extension Fault {
  /// Reads one `[[…fault]]`.
  /// - Parameter isOfNode: whether it is a node's; a power cut is that of the whole node then.
  init(_ table: ConfigurationTable, isOfNode: Bool = false) throws(ConfigurationError) {
    let word = try table.string("kind")
    guard let word else {
      throw table.error("a fault needs 'kind', one of \(kindNames.joined(separator: ", "))")
    }
    guard let kind = FaultKind(rawValue: word) else {
      let near = nearNames(to: word, among: kindNames)
      throw table.error(
        "unknown fault kind \"\(word)\"; "
          + (near.isEmpty
            ? "known are \(kindNames.joined(separator: ", "))"
            : "did you mean \(near.map { "\"\($0)\"" }.joined(separator: " or "))?"),
        key: "kind")
    }
    self.init(kind, name: try table.string("name"))
    self.isOfNode = isOfNode
    let reader = FaultReader(table: table, kind: kind)
    trigger = try reader.trigger()
    if let names = try reader.strings("operations") {
      guard let operations = FaultOperations(names: names) else {
        throw table.error(
          "'operations' is \(names), not some of \(FaultOperations.all.names.joined(separator: ", "))",
          key: "operations")
      }
      self.operations = operations
    }
    sectors = try reader.parsed(
      "sectors", as: "sectors of 512 bytes, like \"2048-4095\" or \"7\"", sectorRange)
    try readParameters(reader)
    // A key that another kind has, too: better than "unknown".
    for other in FaultKind.allCases {
      for key in other.parameterNames where table.has(key) && !kind.parameterNames.contains(key) {
        throw table.error(
          "a \(kind.rawValue) has no '\(key)'; it has \(kind.parameterNames.joined(separator: ", "))",
          key: key)
      }
    }
    try table.finish()
    do throws(FaultError) { try validate() } catch { throw table.error(error.description, key: error.key) }
  }

  private mutating func readParameters(_ reader: FaultReader) throws(ConfigurationError) {
    // How many there may be is `validate`'s to say.
    if let bits = try reader.number("bits") { self.bits = bits }
    number = try reader.number("number")
    if let space = try reader.bytes("space") { self.space = space }
    if let history = try reader.bytes("history") { self.history = history }
    if let cache = try reader.bytes("cache") { self.cache = cache }
    if let factor = try reader.parts(
      "factor", per: 1000, in: 1000...1_000_000_000, as: "a number from 1 to 1000000, like 2.5")
    {
      self.factor = factor
    }
    if let extra = try reader.duration("extra") { self.extra = extra }
    if let keeps = try reader.word("keeps", Survival.self) { self.keeps = keeps }
    if let answer = try reader.word("answer", Answer.self) { self.answer = answer }
    torn = try reader.number("torn")
  }
}

private let kindNames = FaultKind.allCases.map(\.rawValue)

/// `2048-4095`: half-open.
private func sectorRange(_ text: String) -> Range<UInt64>? {
  let ends = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false).map { UInt64($0) }
  guard let first = ends[0], let last = ends[ends.count - 1], first <= last, last < 1 << 54 else {
    return nil
  }
  return first..<last + 1
}

/// Reads those keys that a kind has.
private struct FaultReader {
  let table: ConfigurationTable
  let kind: FaultKind

  private func has(_ key: String) -> Bool { kind.parameterNames.contains(key) }

  func strings(_ key: String) throws(ConfigurationError) -> [String]? {
    has(key) ? try table.strings(key) : nil
  }

  func number(_ key: String) throws(ConfigurationError) -> UInt64? {
    has(key) ? try table.integer(key, in: 0...Int.max).map { UInt64($0) } : nil
  }

  func parts(
    _ key: String, per unit: UInt64, in range: ClosedRange<UInt64>, as expected: String
  ) throws(ConfigurationError) -> UInt64? {
    has(key) ? try table.parts(key, per: unit, in: range, as: expected) : nil
  }

  func parsed<Value>(
    _ key: String, as expected: String, _ parse: (String) -> Value?
  ) throws(ConfigurationError) -> Value? {
    has(key) ? try table.parsed(key, as: expected, parse) : nil
  }

  func duration(_ key: String) throws(ConfigurationError) -> SimulationDuration? {
    try parsed(key, as: "a time up to a day, like \"1.5s\" or \"200us\"") {
      SimulationDuration(parsing: $0).flatMap { $0 <= .longest ? $0 : nil }
    }
  }

  func time(_ key: String) throws(ConfigurationError) -> SimulationTime? {
    try parsed(key, as: "a simulated time, like \"1.5s\"") {
      SimulationDuration(parsing: $0).flatMap { $0.nanoseconds < 1 << 62 ? SimulationTime.zero + $0 : nil }
    }
  }

  func bytes(_ key: String) throws(ConfigurationError) -> UInt64? {
    try parsed(key, as: "a size like \"64M\" or \"4G\", a multiple of 4 KiB", Scenario.byteCount)
  }

  func word<Word: RawRepresentable & CaseIterable>(
    _ key: String, _: Word.Type
  ) throws(ConfigurationError) -> Word? where Word.RawValue == String {
    try parsed(
      key, as: "one of \(Word.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", "))",
      Word.init(rawValue:))
  }

  func trigger() throws(ConfigurationError) -> FaultTrigger {
    var trigger = FaultTrigger()
    trigger.at = try time("at")
    trigger.after = try number("after")
    trigger.until = try time("until")
    trigger.duration = try duration("for")
    if has("every"),
      let every = try table.durationOrCount("every", as: "a time like \"10s\", or a number of requests")
    {
      trigger.period = every.duration.map { .span($0) } ?? .requests(every.count)
    }
    if let billionths = try parts(
      "probability", per: UInt64(Probability.certain), in: 1...UInt64(Probability.certain),
      as: "a number above 0, at least 0.000000001, and at most 1")
    {
      trigger.probability = Probability(billionths: UInt32(billionths))
    }
    trigger.count = try number("count")
    return trigger
  }
}

extension FaultPlan {
  /// Reads a file of `[[fault]]` tables.
  package static func load(path: String) throws(ConfigurationError) -> FaultPlan {
    let table = try ConfigurationTable(text: try readText(path), file: path)
    var faults: [Fault] = []
    for fault in try table.tables("fault") { faults.append(try Fault(fault)) }
    try table.finish()
    guard !faults.isEmpty else { throw ConfigurationError("no [[fault]] in it", file: path) }
    let plan = FaultPlan(faults)
    do throws(FaultError) { try plan.validate() } catch {
      throw ConfigurationError(error.description, file: path)
    }
    return plan
  }
}

extension Fault {
  /// As `Fault.init(_:)` reads it, under this heading.
  func toml(_ heading: String) -> String {
    var lines = ["[[\(heading)]]", "kind = \"\(kind.rawValue)\"", "name = \"\(name)\""]
    func add(_ key: String, _ value: String?) {
      if let value, kind.parameterNames.contains(key) { lines.append("\(key) = \(value)") }
    }
    add("at", trigger.at.map { "\"\($0.nanoseconds)ns\"" })
    add("after", trigger.after.map(String.init))
    add("until", trigger.until.map { "\"\($0.nanoseconds)ns\"" })
    add("for", trigger.duration.map { "\"\($0)\"" })
    switch trigger.period {
    case .span(let period): add("every", "\"\(period)\"")
    case .requests(let count): add("every", "\(count)")
    case nil: break
    }
    add("probability", trigger.probability.map { decimal(UInt64($0.billionths), digits: 9) })
    add("count", trigger.count.map(String.init))
    add("operations", "[\(operations.names.map { "\"\($0)\"" }.joined(separator: ", "))]")
    add("sectors", sectors.map { "\"\($0.lowerBound)-\($0.upperBound - 1)\"" })
    add("bits", "\(bits)")
    add("number", number.map(String.init))
    if space > 0 { add("space", "\"\(space)\"") }
    add("history", "\"\(history)\"")
    add("cache", "\"\(cache)\"")
    add("factor", decimal(factor, digits: 3))
    add("extra", "\"\(extra)\"")
    add("keeps", "\"\(keeps.rawValue)\"")
    add("torn", torn.map(String.init))
    if answer != .never { add("answer", "\"\(answer.rawValue)\"") }
    return lines.joined(separator: "\n") + "\n"
  }

  private func decimal(_ parts: UInt64, digits: Int) -> String {
    var unit: UInt64 = 1
    for _ in 0..<digits { unit *= 10 }
    let fraction = String(parts % unit)
    return "\(parts / unit)." + String(repeating: "0", count: digits - fraction.count) + fraction
  }
}
