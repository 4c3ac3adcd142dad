// Words that must not be in code, and where they may be all the same.
import Foundation
import Testing

/// A thing that is right in spite of a rule.
struct Allowance: Sendable {
  let path: String
  /// Part of the line.
  let text: String
  let reason: String
}

/// What no line of some files may contain.
struct Rule: Sendable {
  let pattern: String
  let why: String

  init(_ pattern: String, _ why: String) {
    self.pattern = pattern
    self.why = why
  }

  /// The numbers, from 1, of the lines that break it.
  func violations(in lines: [Substring]) throws -> [Int] {
    // Unicode's own notion of a word takes `a.b` for one.
    let expression = try Regex(pattern).wordBoundaryKind(.simple)
    return lines.indices.filter { lines[$0].contains(expression) }.map { $0 + 1 }
  }

  /// Reports each violation that no allowance covers.
  func check(_ file: PackageFile, lines: [Substring], allowing allowances: [Allowance] = []) throws {
    for number in try violations(in: lines) {
      let line = file.lines[number - 1].trimmingCharacters(in: .whitespaces)
      let isAllowed = allowances.contains { $0.path == file.path && line.contains($0.text) }
      if !isAllowed { Issue.record("\(file.path):\(number): \(why): \(line)") }
    }
  }
}
