// Parameters with types and bounds, every key accounted for.
package import Simulation

/// Reads one table: typed look-ups, each of which throws with key and value; at last `finish`.
package final class ParameterReader {
  private let table: ParameterTable
  /// Before each key in messages: `zone[2].`; empty at the top.
  private let path: String
  private var known: [String] = []

  package init(_ table: ParameterTable, path: String = "") {
    self.table = table
    self.path = path
  }

  package func has(_ key: String) -> Bool { table[key] != nil }

  /// Whether there are several values: keys that take one or more look before they read.
  package func isArray(_ key: String) -> Bool {
    if case .array = table[key] { true } else { false }
  }

  /// A whole number; also one that a specification (`hdd-7200:depth=1`) wrote as text.
  package func integer(_ key: String, in range: ClosedRange<Int>) throws(DiskModelError) -> Int? {
    try value(key, "a whole number from \(range.lowerBound) to \(range.upperBound)") {
      let number: Int?
      switch $0 {
      case .integer(let value): number = Int(exactly: value)
      case .string(let text): number = Int(text)
      default: number = nil
      }
      guard let number, range.contains(number) else { return nil }
      return number
    }
  }

  package func boolean(_ key: String) throws(DiskModelError) -> Bool? {
    try value(key, "true or false") {
      switch $0 {
      case .boolean(let value): value
      case .string("true"): true
      case .string("false"): false
      default: nil
      }
    }
  }

  package func string(_ key: String) throws(DiskModelError) -> String? {
    try value(key, "a string in quotes") { if case .string(let text) = $0 { text } else { nil } }
  }

  /// `50us`, `8.5ms`, `0`.
  package func duration(
    _ key: String, in range: ClosedRange<SimulationDuration> = .zero...SimulationDuration.longest
  ) throws(DiskModelError) -> SimulationDuration? {
    try value(key, "a time from \(range.lowerBound) to \(range.upperBound), like \"50us\" or \"8.5ms\"") {
      let found: SimulationDuration?
      switch $0 {
      case .string(let text): found = SimulationDuration(parsing: text)
      case .integer(0): found = .zero
      default: found = nil
      }
      guard let found, range.contains(found) else { return nil }
      return found
    }
  }

  /// `4096`, `64KiB`, `8TB`: bytes.
  package func bytes(
    _ key: String, in range: ClosedRange<UInt64> = 0...(1 << 60)
  ) throws(DiskModelError) -> UInt64? {
    try value(key, "a size from \(range.lowerBound) to \(range.upperBound) bytes, like 4096 or \"64KiB\"") {
      let found: UInt64?
      switch $0 {
      case .string(let text): found = ByteUnit.bytes(text)
      case .integer(let number): found = UInt64(exactly: number)
      default: found = nil
      }
      guard let found, range.contains(found) else { return nil }
      return found
    }
  }

  /// `800MiB/s`, `500MB/s`: bytes per second.
  ///
  /// A device with parts slower than 1 kB/s is a typing error, whose requests would soon be too long for the
  /// clock; what is faster than 10^18 B/s takes no time.
  package func bandwidth(
    _ key: String, from least: UInt64 = 1_000
  ) throws(DiskModelError) -> UInt64? {
    let range = least...1_000_000_000_000_000_000
    let (low, high) = (ByteUnit.describe(bandwidth: least), ByteUnit.describe(bandwidth: range.upperBound))
    return try value(key, "a bandwidth from \(low) to \(high), like \"500MB/s\" or \"800MiB/s\"") {
      guard case .string(let text) = $0, let rate = ByteUnit.bandwidth(text) else { return nil }
      return range.contains(rate) ? rate : nil
    }
  }

  /// One of the words of an enumeration.
  package func word<Word: RawRepresentable & CaseIterable>(
    _ key: String, _: Word.Type = Word.self
  ) throws(DiskModelError) -> Word? where Word.RawValue == String {
    try value(key, "one of \(Word.allCases.map(\.rawValue).joined(separator: ", "))") {
      if case .string(let text) = $0 { Word(rawValue: text) } else { nil }
    }
  }

  /// The values of an array; each is read like a table's only value, under the name `key[i]`.
  package func array<Element>(
    _ key: String, of expected: String, _ read: (ParameterValue) -> Element?
  ) throws(DiskModelError) -> [Element]? {
    try value(key, "an array of \(expected)") {
      guard case .array(let values) = $0 else { return nil }
      var result: [Element] = []
      for value in values {
        guard let one = read(value) else { return nil }
        result.append(one)
      }
      return result
    }
  }

  /// The readers of an array of tables, `[[key]]`.
  package func tables(_ key: String) throws(DiskModelError) -> [ParameterReader]? {
    var index = -1
    return try array(key, of: "tables, written [[\(key)]]") { value in
      guard case .table(let table) = value else { return nil }
      index += 1
      return ParameterReader(table, path: "\(path)\(key)[\(index)].")
    }
  }

  /// The reader of a table, `[key]`; whoever reads it calls its `finish`.
  package func table(_ key: String) throws(DiskModelError) -> ParameterReader? {
    try value(key, "a table, written [\(key)]") {
      guard case .table(let table) = $0 else { return nil }
      return ParameterReader(table, path: "\(path)\(key).")
    }
  }

  /// Whether the value is there and a table.
  package func hasTable(_ key: String) -> Bool { if case .table = table[key] { true } else { false } }

  /// A value that must be there.
  package func required<Value>(_ key: String, _ value: Value?) throws(DiskModelError) -> Value {
    guard let value else { throw error("'\(path)\(key)' is missing", key: key) }
    return value
  }

  /// Complains of the first key that nobody asked for.
  package func finish() throws(DiskModelError) {
    for entry in table.entries where !known.contains(entry.key) {
      throw error(unknownKey(entry.key, path, known: known), key: entry.key)
    }
  }

  package func error(_ message: String, key: String) -> DiskModelError {
    DiskModelError(message, key: path + key)
  }

  private func value<Value>(
    _ key: String, _ expected: String, _ read: (ParameterValue) -> Value?
  ) throws(DiskModelError) -> Value? {
    known.append(key)
    guard let found = table[key] else { return nil }
    guard let value = read(found) else {
      throw error("'\(path)\(key)' is \(found.brief), not \(expected)", key: key)
    }
    return value
  }
}

extension SimulationDuration {
  /// A day: longer times of a disk are typing errors, and sums of these never overflow.
  package static let longest = SimulationDuration(nanoseconds: 86_400_000_000_000)
}

extension ParameterValue: CustomStringConvertible {
  /// For messages: the beginning of a long one.
  package var brief: String {
    let text = description
    return text.utf8.count <= 80 ? text : text.prefix(70) + "…"
  }

  /// As TOML writes it.
  package var description: String {
    switch self {
    case .integer(let value): "\(value)"
    case .boolean(let value): "\(value)"
    case .string(let text): "\"\(text)\""
    case .array(let values): "[\(values.map(\.description).joined(separator: ", "))]"
    case .table(let table):
      "{ \(table.entries.map { "\($0.key) = \($0.value)" }.joined(separator: ", ")) }"
    }
  }
}
