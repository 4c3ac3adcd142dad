// What was decided, as it is logged and replayed.
package import Simulation
import Telemetry

/// One decision: this fault happened to this request, or at this time, with these numbers.
///
/// A line of JSON; times are simulated nanoseconds, lengths and offsets bytes:
///
///     {"time":1500000,"disk":"node-d","request":17,"fault":"lost","kind":"lost-write","operation":"write",
///      "offset":4096,"length":512}
///
/// | kind | its own member | |
/// |---|---|---|
/// | `misdirected-write` | `to` | the offset where the bytes went |
/// | `corrupt-write`, `bit-rot` | `flips` | which bits, counted from the request's first |
/// | `latent-errors` | `sectors` | the first that cannot be read |
/// | `slow` | `slow` | factor in thousandths, time besides |
/// | `stall` | `until` | when it ends |
/// | `power-cut` | `volatile` | how many writes were in the cache |
/// | | `kept` | of each piece that survives: request, first byte in the write, bytes |
package struct FaultRecord: Equatable, Sendable {
  package struct Parameter: Equatable, Sendable {
    package var name: String
    package var numbers: [UInt64]

    package init(_ name: String, _ numbers: [UInt64]) {
      self.name = name
      self.numbers = numbers
    }
  }

  package var time: SimulationTime
  package var disk: String
  /// The sequence number of the request on its disk; nil if it needed none.
  package var request: UInt64?
  package var fault: String
  package var kind: FaultKind
  /// What the request was, for people.
  package var operation: BlockRequest.Operation?
  package var offset: UInt64 = 0
  package var length: UInt64 = 0
  package var parameters: [Parameter] = []

  package init(time: SimulationTime, disk: String, request: UInt64?, fault: String, kind: FaultKind) {
    self.time = time
    self.disk = disk
    self.request = request
    self.fault = fault
    self.kind = kind
  }

  /// The numbers of a parameter; none if it is not there.
  package func numbers(_ name: String) -> [UInt64] {
    parameters.first { $0.name == name }?.numbers ?? []
  }

  /// One line, without its end.
  package var line: String {
    var members: [JSONValue.Member] = [
      .init("time", .unsigned(time.nanoseconds)), .init("disk", .string(disk)),
    ]
    if let request { members.append(.init("request", .unsigned(request))) }
    members += [.init("fault", .string(fault)), .init("kind", .string(kind.rawValue))]
    if let operation {
      members += [
        .init("operation", .string(operation.name)), .init("offset", .unsigned(offset)),
        .init("length", .unsigned(length)),
      ]
    }
    members += parameters.map { .init($0.name, .array($0.numbers.map { .unsigned($0) })) }
    return JSONValue.object(members).description
  }
}

extension FaultRecord {
  /// Reads a line of a log.
  package init(parsing line: some StringProtocol) throws(FaultError) {
    var reader = FlatReader(line.utf8)
    var wordsByName: [String: String] = [:]
    var numbersByName: [String: UInt64] = [:]
    var parameters: [Parameter] = []
    var seen: [String] = []
    try reader.object { (name, value) throws(FaultError) in
      guard !seen.contains(name) else { throw FaultError("'\(name)' twice") }
      seen.append(name)
      switch value {
      case .word(let word): wordsByName[name] = word
      case .number(let number): numbersByName[name] = number
      case .numbers(let list): parameters.append(Parameter(name, list))
      }
    }
    func required<Value>(_ name: String, _ value: Value?) throws(FaultError) -> Value {
      guard let value else { throw FaultError("no '\(name)'") }
      return value
    }
    let kind = try required("kind", wordsByName["kind"])
    guard let known = FaultKind(rawValue: kind) else { throw FaultError("unknown kind '\(kind)'") }
    self.init(
      time: SimulationTime(nanoseconds: try required("time", numbersByName["time"])),
      disk: try required("disk", wordsByName["disk"]), request: numbersByName["request"],
      fault: try required("fault", wordsByName["fault"]), kind: known)
    if let name = wordsByName["operation"] {
      guard let operation = BlockRequest.Operation(name: name) else {
        throw FaultError("unknown operation '\(name)'")
      }
      self.operation = operation
    }
    offset = numbersByName["offset"] ?? 0
    length = numbersByName["length"] ?? 0
    self.parameters = parameters
  }

  /// Reads a whole log; empty lines do not count.
  package static func parse(log text: String) throws(FaultError) -> [FaultRecord] {
    var records: [FaultRecord] = []
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      guard line.contains(where: { !$0.isWhitespace }) else { continue }
      do throws(FaultError) { records.append(try FaultRecord(parsing: line)) } catch {
        throw FaultError("line \(index + 1) is no decision of a fault: \(error)")
      }
    }
    return records
  }
}

/// Reads an object of strings without escapes, whole numbers, and arrays of these: what `line` writes.
private struct FlatReader {
  enum Value {
    case word(String)
    case number(UInt64)
    case numbers([UInt64])
  }

  private let bytes: [UInt8]
  private var position = 0

  init(_ bytes: some Sequence<UInt8>) { self.bytes = Array(bytes) }

  mutating func object(_ take: (String, Value) throws(FaultError) -> Void) throws(FaultError) {
    try expect("{")
    if !accept("}") {
      repeat {
        let name = try word()
        try expect(":")
        try take(name, try value())
      } while accept(",")
      try expect("}")
    }
    skipBlanks()
    guard position == bytes.count else { throw complaint("nothing more") }
  }

  private mutating func value() throws(FaultError) -> Value {
    skipBlanks()
    if position < bytes.count, bytes[position] == UInt8(ascii: "\"") { return .word(try word()) }
    guard accept("[") else { return .number(try number()) }
    var list: [UInt64] = []
    if accept("]") { return .numbers(list) }
    repeat { list.append(try number()) } while accept(",")
    try expect("]")
    return .numbers(list)
  }

  private mutating func word() throws(FaultError) -> String {
    try expect("\"")
    let start = position
    while position < bytes.count, bytes[position] != UInt8(ascii: "\"") {
      guard bytes[position] != UInt8(ascii: "\\") else { throw complaint("a string without '\\'") }
      position += 1
    }
    guard position < bytes.count else { throw complaint("'\"'") }
    position += 1
    return String(decoding: bytes[start..<position - 1], as: UTF8.self)
  }

  private mutating func number() throws(FaultError) -> UInt64 {
    skipBlanks()
    let start = position
    var result: UInt64 = 0
    while position < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[position]) {
      let (product, tooLarge) = result.multipliedReportingOverflow(by: 10)
      let (sum, overflow) = product.addingReportingOverflow(UInt64(bytes[position] - UInt8(ascii: "0")))
      guard !tooLarge, !overflow else { throw complaint("a number below 2^64") }
      result = sum
      position += 1
    }
    guard position > start else { throw complaint("a whole number") }
    return result
  }

  private mutating func accept(_ sign: Unicode.Scalar) -> Bool {
    skipBlanks()
    guard position < bytes.count, bytes[position] == UInt8(ascii: sign) else { return false }
    position += 1
    return true
  }

  private mutating func expect(_ sign: Unicode.Scalar) throws(FaultError) {
    guard accept(sign) else { throw complaint("'\(sign)'") }
  }

  private mutating func skipBlanks() {
    while position < bytes.count,
      bytes[position] == UInt8(ascii: " ") || bytes[position] == 9
        || bytes[position] == 13
    {
      position += 1
    }
  }

  private func complaint(_ expected: String) -> FaultError {
    FaultError("expected \(expected) at column \(position + 1)")
  }
}
