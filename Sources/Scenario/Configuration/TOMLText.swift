// From text to TOML, with nothing that ends the process.
internal import TOMLKit

/// Parses a whole file's text.
func parseTOML(_ text: String, file: String) throws(ConfigurationError) -> TOMLTable {
  if let line = TOMLHeaders(text).firstWithoutName {
    throw ConfigurationError("a table's name is missing after '['", file: file, line: line)
  }
  do {
    return try TOMLTable(string: text)
  } catch let error as TOMLParseError {
    throw ConfigurationError(error.description, file: file, line: error.source.begin.line)
  } catch {
    throw ConfigurationError("not valid TOML: \(error)", file: file)
  }
}

/// Looks for what the parser (toml++ 3.4 in TOMLKit 0.6) asserts instead of reporting: a `[` that begins a
/// table and is followed by something that begins no key, as in `[.a]`.
///
/// It follows strings, comments and brackets as far as a file is right; the parser stops where it is not.
private struct TOMLHeaders {
  private let bytes: [UInt8]
  private var position = 0
  private var line = 1
  /// The line of the first such table.
  private(set) var firstWithoutName: Int?

  init(_ text: String) {
    bytes = Array(text.utf8)
    while position < bytes.count, firstWithoutName == nil { expression() }
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

  /// One table's name, or one key and its value, with the end of its last line.
  private mutating func expression() {
    skipBlanks()
    if next == UInt8(ascii: "[") {
      skip()
      skipBlanks()
      if next == UInt8(ascii: "[") {
        skip()
        skipBlanks()
      }
      if let byte = next, !Self.beginsName(byte) {
        firstWithoutName = line
        return
      }
    }
    var depth = 0
    while let byte = next {
      switch byte {
      case UInt8(ascii: "#"): while let byte = next, byte != UInt8(ascii: "\n") { skip() }
      case UInt8(ascii: "\""), UInt8(ascii: "'"): string(byte)
      case UInt8(ascii: "["), UInt8(ascii: "{"):
        depth += 1
        skip()
      case UInt8(ascii: "]"), UInt8(ascii: "}"):
        depth = max(0, depth - 1)
        skip()
      case UInt8(ascii: "\n"):
        skip()
        if depth == 0 { return }
      default: skip()
      }
    }
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
