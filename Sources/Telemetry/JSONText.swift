// Reading JSON.

/// A JSON value and the line on which it begins; numbers stay as they were written.
package struct JSONText: Equatable {
  /// What it is.
  package enum Value: Equatable {
    case null
    case boolean(Bool)
    case number(String)
    case string(String)
    case array([JSONText])
    case object([Member])
  }

  /// A name and its value.
  package struct Member: Equatable {
    package let name: String
    package let value: JSONText
  }

  package let value: Value
  /// Counted from 1.
  package let line: Int

  /// Of an object; the last of those with this name, as other readers have it.
  package subscript(name: String) -> JSONText? {
    if case .object(let members) = value { members.last { $0.name == name }?.value } else { nil }
  }

  package var members: [Member]? { if case .object(let members) = value { members } else { nil } }
  package var elements: [JSONText]? { if case .array(let elements) = value { elements } else { nil } }
  package var string: String? { if case .string(let text) = value { text } else { nil } }

  /// A whole number that is not negative.
  package var unsigned: UInt64? { if case .number(let text) = value { UInt64(text) } else { nil } }

  package var number: Double? { if case .number(let text) = value { Double(text) } else { nil } }

  /// For messages: a short value itself, or what it is.
  package var summary: String {
    switch value {
    case .null: "null"
    case .boolean(let flag): "\(flag)"
    case .number(let text): text.utf8.count <= 40 ? text : "a long number"
    case .string(let text): text.utf8.count <= 40 ? "\"\(text)\"" : "a long string"
    case .array: "an array"
    case .object: "an object"
    }
  }

  /// Reads a whole text, which is one value (RFC 8259).
  package init(parsing text: [UInt8]) throws(SyntaxError) {
    var parser = Parser(bytes: text)
    self = try parser.document()
  }

  private init(_ value: Value, line: Int) {
    self.value = value
    self.line = line
  }

  /// Why a text is no JSON, and on which line.
  package struct SyntaxError: Error {
    package let message: String
    package let line: Int
  }

  private struct Parser {
    let bytes: [UInt8]
    var position = 0
    var line = 1

    /// Deeper ones would take the stack of whoever reads them.
    static let depthMax = 64

    init(bytes: [UInt8]) { self.bytes = bytes }

    var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    func error(_ message: String) -> SyntaxError { SyntaxError(message: message, line: line) }

    mutating func document() throws(SyntaxError) -> JSONText {
      let result = try value(depth: 0)
      skipSpace()
      guard next == nil else { throw error("more after the end of the JSON value") }
      return result
    }

    mutating func skipSpace() {
      while let byte = next {
        switch byte {
        case UInt8(ascii: "\n"): line += 1
        case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\r"): break
        default: return
        }
        position += 1
      }
    }

    mutating func skip(_ byte: UInt8) -> Bool {
      skipSpace()
      guard next == byte else { return false }
      position += 1
      return true
    }

    mutating func value(depth: Int) throws(SyntaxError) -> JSONText {
      guard depth < Self.depthMax else { throw error("nested more than \(Self.depthMax) deep") }
      skipSpace()
      let line = line
      switch next {
      case UInt8(ascii: "{"): return JSONText(try object(depth: depth), line: line)
      case UInt8(ascii: "["): return JSONText(try array(depth: depth), line: line)
      case UInt8(ascii: "\""): return JSONText(.string(try string()), line: line)
      case nil: throw error("the text ends where a value should be")
      case let byte?:
        if byte == UInt8(ascii: "-") || isDigit(byte) { return JSONText(.number(try number()), line: line) }
        for (word, value) in [
          ("true", Value.boolean(true)), ("false", .boolean(false)), ("null", .null),
        ] where bytes[position...].starts(with: word.utf8) {
          position += word.utf8.count
          return JSONText(value, line: line)
        }
        throw error("not a JSON value")
      }
    }

    mutating func object(depth: Int) throws(SyntaxError) -> Value {
      position += 1
      var members: [Member] = []
      if skip(UInt8(ascii: "}")) { return .object(members) }
      repeat {
        skipSpace()
        guard next == UInt8(ascii: "\"") else { throw error("a member's name in quotes is missing") }
        let name = try string()
        guard skip(UInt8(ascii: ":")) else { throw error("':' is missing after \"\(name)\"") }
        members.append(Member(name: name, value: try value(depth: depth + 1)))
      } while skip(UInt8(ascii: ","))
      guard skip(UInt8(ascii: "}")) else { throw error("',' or '}' is missing") }
      return .object(members)
    }

    mutating func array(depth: Int) throws(SyntaxError) -> Value {
      position += 1
      var elements: [JSONText] = []
      if skip(UInt8(ascii: "]")) { return .array(elements) }
      repeat { elements.append(try value(depth: depth + 1)) } while skip(UInt8(ascii: ","))
      guard skip(UInt8(ascii: "]")) else { throw error("',' or ']' is missing") }
      return .array(elements)
    }

    mutating func string() throws(SyntaxError) -> String {
      position += 1
      var text: [UInt8] = []
      while let byte = next {
        position += 1
        switch byte {
        case UInt8(ascii: "\""): return String(decoding: text, as: UTF8.self)
        case 0..<32: throw error("a string does not end on its line")
        case UInt8(ascii: "\\"): text += try escape().utf8
        default: text.append(byte)
        }
      }
      throw error("the text ends within a string")
    }

    mutating func escape() throws(SyntaxError) -> String {
      guard let byte = next else { throw error("the text ends within a string") }
      position += 1
      switch byte {
      case UInt8(ascii: "\""): return "\""
      case UInt8(ascii: "\\"): return "\\"
      case UInt8(ascii: "/"): return "/"
      case UInt8(ascii: "b"): return "\u{8}"
      case UInt8(ascii: "f"): return "\u{c}"
      case UInt8(ascii: "n"): return "\n"
      case UInt8(ascii: "r"): return "\r"
      case UInt8(ascii: "t"): return "\t"
      case UInt8(ascii: "u"):
        let first = try hexadecimal()
        // Two halves of a pair; a half alone becomes the replacement character.
        if 0xd800..<0xdc00 ~= first, bytes[position...].starts(with: "\\u".utf8) {
          position += 2
          let second = try hexadecimal()
          if 0xdc00..<0xe000 ~= second {
            let scalar = 0x10000 + (first - 0xd800) << 10 + (second - 0xdc00)
            return String(Unicode.Scalar(scalar).map(Character.init) ?? "\u{fffd}")
          }
        }
        return String(Unicode.Scalar(first).map(Character.init) ?? "\u{fffd}")
      default: throw error("'\\' before a sign that it does not go with")
      }
    }

    mutating func hexadecimal() throws(SyntaxError) -> UInt32 {
      let digits = bytes[position..<min(position + 4, bytes.count)]
      guard digits.count == 4, digits.first != UInt8(ascii: "+"),
        let value = UInt32(String(decoding: digits, as: UTF8.self), radix: 16)
      else { throw error("'\\u' without four hexadecimal digits") }
      position += 4
      return value
    }

    mutating func number() throws(SyntaxError) -> String {
      let start = position
      if next == UInt8(ascii: "-") { position += 1 }
      let whole = digits()
      guard whole == 1 || (whole > 1 && bytes[position - whole] != UInt8(ascii: "0")) else {
        throw error("not a JSON number")
      }
      if next == UInt8(ascii: ".") {
        position += 1
        guard digits() > 0 else { throw error("not a JSON number") }
      }
      if next == UInt8(ascii: "e") || next == UInt8(ascii: "E") {
        position += 1
        if next == UInt8(ascii: "+") || next == UInt8(ascii: "-") { position += 1 }
        guard digits() > 0 else { throw error("not a JSON number") }
      }
      return String(decoding: bytes[start..<position], as: UTF8.self)
    }

    /// Skips digits, and says how many.
    mutating func digits() -> Int {
      let start = position
      while let byte = next, isDigit(byte) { position += 1 }
      return position - start
    }

    func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
  }
}
