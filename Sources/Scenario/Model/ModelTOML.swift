// Parameters, written as the file that a user would write.
package import DiskModel

extension ParameterTable {
  /// TOML: plain values first, then tables.
  package var toml: String { toml(under: "") }

  private func toml(under path: String) -> String {
    var text = ""
    for entry in entries where !entry.value.isSection {
      text += "\(Self.quoted(key: entry.key)) = \(entry.value.toml)\n"
    }
    for entry in entries where entry.value.isSection {
      let name = path + Self.quoted(key: entry.key)
      switch entry.value {
      case .table(let table): text += "\n[\(name)]\n\(table.toml(under: name + "."))"
      case .array(let values):
        for case .table(let table) in values { text += "\n[[\(name)]]\n\(table.toml(under: name + "."))" }
      default: break
      }
    }
    return text
  }

  fileprivate static func quoted(key: String) -> String {
    let isBare =
      !key.isEmpty
      && key.utf8.allSatisfy {
        switch $0 {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
          UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
          true
        default: false
        }
      }
    return isBare ? key : tomlString(key)
  }
}

extension ParameterValue {
  /// Whether it is written as `[key]` or `[[key]]`.
  fileprivate var isSection: Bool {
    switch self {
    case .table: true
    case .array(let values):
      !values.isEmpty && values.allSatisfy { if case .table = $0 { true } else { false } }
    default: false
    }
  }

  fileprivate var toml: String {
    switch self {
    case .integer(let value): "\(value)"
    case .boolean(let value): "\(value)"
    case .string(let text): tomlString(text)
    case .array(let values):
      // Long ones with a line for each element: people read and change them.
      values.count <= 8 && values.allSatisfy(\.isShort)
        ? "[\(values.map(\.toml).joined(separator: ", "))]"
        : "[\n\(values.map { "  \($0.toml),\n" }.joined())]"
    case .table(let table):
      "{ "
        + table.entries.map { "\(ParameterTable.quoted(key: $0.key)) = \($0.value.toml)" }
        .joined(separator: ", ") + " }"
    }
  }

  private var isShort: Bool {
    switch self {
    case .integer, .boolean: true
    case .string(let text): text.utf8.count <= 10
    case .array, .table: false
    }
  }
}

/// A string in TOML's quotes.
func tomlString(_ text: String) -> String {
  var quoted = "\""
  for scalar in text.unicodeScalars {
    switch scalar {
    case "\"", "\\": quoted += "\\\(scalar)"
    case _ where scalar.value < 32 || scalar.value == 127:
      let digits = String(scalar.value, radix: 16)
      quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
    default: quoted.unicodeScalars.append(scalar)
    }
  }
  return quoted + "\""
}
