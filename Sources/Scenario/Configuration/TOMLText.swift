// From text to TOML, with nothing that ends the process.
import DiskModel
internal import TOMLKit

/// Parses a whole file's text.
func parseTOML(_ text: String, file: String) throws(ConfigurationError) -> TOMLTable {
  if let (message, line) = TOMLGuard(text).complaint {
    throw ConfigurationError(message, file: file, line: line)
  }
  do {
    return try TOMLTable(string: text)
  } catch let error as TOMLParseError {
    throw ConfigurationError(error.description, file: file, line: error.source.begin.line)
  } catch {
    throw ConfigurationError("not valid TOML: \(error)", file: file)
  }
}

/// For messages: a value, or what it is.
func brief(_ value: any TOMLValueConvertible) -> String {
  switch value.type {
  case .int: value.int.map(String.init) ?? "a number"
  case .double: value.double.map { "\($0)" } ?? "a number"
  case .bool: value.bool.map { "\($0)" } ?? "a truth value"
  case .string: ParameterValue.string(value.string ?? "").brief
  case .array: "an array"
  case .table: "a table"
  default: "a \(value.type)"
  }
}

/// Looks for what the parser (toml++ 3.4 in TOMLKit 0.6) asserts instead of reporting, which ends the
/// process: a `[` that begins a table and is followed by something that begins no key, as in `[.a]`; a
/// bracket that closes another one, as in `[ }`; a date whose time begins with no digit, as in
/// `2026-01-01T):`, and so any date, for nothing here is one; and signs that are legal in strings and
/// comments alone. And for names like `a.a.a` of so many parts that tables within tables take all of the
/// stack.
///
/// It follows strings, comments and brackets as far as a file is right; the parser stops where it is not.
private struct TOMLGuard {
  private let bytes: [UInt8]
  private var position = 0
  private var line = 1
  /// What closes the brackets that are open, the innermost last.
  private var closing: [UInt8] = []
  /// Since the last sign that ends a name or a value.
  private var dots = 0
  private static let dotsMax = 32
  /// The first thing that is wrong.
  private(set) var complaint: (message: String, line: Int)?

  init(_ text: String) {
    bytes = Array(text.utf8)
    // The mark that some editors begin a file with.
    if bytes.starts(with: [0xef, 0xbb, 0xbf]) { position = 3 }
    while position < bytes.count, complaint == nil { expression() }
  }

  private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

  private func has(_ text: String) -> Bool { bytes[position...].starts(with: text.utf8) }

  private mutating func skip(_ count: Int = 1) {
    for _ in 0..<count where position < bytes.count {
      if bytes[position] == UInt8(ascii: "\n") { line += 1 }
      position += 1
    }
  }

  private mutating func skipBlanks() {
    while next == UInt8(ascii: " ") || next == UInt8(ascii: "\t") { skip() }
  }

  private mutating func complain(_ message: String) { complaint = (message, line) }

  /// One table's name, or one key and its value, with the end of its last line.
  private mutating func expression() {
    closing = []
    dots = 0
    skipBlanks()
    if next == UInt8(ascii: "[") {
      for _ in 0..<2 where next == UInt8(ascii: "[") {
        closing.append(UInt8(ascii: "]"))
        skip()
        skipBlanks()
      }
      if let byte = next, !Self.beginsName(byte) { return complain("a table's name is missing after '['") }
    }
    while let byte = next, complaint == nil {
      switch byte {
      case UInt8(ascii: "."):
        dots += 1
        guard dots <= Self.dotsMax else { return complain("a name of more than \(Self.dotsMax) parts") }
        skip()
      case UInt8(ascii: "="), UInt8(ascii: ","):
        dots = 0
        skip()
      case UInt8(ascii: "#"): while let byte = next, byte != UInt8(ascii: "\n") { skip() }
      case UInt8(ascii: "\""), UInt8(ascii: "'"): string(byte)
      case UInt8(ascii: "["):
        closing.append(UInt8(ascii: "]"))
        skip()
      case UInt8(ascii: "{"):
        closing.append(UInt8(ascii: "}"))
        skip()
      case UInt8(ascii: "]"), UInt8(ascii: "}"):
        guard closing.popLast() == byte else {
          return complain("'\(Unicode.Scalar(byte))' closes nothing that is open")
        }
        skip()
      case UInt8(ascii: "\n"):
        skip()
        if closing.isEmpty { return }
      case UInt8(ascii: "0")...UInt8(ascii: "9") where beginsDate: complain("a date: nothing here is one")
      case UInt8(ascii: "\t"), UInt8(ascii: "\r"), 32..<127: skip()
      default: complain("a sign that belongs in quotes")
      }
    }
  }

  /// Four digits and a minus that are not within a word.
  private var beginsDate: Bool {
    guard position + 4 < bytes.count, bytes[position + 4] == UInt8(ascii: "-"),
      bytes[position..<position + 4].allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
    else { return false }
    return position == 0 || !Self.beginsName(bytes[position - 1]) || bytes[position - 1] == UInt8(ascii: "]")
  }

  private mutating func string(_ quote: UInt8) {
    let one = String(Unicode.Scalar(quote))
    let three = one + one + one
    let isLong = has(three)
    skip(isLong ? 3 : 1)
    while let byte = next {
      if byte == UInt8(ascii: "\\"), quote == UInt8(ascii: "\"") {
        skip(2)
      } else if isLong, has(three) {
        skip(3)
        // Up to two quotes may be the last of the text.
        for _ in 0..<2 where next == quote { skip() }
        return
      } else if !isLong, byte == quote {
        return skip()
      } else if !isLong, byte == UInt8(ascii: "\n") {
        return
      } else {
        skip()
      }
    }
  }

  /// Also `]`, which the parser reports itself.
  private static func beginsName(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "\""),
      UInt8(ascii: "'"), UInt8(ascii: "]"):
      true
    default: false
    }
  }
}
