// The talk before the first request.

/// What a client is told of an export.
package struct ExportFacts: Equatable, Sendable {
  package var name: String
  /// For a human being; may be empty.
  package var description: String
  package var size: UInt64
  /// Without `sendDF`, which depends on the connection.
  package var flags: TransmissionFlags

  package init(name: String, description: String, size: UInt64, flags: TransmissionFlags) {
    self.name = name
    self.description = description
    self.size = size
    self.flags = flags
  }
}

/// What a client has agreed on with us.
package struct Agreement: Equatable, Sendable {
  /// Which of the exports.
  package var export: Int
  package var hasStructuredReplies: Bool
  /// Whether BLOCK_STATUS may be used.
  package var hasAllocationContext: Bool
}

/// The server's side of fixed newstyle negotiation ("Newstyle negotiation", "Fixed newstyle negotiation"):
/// bytes in, bytes out, and what has come of it. It has no socket and no clock.
package struct Handshake {
  /// What to do next.
  package enum Step: Equatable {
    /// Nothing was taken: more bytes are needed.
    case needsMore
    case goOn
    /// Call `accept` if the export can be used, otherwise `refuse`.
    case enter(Agreement)
    /// When the replies are sent, TLS begins; call `secured` then. What has come behind the option must not
    /// be taken for a part of the secured talk.
    case startTLS
    /// The connection is over when the replies are sent; nil for an orderly end, else why.
    case end(String?)
  }

  private enum Phase {
    case clientFlags
    case options
    /// The rest of an option that was refused already.
    case skipping(UInt32)
    /// An export was chosen; nil by EXPORT_NAME, which knows no reply.
    case chosen(ExportQuery?)
  }

  private enum Security { case none, required, secured }

  private let exports: [ExportFacts]
  private var security: Security
  private var phase = Phase.clientFlags
  private var flags: HandshakeFlags = []
  private var optionCount = 0
  private var hasStructuredReplies = false
  /// The export for which `base:allocation` was chosen.
  private var contextExport: Int?

  /// - Parameter requiresTLS: clients have to start TLS before they are told anything ("FORCEDTLS mode").
  package init(exports: [ExportFacts], requiresTLS: Bool = false) {
    self.exports = exports
    security = requiresTLS ? .required : .none
  }

  /// What the server says first.
  package static func greet(into replies: inout [UInt8]) {
    replies.appendBig(Magic.greeting)
    replies.appendBig(Magic.option)
    replies.appendBig(UInt16(HandshakeFlags.known.rawValue))
  }

  /// Takes at most one message.
  /// - Parameter bytes: all that has come and was not consumed; at least `bytesMax` of them are kept.
  /// - Returns: how many bytes were consumed.
  package mutating func take(_ bytes: RawSpan, replies: inout [UInt8]) -> (consumed: Int, step: Step) {
    switch phase {
    case .clientFlags: return takeClientFlags(bytes)
    case .skipping(let left):
      guard !bytes.isEmpty else { return (0, .needsMore) }
      let count = min(left, UInt32(clamping: bytes.byteCount))
      phase = count == left ? .options : .skipping(left - count)
      return (Int(count), .goOn)
    case .options: return takeOption(bytes, &replies)
    case .chosen: return (0, .end("a client spoke out of turn"))
    }
  }

  /// The longest message.
  package static let bytesMax = OptionHeader.byteCount + ProtocolLimits.optionBytesMax

  /// The talk goes on within TLS; what was agreed on before it is forgotten.
  package mutating func secured() {
    security = .secured
    hasStructuredReplies = false
    contextExport = nil
  }

  /// The export is ready: the last words of the handshake.
  package mutating func accept(replies: inout [UInt8], _ agreement: Agreement) {
    guard case .chosen(let query) = phase else { preconditionFailure("nothing was chosen") }
    let facts = exports[agreement.export]
    guard let query else {
      replies.appendBig(facts.size)
      replies.appendBig(transmissionFlags(facts).rawValue)
      if !flags.contains(.noZeroes) { replies.append(contentsOf: repeatElement(0, count: 124)) }
      return
    }
    describe(facts, query, .go, &replies)
    OptionReply.append(.acknowledged, to: OptionType.go.rawValue, &replies)
  }

  /// The export cannot be used now.
  package mutating func refuse(replies: inout [UInt8], _ text: String) -> Step {
    guard case .chosen(let query) = phase else { preconditionFailure("nothing was chosen") }
    guard query != nil else { return .end(text) }
    OptionReply.append(OptionRefusal(.platform, text), to: OptionType.go.rawValue, &replies)
    phase = .options
    return .goOn
  }

  private mutating func takeClientFlags(_ bytes: RawSpan) -> (Int, Step) {
    guard bytes.byteCount >= 4 else { return (0, .needsMore) }
    let value = bytes.big32(at: 0)
    flags = HandshakeFlags(rawValue: value)
    guard HandshakeFlags.known.isSuperset(of: flags) else {
      return (4, .end("\(ProtocolError.clientFlags(value))"))
    }
    phase = .options
    return (4, .goOn)
  }

  private mutating func takeOption(_ bytes: RawSpan, _ replies: inout [UInt8]) -> (Int, Step) {
    guard bytes.byteCount >= OptionHeader.byteCount else { return (0, .needsMore) }
    let header: OptionHeader
    do throws(ProtocolError) {
      header = try OptionHeader(parsing: bytes.extracting(0..<OptionHeader.byteCount))
    } catch { return (OptionHeader.byteCount, .end("\(error)")) }
    guard header.length <= UInt32(ProtocolLimits.optionBytesMax) else {
      optionCount += 1
      return (OptionHeader.byteCount, refuseLong(header, &replies))
    }
    let end = OptionHeader.byteCount + Int(header.length)
    guard bytes.byteCount >= end else { return (0, .needsMore) }
    optionCount += 1
    guard optionCount <= ProtocolLimits.optionsMax else {
      return (end, .end("more than \(ProtocolLimits.optionsMax) options"))
    }
    do throws(OptionRefusal) {
      let request = try OptionRequest(
        header.option, parsing: bytes.extracting(OptionHeader.byteCount..<end))
      return (end, try answer(request, header.option, &replies))
    } catch {
      return (end, refuse(error, header.option, &replies))
    }
  }

  /// A refusal that leaves the connection in step; EXPORT_NAME, and clients of the older style, know none.
  private func refuse(_ refusal: OptionRefusal, _ option: UInt32, _ replies: inout [UInt8]) -> Step {
    guard option != OptionType.exportName.rawValue, flags.contains(.fixedNewstyle) else {
      return .end(refusal.text)
    }
    OptionReply.append(refusal, to: option, &replies)
    return .goOn
  }

  private mutating func refuseLong(_ header: OptionHeader, _ replies: inout [UInt8]) -> Step {
    guard header.length <= ProtocolLimits.optionBytesSkippedMax, optionCount <= ProtocolLimits.optionsMax
    else { return .end("an option of \(header.length) bytes") }
    let isKnown = OptionType(rawValue: header.option) != nil
    phase = .skipping(header.length)
    return refuse(
      OptionRefusal(isKnown ? .tooBig : .unsupported, "an option of \(header.length) bytes"), header.option,
      &replies)
  }

  private mutating func answer(
    _ request: OptionRequest, _ option: UInt32, _ replies: inout [UInt8]
  ) throws(OptionRefusal) -> Step {
    if security == .required {
      switch request {
      case .abort, .startTLS: break
      default: throw OptionRefusal(.tlsRequired, "start TLS first")
      }
    }
    switch request {
    case .exportName(let name):
      let index = try find(name)
      phase = .chosen(nil)
      return .enter(agreement(index))
    case .abort:
      OptionReply.append(.acknowledged, to: option, &replies)
      return .end(nil)
    case _ where !flags.contains(.fixedNewstyle): return .end("an option of a client of the older style")
    case .list:
      for facts in exports { OptionReply.appendServer(facts, &replies) }
    case .startTLS:
      switch security {
      case .none: throw OptionRefusal(.unsupported, "there is no TLS here")
      case .secured: throw OptionRefusal(.invalid, "this is TLS already")
      case .required:
        OptionReply.append(.acknowledged, to: option, &replies)
        return .startTLS
      }
    case .structuredReply: hasStructuredReplies = true
    case .info(let query): describe(exports[try find(query.name)], query, .info, &replies)
    case .go(let query):
      let index = try find(query.name)
      phase = .chosen(query)
      return .enter(agreement(index))
    case .listMetaContext(let query):
      try requireStructuredReplies()
      _ = try find(query.name)
      if query.listsAllocation { OptionReply.appendContext(0, to: option, &replies) }
    case .setMetaContext(let query):
      // Whatever comes of it, what was chosen before is not any more.
      contextExport = nil
      try requireStructuredReplies()
      let index = try find(query.name)
      if query.selectsAllocation {
        contextExport = index
        OptionReply.appendContext(AllocationContext.identifier, to: option, &replies)
      }
    }
    OptionReply.append(.acknowledged, to: option, &replies)
    return .goOn
  }

  private func requireStructuredReplies() throws(OptionRefusal) {
    guard hasStructuredReplies else { throw OptionRefusal(.invalid, "structured replies come first") }
  }

  private func agreement(_ index: Int) -> Agreement {
    Agreement(
      export: index, hasStructuredReplies: hasStructuredReplies,
      hasAllocationContext: contextExport == index)
  }

  /// The empty name stands for the first export.
  private func find(_ name: [UInt8]) throws(OptionRefusal) -> Int {
    if name.isEmpty, !exports.isEmpty { return 0 }
    guard let index = exports.firstIndex(where: { $0.name.utf8.elementsEqual(name) }) else {
      throw OptionRefusal(.unknown, "there is no such export")
    }
    return index
  }

  private func transmissionFlags(_ facts: ExportFacts) -> TransmissionFlags {
    hasStructuredReplies ? facts.flags.union(.sendDF) : facts.flags
  }

  private func describe(
    _ facts: ExportFacts, _ query: ExportQuery, _ option: OptionType, _ replies: inout [UInt8]
  ) {
    OptionReply.appendInfo(.export, to: option, &replies) {
      $0.appendBig(facts.size)
      $0.appendBig(transmissionFlags(facts).rawValue)
    }
    if query.wantsName {
      OptionReply.appendInfo(.name, to: option, &replies) { $0.append(contentsOf: facts.name.utf8) }
    }
    if query.wantsDescription, !facts.description.isEmpty {
      OptionReply.appendInfo(.description, to: option, &replies) {
        $0.append(contentsOf: facts.description.utf8.prefix(ProtocolLimits.stringBytesMax))
      }
    }
    if query.wantsBlockSize {
      OptionReply.appendInfo(.blockSize, to: option, &replies) {
        $0.appendBig(ProtocolLimits.blockSizeMin)
        $0.appendBig(ProtocolLimits.blockSizePreferred)
        $0.appendBig(ProtocolLimits.payloadBytesMax)
      }
    }
  }
}
