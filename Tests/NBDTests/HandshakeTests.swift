// The talk before the first request, without a socket.
import Simulation
import Testing

@testable import NBD

/// A handshake, and what both sides said.
struct Negotiation {
  var handshake: Handshake
  private(set) var replies: [UInt8] = []
  private(set) var step = Handshake.Step.goOn
  private var waiting: [UInt8] = []

  static let exports = [
    ExportFacts(name: "first", description: "the first", size: 4096, flags: [.hasFlags, .sendFlush]),
    ExportFacts(name: "zweite ü", description: "", size: 8192, flags: [.hasFlags, .readOnly]),
  ]

  init(flags: UInt32? = 3, requiresTLS: Bool = false) {
    handshake = Handshake(exports: Self.exports, requiresTLS: requiresTLS)
    guard let flags else { return }
    var bytes: [UInt8] = []
    bytes.appendBig(flags)
    say(bytes)
  }

  /// Hears bytes; accepts whatever is chosen.
  mutating func say(_ bytes: [UInt8]) {
    waiting += bytes
    while true {
      let bytes = waiting
      let (consumed, next) = handshake.take(bytes.span.bytes, replies: &replies)
      waiting.removeFirst(consumed)
      if next != .needsMore { step = next }
      if case .enter(let agreement) = next { handshake.accept(replies: &replies, agreement) }
      guard next == .goOn else { return }
    }
  }

  /// Hears an option; returns what was answered.
  mutating func ask(_ option: OptionType, _ data: [UInt8] = []) -> [OptionAnswer] {
    ask(option.rawValue, data)
  }

  mutating func ask(_ option: UInt32, _ data: [UInt8] = []) -> [OptionAnswer] {
    replies = []
    say(TestClient.option(option, data))
    return Self.answers(replies)
  }

  static func answers(_ bytes: [UInt8]) -> [OptionAnswer] {
    var answers: [OptionAnswer] = []
    var position = 0
    while position + 20 <= bytes.count, bytes.big(position, UInt64.self) == Magic.optionReply {
      let length = Int(bytes.big(position + 16, UInt32.self))
      answers.append(
        OptionAnswer(
          option: bytes.big(position + 8, UInt32.self), type: bytes.big(position + 12, UInt32.self),
          data: Array(bytes[position + 20..<position + 20 + length])))
      position += 20 + length
    }
    return answers
  }
}

extension [OptionAnswer] {
  /// The type of the last one.
  var ending: OptionReplyType? { last.flatMap { OptionReplyType(rawValue: $0.type) } }

  func info(_ type: InfoType) -> [UInt8]? {
    first { $0.type == OptionReplyType.info.rawValue && $0.data.big(0, UInt16.self) == type.rawValue }
      .map { [UInt8]($0.data.dropFirst(2)) }
  }
}

@Suite("A handshake") struct HandshakeTests {
  @Test func `tells what was asked for and enters`() throws {
    var talk = Negotiation()
    let answers = talk.ask(.go, TestClient.exportQuery("first", [0, 1, 2, 3, 77]))
    #expect(answers.ending == .acknowledged)
    #expect(answers.info(.export) == [0, 0, 0, 0, 0, 0, 16, 0, 0, 5])
    #expect(answers.info(.name) == Array("first".utf8))
    #expect(answers.info(.description) == Array("the first".utf8))
    #expect(answers.info(.blockSize) == [0, 0, 0, 1, 0, 0, 16, 0, 2, 0, 0, 0])
    #expect(
      talk.step
        == .enter(Agreement(export: 0, hasStructuredReplies: false, hasAllocationContext: false)))
  }

  @Test func `the empty name is the first export, and its real name is told`() {
    var talk = Negotiation()
    let answers = talk.ask(.info, TestClient.exportQuery("", [1, 2]))
    #expect(answers.info(.name) == Array("first".utf8))
    #expect(talk.ask(.info, TestClient.exportQuery("zweite ü", [2])).info(.description) == nil)
    #expect(talk.ask(.info, TestClient.exportQuery("zweite", [])).ending == .unknown)
    #expect(talk.step == .goOn)
  }

  @Test func `an export is listed with its name and description`() {
    var talk = Negotiation()
    let answers = talk.ask(.list)
    #expect(answers.map(\.type) == [2, 2, 1])
    #expect(answers[0].data == [0, 0, 0, 5] + Array("firstthe first".utf8))
    #expect(talk.ask(.list, [1]).ending == .invalid)
  }

  @Test func `EXPORT_NAME enters with or without zeroes, or ends`() {
    for (flags, count) in [(3, 10), (1, 134), (0, 134)] as [(UInt32, Int)] {
      var talk = Negotiation(flags: flags)
      talk.say(TestClient.option(1, Array("zweite ü".utf8)))
      #expect(talk.replies.count == count)
      #expect(talk.replies.prefix(10) == [0, 0, 0, 0, 0, 0, 32, 0, 0, 3])
    }
    var talk = Negotiation()
    talk.say(TestClient.option(1, Array("none".utf8)))
    #expect(talk.step == .end("there is no such export"))
    #expect(talk.replies == [])
  }

  @Test func `a context needs structured replies, and its export`() {
    var talk = Negotiation()
    let query = TestClient.contextQuery("", ["base:allocation"])
    #expect(talk.ask(.setMetaContext, query).ending == .invalid)
    #expect(talk.ask(.structuredReply, [0]).ending == .invalid)
    #expect(talk.ask(.structuredReply).ending == .acknowledged)
    let answers = talk.ask(.setMetaContext, query)
    #expect(answers.map(\.type) == [4, 1])
    #expect(answers[0].data == [0, 0, 0, 1] + Array("base:allocation".utf8))
    var same = talk
    _ = same.ask(.go, TestClient.exportQuery("first"))
    #expect(
      same.step == .enter(Agreement(export: 0, hasStructuredReplies: true, hasAllocationContext: true)))
    var other = talk
    let flags = other.ask(.go, TestClient.exportQuery("zweite ü")).info(.export)
    #expect(flags?.last == 0x83, "sendDF with structured replies")
    #expect(
      other.step == .enter(Agreement(export: 1, hasStructuredReplies: true, hasAllocationContext: false)))
    // Even a failed choice takes the former one back.
    #expect(talk.ask(.setMetaContext, TestClient.contextQuery("none", [])).ending == .unknown)
    _ = talk.ask(.go, TestClient.exportQuery("first"))
    #expect(
      talk.step == .enter(Agreement(export: 0, hasStructuredReplies: true, hasAllocationContext: false)))
  }

  @Test func `contexts are listed by namespace, and chosen by name only`() {
    var talk = Negotiation()
    _ = talk.ask(.structuredReply)
    for (queries, isListed, isChosen) in [
      ([], true, false), (["base:"], true, false), (["base:allocation"], true, true),
      (["x-y:", "qemu:dirty-bitmap"], false, false), (["base:other"], false, false),
      (["x:", "base:allocation"], true, true),
    ] as [([String], Bool, Bool)] {
      let query = TestClient.contextQuery("first", queries)
      let listed = talk.ask(.listMetaContext, query)
      #expect(listed.map(\.type) == (isListed ? [4, 1] : [1]), "\(queries)")
      let chosen = talk.ask(.setMetaContext, query)
      #expect(chosen.map(\.type) == (isChosen ? [4, 1] : [1]), "\(queries)")
    }
  }

  @Test func `what is not known, not supported or malformed is refused, and the talk goes on`() {
    var talk = Negotiation()
    #expect(talk.ask(.startTLS).ending == .unsupported)
    #expect(talk.ask(.startTLS, [1]).ending == .invalid)
    for option in [4, 11, 12, 0, 0xffff_ffff] as [UInt32] {
      #expect(talk.ask(option, [1, 2, 3]).ending == .unsupported, "\(option)")
    }
    #expect(talk.ask(.info).ending == .invalid)
    #expect(talk.ask(.info, [0, 0, 0, 9, 1, 2]).ending == .invalid)
    #expect(talk.ask(.info, TestClient.exportQuery("first", [1]) + [0]).ending == .invalid)
    #expect(talk.ask(.info, TestClient.exportQuery("first", [1]).dropLast()).ending == .invalid)
    #expect(talk.ask(.info, [0xff, 0xff, 0xff, 0xff]).ending == .tooBig)
    #expect(talk.ask(.go, TestClient.exportQuery(String(repeating: "x", count: 4097))).ending == .tooBig)
    #expect(talk.ask(.go, TestClient.exportQuery(String(repeating: "x", count: 4096))).ending == .unknown)
    let many = TestClient.contextQuery("", [String](repeating: "", count: 257))
    #expect(talk.ask(.listMetaContext, many).ending == .tooBig)
    #expect(talk.ask(.listMetaContext, TestClient.contextQuery("", ["a"]).dropLast()).ending == .invalid)
    #expect(talk.ask(.list, [UInt8](repeating: 0, count: 40000)).ending == .tooBig)
    #expect(talk.ask(99, [UInt8](repeating: 0, count: 40000)).ending == .unsupported)
    #expect(talk.ask(.list).ending == .acknowledged)
    #expect(talk.ask(.abort, [1, 2]).ending == .acknowledged)
    #expect(talk.step == .end(nil))
  }

  @Test func `what is no handshake ends it`() {
    #expect(Negotiation(flags: 4).step == .end("flags that were not offered: 4"))
    var talk = Negotiation()
    talk.say([UInt8](repeating: 0x41, count: 16))
    #expect(talk.step == .end("an option began with 4141414141414141"))
    talk = Negotiation(flags: 0)
    #expect(talk.ask(.list) == [])
    #expect(talk.step == .end("an option of a client of the older style"))
    talk = Negotiation()
    var header: [UInt8] = []
    OptionHeader(option: 7, length: .max).encode(into: &header)
    talk.say(header)
    #expect(talk.step == .end("an option of 4294967295 bytes"))
    talk = Negotiation()
    for _ in 0..<ProtocolLimits.optionsMax { #expect(talk.ask(.startTLS).ending == .unsupported) }
    #expect(talk.ask(.startTLS) == [])
    #expect(talk.step == .end("more than 128 options"))
  }

  @Test func `nothing is told before TLS where it is required`() {
    var talk = Negotiation(requiresTLS: true)
    for option in [.list, .structuredReply, .info, .go, .listMetaContext, .setMetaContext] as [OptionType] {
      let data: [UInt8]
      switch option {
      case .info, .go: data = TestClient.exportQuery("first")
      case .listMetaContext, .setMetaContext: data = TestClient.contextQuery("first", ["base:allocation"])
      default: data = []
      }
      #expect(talk.ask(option, data).map(\.type) == [OptionReplyType.tlsRequired.rawValue], "\(option)")
    }
    #expect(talk.step == .goOn)
    #expect(talk.ask(.startTLS, [1]).ending == .invalid)
    #expect(talk.ask(.startTLS).ending == .acknowledged)
    #expect(talk.step == .startTLS)
    var plain = Negotiation(requiresTLS: true)
    #expect(plain.ask(.exportName, Array("first".utf8)) == [])
    #expect(plain.step == .end("start TLS first"))
    plain = Negotiation(requiresTLS: true)
    #expect(plain.ask(.abort).ending == .acknowledged)
    #expect(plain.step == .end(nil))
  }

  @Test func `what was agreed on before TLS is forgotten, and there is no TLS within it`() {
    var talk = Negotiation()
    _ = talk.ask(.structuredReply)
    _ = talk.ask(.setMetaContext, TestClient.contextQuery("first", ["base:allocation"]))
    talk.handshake.secured()
    #expect(talk.ask(.startTLS).ending == .invalid)
    #expect(talk.ask(.list).ending == .acknowledged)
    _ = talk.ask(.go, TestClient.exportQuery("first"))
    #expect(
      talk.step == .enter(Agreement(export: 0, hasStructuredReplies: false, hasAllocationContext: false)))
  }

  @Test func `an export that cannot be used now is refused`() {
    var handshake = Handshake(exports: Negotiation.exports)
    var replies: [UInt8] = []
    let bytes = [0, 0, 0, 3] + TestClient.option(7, TestClient.exportQuery("first"))
    let (count, _) = handshake.take(bytes.span.bytes, replies: &replies)
    let rest = Array(bytes[count...])
    let (_, step) = handshake.take(rest.span.bytes, replies: &replies)
    guard case .enter = step else {
      Issue.record("\(step)")
      return
    }
    #expect(handshake.refuse(replies: &replies, "no") == .goOn)
    #expect(Negotiation.answers(replies).ending == .platform)
  }

  @Test func `it does not matter where the stream is cut`() {
    var random = RandomStream(seed: 5, name: "cuts")
    let talk: [UInt8] =
      [0, 0, 0, 3] + TestClient.option(8) + TestClient.option(3)
      + TestClient.option(10, TestClient.contextQuery("", ["base:allocation"]))
      + TestClient.option(50, [UInt8](repeating: 1, count: 33000)) + TestClient.option(7, [1, 2])
      + TestClient.option(7, TestClient.exportQuery("first", [1, 2, 3]))
    var whole = Negotiation(flags: nil)
    whole.say(talk)
    for _ in 0..<200 {
      var cut = Negotiation(flags: nil)
      var position = 0
      while position < talk.count {
        let longest: UInt64 = random.next() % 3 == 0 ? 2000 : 5
        let next = min(talk.count, position + 1 + Int(random.next() % longest))
        cut.say(Array(talk[position..<next]))
        position = next
      }
      #expect(cut.replies == whole.replies)
      #expect(cut.step == whole.step)
    }
  }

  @Test func `any bytes come to an end that is one of the known ones`() {
    var random = RandomStream(seed: 6, name: "noise")
    for _ in 0..<2000 {
      var talk = Negotiation(flags: 3)
      for _ in 0..<6 {
        var data = (0..<random.next() % 40).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        if random.next() % 2 == 0 { for index in data.indices where index % 4 < 3 { data[index] = 0 } }
        let answers = talk.ask(UInt32(random.next() % 13), data)
        if case .goOn = talk.step { #expect(answers.ending != nil) } else { break }
      }
    }
  }
}
