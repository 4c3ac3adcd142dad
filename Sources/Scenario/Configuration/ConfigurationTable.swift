// TOML tables whose every key is accounted for.
import DiskModel
import Simulation
internal import TOMLKit

/// One table of a TOML file: typed look-ups, and an error with line and key for whatever is wrong or unknown.
final class ConfigurationTable {
  private let file: String
  private let table: TOMLTable
  private let lines: ConfigurationLines
  /// As `node#1.disk#0`; empty for the file's top level.
  private let section: String
  private var known: [String] = []

  /// Reads a whole file's text.
  convenience init(text: String, file: String) throws(ConfigurationError) {
    let table = try parseTOML(text, file: file)
    self.init(file: file, table: table, lines: ConfigurationLines(text: text), section: "")
  }

  private init(file: String, table: TOMLTable, lines: ConfigurationLines, section: String) {
    self.file = file
    self.table = table
    self.lines = lines
    self.section = section
  }

  func string(_ key: String) throws(ConfigurationError) -> String? {
    try value(key, "a string in quotes") { $0.type == .string ? $0.string : nil }
  }

  func boolean(_ key: String) throws(ConfigurationError) -> Bool? {
    try value(key, "true or false") { $0.type == .bool ? $0.bool : nil }
  }

  func integer(_ key: String, in range: ClosedRange<Int>) throws(ConfigurationError) -> Int? {
    try value(key, "a whole number from \(range.lowerBound) to \(range.upperBound)") {
      guard $0.type == .int, let number = $0.int, range.contains(number) else { return nil }
      return number
    }
  }

  /// A number with decimals, in units of so many parts; rounded to the nearest.
  func parts(
    _ key: String, per unit: UInt64, in range: ClosedRange<UInt64>, as expected: String
  ) throws(ConfigurationError) -> UInt64? {
    try value(key, expected) {
      let number: Double?
      switch $0.type {
      case .int: number = $0.int.map(Double.init)
      case .double: number = $0.double
      default: number = nil
      }
      guard let number, number >= 0, number * Double(unit) < 1e18 else { return nil }
      let parts = UInt64((number * Double(unit)).rounded())
      return range.contains(parts) ? parts : nil
    }
  }

  /// A time in quotes, or a whole number of something else.
  func durationOrCount(
    _ key: String, as expected: String
  ) throws(ConfigurationError) -> (duration: SimulationDuration?, count: UInt64)? {
    try value(key, expected) {
      switch $0.type {
      case .int: $0.int.flatMap(UInt64.init(exactly:)).map { (nil, $0) }
      case .string: $0.string.flatMap { SimulationDuration(parsing: $0) }.map { ($0, 0) }
      default: nil
      }
    }
  }

  /// Whether a key is there, known or not.
  func has(_ key: String) -> Bool { table[key] != nil }

  /// One string, or an array of strings.
  func strings(_ key: String) throws(ConfigurationError) -> [String]? {
    try value(key, "a string or an array of strings") {
      if $0.type == .string { return $0.string.map { [$0] } }
      guard let array = $0.array else { return nil }
      var result: [String] = []
      for element in array {
        guard element.type == .string, let text = element.string else { return nil }
        result.append(text)
      }
      return result
    }
  }

  /// A value that `parse` understands, written as a string.
  func parsed<Value>(
    _ key: String, as expected: String, _ parse: (String) -> Value?
  ) throws(ConfigurationError) -> Value? {
    try value(key, expected) { $0.type == .string ? $0.string.flatMap(parse) : nil }
  }

  /// A table of whole numbers, `[key]`, in the order of their names; empty if it is not there.
  func counts(_ key: String) throws(ConfigurationError) -> [(name: String, count: UInt64)] {
    let found: [(name: String, count: UInt64)]? = try value(key, "a table of whole numbers") {
      guard let table = $0.table else { return nil }
      var result: [(name: String, count: UInt64)] = []
      for name in table.keys.sorted() {
        guard let value = table[name], value.type == .int,
          let count = value.int.flatMap(UInt64.init(exactly:))
        else { return nil }
        result.append((name, count))
      }
      return result
    }
    return found ?? []
  }

  /// An array of tables, `[[key]]`.
  func tables(_ key: String) throws(ConfigurationError) -> [ConfigurationTable] {
    let path = section.isEmpty ? key : "\(section).\(key)"
    let found: [ConfigurationTable]? = try value(key, "tables, written [[\(key)]]") {
      guard let array = $0.array else { return nil }
      var result: [ConfigurationTable] = []
      for element in array {
        guard let table = element.table else { return nil }
        result.append(
          ConfigurationTable(file: file, table: table, lines: lines, section: "\(path)#\(result.count)"))
      }
      return result
    }
    return found ?? []
  }

  /// Complains of the first key that nobody asked for.
  func finish() throws(ConfigurationError) {
    for key in table.keys.sorted() where !known.contains(key) {
      throw error(unknownKey(key, "", known: known), key: key)
    }
  }

  /// An error about this key's value, or about the table.
  func error(_ message: String, key: String? = nil) -> ConfigurationError {
    ConfigurationError(message, file: file, line: lines.line(of: key, in: section))
  }

  private func value<Value>(
    _ key: String, _ expected: String, _ read: (any TOMLValueConvertible) -> Value?
  ) throws(ConfigurationError) -> Value? {
    known.append(key)
    guard let found = table[key] else { return nil }
    guard let value = read(found) else {
      throw error("'\(key)' is \(brief(found)), not \(expected)", key: key)
    }
    return value
  }
}

/// On which line each key stands. The parser does not keep that, and errors are useless without.
struct ConfigurationLines {
  /// Of `section/key`; the section itself is `section/`.
  private var lines: [String: Int] = [:]

  init(text: String) {
    var section = ""
    var counts: [String: Int] = [:]
    // To Swift a carriage return and its line feed are one character, which is neither of the two.
    let all = text.split(omittingEmptySubsequences: false) { $0 == "\n" || $0 == "\r\n" }
    for (index, line) in all.enumerated() {
      let content = line.drop { $0 == " " || $0 == "\t" }
      if content.first == "[" {
        let name = content.prefix { $0 != "#" }.filter { !"[] \t\r".contains($0) }
        section = Self.indexed(name, isArray: content.hasPrefix("[["), &counts)
        lines["\(section)/"] = index + 1
      } else if let equals = content.firstIndex(of: "=") {
        let key = content[..<equals].filter { !" \t\"'".contains($0) }
        if lines["\(section)/\(key)"] == nil { lines["\(section)/\(key)"] = index + 1 }
      }
    }
  }

  /// Of the key, or where its section begins.
  func line(of key: String?, in section: String) -> Int? {
    guard let key else { return lines["\(section)/"] }
    let path = section.isEmpty ? key : "\(section).\(key)"
    // The second and the third: a table, or tables, written where something else belongs.
    return lines["\(section)/\(key)"] ?? lines["\(path)/"] ?? lines["\(path)#0/"] ?? lines["\(section)/"]
  }

  /// `node.disk` becomes `node#1.disk#0` inside the second `[[node]]`.
  private static func indexed(_ name: String, isArray: Bool, _ counts: inout [String: Int]) -> String {
    let parts = name.split(separator: ".")
    var path = ""
    for (position, part) in parts.enumerated() {
      path += path.isEmpty ? String(part) : ".\(part)"
      let isLast = position == parts.count - 1
      if isLast, isArray { counts[path] = (counts[path] ?? -1) + 1 }
      if let count = counts[path] { path += "#\(count)" }
    }
    return path
  }
}
