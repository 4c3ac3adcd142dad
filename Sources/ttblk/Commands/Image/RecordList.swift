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
      if isEmpty { text += members.map { Self.padded($0.name) }.joined().trimmed + "\n" }
      text += members.map { Self.padded(Self.plain($0.value)) }.joined().trimmed + "\n"
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

  private static func padded(_ text: String) -> String {
    text + String(repeating: " ", count: max(1, 16 - text.count))
  }
}

extension String {
  fileprivate var trimmed: Substring { self[...].dropLastSpaces }
}

extension Substring {
  fileprivate var dropLastSpaces: Substring {
    var text = self
    while text.last == " " { text.removeLast() }
    return text
  }
}
