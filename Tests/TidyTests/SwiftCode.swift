// Swift source, reduced to what the rules look at.

/// Replaces comments and the text of string literals by blanks; lines and columns stay, and so does the code
/// of interpolations. It knows as much of the grammar as our own files need.
struct SwiftCode {
  private let source: [Character]
  private var position = 0
  private var result: [Character] = []

  private init(_ text: String) { source = Array(text) }

  static func withoutCommentsAndText(_ text: String) -> String {
    var code = SwiftCode(text)
    code.copyCode(untilParenthesis: false)
    return String(code.result)
  }

  private func starts(_ text: String) -> Bool { source[position...].starts(with: text) }

  private mutating func keep(_ count: Int = 1) {
    result.append(contentsOf: source[position..<min(position + count, source.count)])
    position += count
  }

  private mutating func blank(_ count: Int = 1) {
    for character in source[position..<min(position + count, source.count)] {
      result.append(character.isNewline ? character : " ")
    }
    position += count
  }

  /// Copies to the end, or past the parenthesis that closes an interpolation.
  private mutating func copyCode(untilParenthesis: Bool) {
    var depth = 0
    while position < source.count {
      switch source[position] {
      case "/" where starts("//"): while position < source.count, !source[position].isNewline { blank() }
      case "/" where starts("/*"): blankBlockComment()
      case "\"": blankText(hashes: 0)
      case "#" where hashesBeforeQuote > 0: blankText(hashes: hashesBeforeQuote)
      case "(":
        depth += 1
        keep()
      case ")":
        depth -= 1
        keep()
        if untilParenthesis, depth < 0 { return }
      default: keep()
      }
    }
  }

  private mutating func blankBlockComment() {
    var depth = 0
    repeat {
      if starts("/*") {
        depth += 1
        blank(2)
      } else if starts("*/") {
        depth -= 1
        blank(2)
      } else {
        blank()
      }
    } while depth > 0 && position < source.count
  }

  private var hashesBeforeQuote: Int {
    let end = source[position...].firstIndex { $0 != "#" } ?? source.endIndex
    return end < source.endIndex && source[end] == "\"" ? end - position : 0
  }

  private mutating func blankText(hashes: Int) {
    let hash = String(repeating: "#", count: hashes)
    keep(hashes)
    let quote = starts("\"\"\"") ? "\"\"\"" : "\""
    keep(quote.count)
    while position < source.count, !starts(quote + hash) {
      if starts("\\" + hash + "(") {
        blank(hashes + 2)
        copyCode(untilParenthesis: true)
      } else {
        blank(starts("\\" + hash) ? hashes + 2 : 1)
      }
    }
    keep(quote.count + hashes)
  }
}
