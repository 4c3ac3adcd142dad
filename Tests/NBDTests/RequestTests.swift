// Requests and replies, as bytes.
import Simulation
import Testing

@testable import NBD

@Suite("A request") struct RequestTests {
  static let rules = RequestRules(
    size: 1 << 30, isReadOnly: false, hasStructuredReplies: true, hasAllocationContext: true)

  private func refusal(
    _ command: UInt16, _ offset: UInt64 = 0, _ length: UInt32 = 512, _ flags: CommandFlags = [],
    change: (inout RequestRules) -> Void = { _ in }
  ) -> ErrorCode? {
    var rules = Self.rules
    change(&rules)
    var header = RequestHeader(.read, flags: flags, cookie: 1, offset: offset, length: length)
    header.command = command
    switch header.verdict(rules) {
    case .perform(let found):
      #expect(found.rawValue == command)
      return nil
    case .refuse(let refusal, let payload):
      #expect(payload == (command == 1 ? length : 0))
      return refusal.code
    case .disconnect(let why):
      Issue.record("\(why)")
      return nil
    }
  }

  @Test func `survives encoding and parsing`() throws {
    var random = RandomStream(seed: 1, name: "requests")
    for _ in 0..<500 {
      var header = RequestHeader(
        .read, flags: CommandFlags(rawValue: UInt16(truncatingIfNeeded: random.next())),
        cookie: random.next(), offset: random.next(), length: UInt32(truncatingIfNeeded: random.next()))
      header.command = UInt16(truncatingIfNeeded: random.next())
      var bytes: [UInt8] = []
      header.encode(into: &bytes)
      #expect(try RequestHeader(parsing: bytes.span.bytes) == header)
      bytes[Int(random.next() % 4)] ^= 1
      #expect(throws: ProtocolError.self) { try RequestHeader(parsing: bytes.span.bytes) }
    }
  }

  @Test func `past the end is EINVAL, and ENOSPC where it writes`() {
    let end: UInt64 = 1 << 30
    for (command, code) in [
      (0, .invalid), (1, .noSpace), (4, .invalid), (5, .invalid), (6, .noSpace), (7, .invalid),
    ] as [(UInt16, ErrorCode)] {
      #expect(refusal(command, end - 512) == nil)
      #expect(refusal(command, end - 511) == code)
      #expect(refusal(command, end) == code)
      #expect(refusal(command, .max) == code)
      #expect(refusal(command, end - 1, 1) == nil)
    }
    #expect(refusal(3, 0, 0) == nil)
    #expect(refusal(3, 0, 1) == .invalid)
    #expect(refusal(3, 1, 0) == .invalid)
  }

  @Test func `flags are refused where they mean nothing`() {
    let valid: [(CommandFlags, Set<UInt16>)] = [
      (.fua, [0, 1, 2, 4, 5, 6, 7]), (.noHole, [6]), (.df, [0]), (.reqOne, [7]), (.fastZero, [6]),
      (CommandFlags(rawValue: 32), []), (CommandFlags(rawValue: 1 << 15), []),
    ]
    for (flag, commands) in valid {
      for command in [0, 1, 2, 4, 5, 6, 7] as [UInt16] {
        #expect(refusal(command, 0, 512, flag) == (commands.contains(command) ? nil : .invalid))
      }
    }
    #expect(refusal(0, 0, 512, .df) { $0.hasStructuredReplies = false } == .invalid)
    #expect(refusal(3, 0, 0, .fua) == nil)
  }

  @Test func `a read-only export refuses what writes`() {
    for (command, code) in [
      (0, nil), (1, .notPermitted), (4, .notPermitted), (5, nil), (6, .notPermitted), (7, nil),
    ] as [(UInt16, ErrorCode?)] {
      #expect(refusal(command) { $0.isReadOnly = true } == code)
    }
  }

  @Test func `lengths have their limits where data is carried`() {
    let most = ProtocolLimits.payloadBytesMax
    for command in [0, 1] as [UInt16] {
      #expect(refusal(command, 0, most) == nil)
      #expect(refusal(command, 0, most + 1) == .invalid)
    }
    #expect(refusal(0, 0, most + 1, .df) == .overflow)
    for command in [4, 5, 6, 7] as [UInt16] { #expect(refusal(command, 0, 1 << 30) == nil) }
    let huge = RequestHeader(.write, cookie: 1, length: ProtocolLimits.payloadBytesSkippedMax + 1)
    #expect(huge.verdict(Self.rules) == .disconnect("a write of 67108865 bytes"))
    #expect(refusal(7, 0, 0) == .invalid)
    #expect(refusal(7) { $0.hasAllocationContext = false } == .invalid)
    for command in [0, 1, 4, 5, 6] as [UInt16] { #expect(refusal(command, 5, 0) == nil) }
    for command in [8, 9, 0xffff] as [UInt16] { #expect(refusal(command) == .invalid) }
  }

  @Test func `what passes lies within the disk`() {
    var random = RandomStream(seed: 2, name: "verdicts")
    for _ in 0..<20000 {
      let size = random.next() >> (random.next() % 64)
      let header = RequestHeader(
        Command.allCases[Int(random.next() % 8)],
        flags: CommandFlags(rawValue: UInt16(random.next() % 64)), cookie: 0,
        offset: random.next() >> (random.next() % 64),
        length: UInt32(random.next() >> 32) >> (random.next() % 32))
      var rules = Self.rules
      rules.size = size
      rules.isReadOnly = random.next() % 4 == 0
      guard case .perform(let command) = header.verdict(rules), command != .disconnect, command != .flush
      else { continue }
      let end = header.offset.addingReportingOverflow(UInt64(header.length))
      #expect(!end.overflow && end.partialValue <= size)
      #expect(!(rules.isReadOnly && [.write, .trim, .writeZeroes].contains(command)))
    }
  }
}

@Suite("An address") struct AddressTests {
  @Test func `is read in every form`() throws {
    let good: [(String, NBDAddress)] = [
      ("unix:/a/b:c", .unix("/a/b:c")), ("localhost:4", .tcp(host: "localhost", port: 4)),
      ("localhost", .tcp(host: "localhost", port: 10809)), (":4", .tcp(host: nil, port: 4)),
      ("0.0.0.0:10809", .tcp(host: "0.0.0.0", port: 10809)), ("[::1]:5", .tcp(host: "::1", port: 5)),
      ("[::1]", .tcp(host: "::1", port: 10809)),
    ]
    for (text, address) in good { #expect(try NBDAddress(parsing: text) == address) }
    for text in ["", "unix:", "a:", "a:b", "a:65536", "::1", "[::1", "[]:4", "[::1]x", "a:-1"] {
      #expect(throws: NBDError.self) { try NBDAddress(parsing: text) }
    }
    #expect("\(NBDAddress.tcp(host: "::1", port: 5))" == "[::1]:5")
    #expect("\(NBDAddress.unix("/a"))" == "unix:/a")
  }
}
