// Long lists, printed as they are found.
import Glibc
import Linux
import Telemetry

/// Prints records one by one, as columns or as a JSON array, so that a list of millions needs no memory.
struct RecordList {
  private let json: Bool
  private var isEmpty = true
  private var text = ""

  init(json: Bool) { self.json = json }

  mutating func add(_ members: [JSONValue.Member]) {
    if json {
      text += isEmpty ? "[" : ",\n"
      text += JSONValue.object(members).description
    } else {
      if isEmpty { text += Self.line(members.map(\.name)) }
      text += Self.line(members.map { Self.plain($0.value) })
    }
    isEmpty = false
    if text.utf8.count > 32768 { flush() }
  }

  mutating func finish() {
    if json { text += isEmpty ? "[]\n" : "]\n" }
    flush()
  }

  private mutating func flush() {
    writeText(text, to: STDOUT_FILENO)
    text = ""
  }

  private static func plain(_ value: JSONValue) -> String {
    switch value {
    case .string(let text): text
    case .null: "-"
    default: value.description
    }
  }

  /// Cells in columns; nothing behind the last one.
  private static func line(_ cells: [String]) -> String {
    var line = ""
    for cell in cells.dropLast() { line += cell + String(repeating: " ", count: max(1, 16 - cell.count)) }
    return line + (cells.last ?? "") + "\n"
  }
}
