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
    let json: JSONText
    do throws(JSONText.SyntaxError) { json = try JSONText(parsing: Array(line.utf8)) } catch {
      throw FaultError(error.message)
    }
    guard let members = json.members else { throw FaultError("\(json.summary) is no object") }
    for (index, member) in members.enumerated()
    where members[..<index].contains(where: { $0.name == member.name }) {
      throw FaultError("'\(member.name)' twice")
    }
    /// A member of this type; nil if it is not there.
    func member<Value>(
      _ name: String, _ expected: String, _ read: (JSONText) -> Value?
    ) throws(FaultError) -> Value? {
      guard let found = json[name] else { return nil }
      guard let value = read(found) else {
        throw FaultError("'\(name)' is \(found.summary), not \(expected)")
      }
      return value
    }
    func word(_ name: String) throws(FaultError) -> String? { try member(name, "a string") { $0.string } }
    func number(_ name: String) throws(FaultError) -> UInt64? {
      try member(name, "a whole number below 2^64") { $0.unsigned }
    }
    func required<Value>(_ name: String, _ value: Value?) throws(FaultError) -> Value {
      guard let value else { throw FaultError("no '\(name)'") }
      return value
    }
    let kind = try required("kind", word("kind"))
    guard let known = FaultKind(rawValue: kind) else { throw FaultError("unknown kind '\(kind)'") }
    let disk = try required("disk", word("disk"))
    guard complaint(aboutName: disk, lengthMax: diskNameLengthMax) == nil else {
      throw FaultError("'disk' is no name of a disk")
    }
    self.init(
      time: SimulationTime(nanoseconds: try required("time", number("time"))), disk: disk,
      request: try number("request"),
      fault: try required("fault", word("fault")), kind: known)
    if let name = try word("operation") {
      guard let operation = BlockRequest.Operation(name: name) else {
        throw FaultError("unknown operation '\(name)'")
      }
      self.operation = operation
    }
    offset = try number("offset") ?? 0
    length = try number("length") ?? 0
    for found in members {
      guard let elements = found.value.elements else { continue }
      var numbers: [UInt64] = []
      for element in elements {
        guard let one = element.unsigned else {
          throw FaultError("'\(found.name)' has \(element.summary), not a whole number below 2^64")
        }
        numbers.append(one)
      }
      parameters.append(Parameter(found.name, numbers))
    }
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
