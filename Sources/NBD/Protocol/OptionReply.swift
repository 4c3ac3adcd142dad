// Answers to options.

/// Writes replies to options ("Fixed newstyle negotiation").
///
/// | offset | size | field |
/// |-|-|-|
/// | 0 | 8 | magic |
/// | 8 | 4 | option that it answers |
/// | 12 | 4 | type of the reply |
/// | 16 | 4 | bytes of data that follow |
enum OptionReply {
  /// A reply without data.
  static func append(_ type: OptionReplyType, to option: UInt32, _ replies: inout [UInt8]) {
    append(type, to: option, &replies) { _ in }
  }

  /// An error, with its text as data.
  static func append(_ refusal: OptionRefusal, to option: UInt32, _ replies: inout [UInt8]) {
    append(refusal.type, to: option, &replies) {
      $0.append(contentsOf: refusal.text.utf8.prefix(ProtocolLimits.errorTextBytesMax))
    }
  }

  /// One export of a list (`NBD_REP_SERVER`).
  static func appendServer(_ facts: ExportFacts, _ replies: inout [UInt8]) {
    append(.server, to: OptionType.list.rawValue, &replies) {
      $0.appendBig(UInt32(facts.name.utf8.count))
      $0.append(contentsOf: facts.name.utf8)
      $0.append(contentsOf: facts.description.utf8.prefix(ProtocolLimits.stringBytesMax))
    }
  }

  /// `base:allocation` (`NBD_REP_META_CONTEXT`).
  static func appendContext(_ identifier: UInt32, to option: UInt32, _ replies: inout [UInt8]) {
    append(.metaContext, to: option, &replies) {
      $0.appendBig(identifier)
      $0.append(contentsOf: AllocationContext.name.utf8)
    }
  }

  /// A piece of information on an export (`NBD_REP_INFO`).
  static func appendInfo(
    _ type: InfoType, to option: OptionType, _ replies: inout [UInt8], _ body: (inout [UInt8]) -> Void
  ) {
    append(.info, to: option.rawValue, &replies) {
      $0.appendBig(type.rawValue)
      body(&$0)
    }
  }

  private static func append(
    _ type: OptionReplyType, to option: UInt32, _ replies: inout [UInt8], _ body: (inout [UInt8]) -> Void
  ) {
    var data: [UInt8] = []
    body(&data)
    replies.appendBig(Magic.optionReply)
    replies.appendBig(option)
    replies.appendBig(type.rawValue)
    replies.appendBig(UInt32(data.count))
    replies.append(contentsOf: data)
  }
}
