// What no source file does, and what it looks like.
import Testing

@Suite("Source files") struct LanguageTests {
  static let rules = [
    Rule(#"\bimport\s+(?:\w+\s+)?Foundation\b"#, "no Foundation: it doubles the time to start"),
    Rule(#"\btry!"#, "a failure is an error, not a crash"),
    Rule(#"\bas!"#, "a wrong type is an error, not a crash"),
    Rule(#"\bfatalError\b"#, "only our own bugs end the process, by precondition"),
    Rule(#"[\w)\]}?]!(?![=\w])"#, "nothing is unwrapped by force"),
    Rule(#"\b(Task|actor|async|await)\b"#, "one thread owns the core"),
    Rule(#"\bunsafeBitCast\b"#, "fields are parsed one by one"),
  ]

  static let allowances = [
    Allowance(
      path: "Sources/DiskImage/Operations/Belt.swift", text: "queue.async {",
      reason: "copies of whole images, which no simulation sees: a queue that runs one piece at a time")
  ]

  /// Spelled in two parts, so that a search for them does not find this line.
  static let unfinished = Rule(
    ["TO" + "DO", "FIX" + "ME", "X" + "XX", "place" + "holder"].map { "\\b\($0)\\b" }.joined(separator: "|"),
    "unfinished work")

  static let printing = Rule(#"\b(print|debugPrint|dump)\("#, "only the command prints")

  static let lineLengthMax = 110
  static let linesMax = 500
  static let headerLinesMax = 2

  @Test("have none of the words that we do without") func words() throws {
    for file in Repository.sources {
      for rule in Self.rules { try rule.check(file, lines: file.code, allowing: Self.allowances) }
      try Self.unfinished.check(file, lines: file.lines)
      if file.module != "ttblk" { try Self.printing.check(file, lines: file.code) }
    }
    for file in Repository.tests { try Self.unfinished.check(file, lines: file.lines) }
  }

  @Test("are short, have short lines and a short header") func shape() {
    for file in Repository.sources {
      #expect(file.lines.count <= Self.linesMax + 1, "\(file.path) has \(file.lines.count - 1) lines")
      let header = file.lines.prefix { $0.hasPrefix("//") && !$0.hasPrefix("///") }.count
      #expect((1...Self.headerLinesMax).contains(header), "\(file.path): a header of \(header) lines")
      #expect(file.lines.last == "", "\(file.path) does not end with a new line")
      for (index, line) in file.lines.enumerated() where line.count > Self.lineLengthMax {
        Issue.record("\(file.path):\(index + 1): \(line.count) columns")
      }
    }
  }

  @Test("belong to a module that says what it is for") func documentation() throws {
    // C shims say it in their headers.
    let shims = ["CLinux", "CXXHash", "CCompression", "CUring", "CAIO", "CGnuTLS"]
    for module in Repository.modules where !shims.contains(module) {
      let page = try? PackageFile("Sources/\(module)/\(module).docc/\(module).md")
      #expect(page?.lines.first == "# ``\(module)``", "Sources/\(module)/\(module).docc/\(module).md")
    }
  }

  @Test("the rules find what they are for") func rulesFind() throws {
    let bad: [Substring] = [
      "let a = b!", "let a = b()!.c", "let a = b[0]!", "try! f()", "x as! Y", "var a: Descriptor!",
      "await f()",
    ]
    #expect(bad.allSatisfy { line in Self.rules.contains { (try? $0.violations(in: [line])) == [1] } })
    let good: [Substring] = ["if a != b, !c {", "guard !(a && b)", "a !== b", "try? f()", "x as? Y"]
    #expect(good.allSatisfy { line in Self.rules.allSatisfy { (try? $0.violations(in: [line])) == [] } })
  }

  @Test("comments and text are not code; interpolations are") func reduction() {
    let source = ##"""
      let a = "b! \(c! + f("d!")) e" // g!
      /* h! /* i! */ j! */ let k = """
        l! \(m)
        """ + #"n!" \#(o!)"#
      """##
    let code = SwiftCode.withoutCommentsAndText(source)
    let kept = code.filter { $0.isLetter || $0 == "!" }
    #expect(kept == "letac!fletkmo!")
    #expect(code.split(separator: "\n").count == source.split(separator: "\n").count)
  }
}
