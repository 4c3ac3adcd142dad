// Any bytes as what an NBD client says.
import NBDProtocol

private let exports = [
  ExportFacts(name: "a", description: "", size: 1 << 20, flags: [.hasFlags, .readOnly]),
  ExportFacts(name: "bb", description: "the other", size: 4096, flags: [.hasFlags, .sendTrim]),
]

/// The first byte says how the stream is cut, and whether TLS comes first; the rest is a handshake, and requests
/// when that has come to its end. What comes out must not depend on the cuts, be bounded, and be a reply to each
/// option.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzNBD(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  guard count > 1 else { return 0 }
  let stream = [UInt8](UnsafeBufferPointer(start: bytes + 1, count: count - 1))
  let cut = Int(bytes[0]) + 1
  let requiresTLS = bytes[0] % 2 == 0
  let whole = talk(stream, cut: stream.count, requiresTLS: requiresTLS)
  let pieces = talk(stream, cut: cut, requiresTLS: requiresTLS)
  precondition(whole == pieces, "the stream was cut, and something else came of it")
  return 0
}

private struct Outcome: Equatable {
  var replies: [UInt8] = []
  var step = Handshake.Step.goOn
  var verdicts: [RequestVerdict] = []
}

private func talk(_ stream: [UInt8], cut: Int, requiresTLS: Bool) -> Outcome {
  var outcome = Outcome()
  var handshake = Handshake(exports: exports, requiresTLS: requiresTLS)
  var isSecured = !requiresTLS
  var waiting: [UInt8] = []
  var position = 0
  var agreement: Agreement?
  while position < stream.count {
    let end = min(stream.count, position + cut)
    waiting += stream[position..<end]
    position = end
    while agreement == nil {
      let before = outcome.replies.count
      let (consumed, step) = handshake.take(waiting.span.bytes, replies: &outcome.replies)
      precondition(consumed <= waiting.count && outcome.replies.count - before < 4096)
      waiting.removeFirst(consumed)
      if step == .needsMore {
        precondition(consumed == 0 && waiting.count < Handshake.bytesMax)
        break
      }
      outcome.step = step
      if case .end = step { return outcome }
      if step == .startTLS {
        precondition(!isSecured)
        isSecured = true
        handshake.secured()
      }
      if case .enter(let chosen) = step {
        precondition(isSecured && exports.indices.contains(chosen.export))
        precondition(chosen.hasStructuredReplies || !chosen.hasAllocationContext)
        // Every second one is refused, as if it could not be served.
        if outcome.replies.count % 2 == 0 {
          handshake.accept(replies: &outcome.replies, chosen)
          agreement = chosen
        } else if case .end = handshake.refuse(replies: &outcome.replies, "no") {
          return outcome
        }
      }
    }
    guard let agreement else { continue }
    judge(&waiting, agreement, &outcome)
    if case .disconnect = outcome.verdicts.last { return outcome }
  }
  return outcome
}

/// What is to be done with requests, whose data is not looked at.
private func judge(_ waiting: inout [UInt8], _ agreement: Agreement, _ outcome: inout Outcome) {
  let facts = exports[agreement.export]
  let rules = RequestRules(
    size: facts.size, isReadOnly: facts.flags.contains(.readOnly),
    hasStructuredReplies: agreement.hasStructuredReplies,
    hasAllocationContext: agreement.hasAllocationContext)
  while waiting.count >= RequestHeader.byteCount {
    let parsed = try? RequestHeader(parsing: Array(waiting.prefix(RequestHeader.byteCount)).span.bytes)
    waiting.removeFirst(RequestHeader.byteCount)
    guard let header = parsed else { return outcome.verdicts.append(.disconnect("")) }
    let verdict = header.verdict(rules)
    outcome.verdicts.append(verdict)
    switch verdict {
    case .disconnect: return
    case .refuse(let refusal, let payload):
      precondition(payload == 0 || payload <= ProtocolLimits.payloadBytesSkippedMax)
      var head = [UInt8](repeating: 0, count: Reply.byteCountMax)
      let written = head.withUnsafeMutableBytes { head in
        head.baseAddress.map { Reply.writeError($0, cookie: header.cookie, refusal.code, refusal.text) } ?? 0
      }
      precondition(written <= head.count)
    case .perform(.disconnect), .perform(.flush): break
    case .perform(let command):
      let end = header.offset.addingReportingOverflow(UInt64(header.length))
      precondition(!end.overflow && end.partialValue <= facts.size)
      precondition(!rules.isReadOnly || command == .read || command == .cache || command == .blockStatus)
      if command == .read || command == .write {
        precondition(header.length <= ProtocolLimits.payloadBytesMax)
      }
    }
  }
}
