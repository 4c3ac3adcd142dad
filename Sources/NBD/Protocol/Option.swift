// What a client says before it chooses an export.

/// Why what a client sent is not NBD any more: the connection ends.
package enum ProtocolError: Error, Equatable, CustomStringConvertible {
  case badOptionMagic(UInt64)
  case badRequestMagic(UInt32)
  /// Bits that we did not offer.
  case clientFlags(UInt32)
  case tooShort(count: Int, expected: Int)

  package var description: String {
    switch self {
    case .badOptionMagic(let value): "an option began with \(String(value, radix: 16))"
    case .badRequestMagic(let value): "a request began with \(String(value, radix: 16))"
    case .clientFlags(let value): "flags that were not offered: \(String(value, radix: 16))"
    case .tooShort(let count, let expected): "\(count) bytes instead of \(expected)"
    }
  }
}

/// An option is answered with an error, and the client may go on.
package struct OptionRefusal: Error, Equatable {
  package let type: OptionReplyType
  /// For a human being.
  package let text: String

  init(_ type: OptionReplyType, _ text: String) {
    self.type = type
    self.text = text
  }
}

/// The bytes before an option's data ("Newstyle negotiation").
///
/// | offset | size | field |
/// |-|-|-|
/// | 0 | 8 | "IHAVEOPT" |
/// | 8 | 4 | option |
/// | 12 | 4 | bytes of data that follow |
package struct OptionHeader: Equatable {
  package static let byteCount = 16

  package var option: UInt32
  package var length: UInt32

  package init(option: UInt32, length: UInt32) {
    self.option = option
    self.length = length
  }

  package init(parsing bytes: RawSpan) throws(ProtocolError) {
    guard bytes.byteCount == Self.byteCount else {
      throw .tooShort(count: bytes.byteCount, expected: Self.byteCount)
    }
    let magic = bytes.big64(at: 0)
    guard magic == Magic.option else { throw .badOptionMagic(magic) }
    option = bytes.big32(at: 8)
    length = bytes.big32(at: 12)
  }

  package func encode(into bytes: inout [UInt8]) {
    bytes.appendBig(Magic.option)
    bytes.appendBig(option)
    bytes.appendBig(length)
  }
}

/// What an option asks for.
package enum OptionRequest: Equatable {
  case exportName([UInt8])
  case abort
  case list
  case startTLS
  case info(ExportQuery)
  case go(ExportQuery)
  case structuredReply
  case listMetaContext(ContextQuery)
  case setMetaContext(ContextQuery)

  /// Reads an option's data ("Option types"); what is not known, or not supported, is refused.
  package init(_ option: UInt32, parsing data: RawSpan) throws(OptionRefusal) {
    guard let type = OptionType(rawValue: option) else {
      throw OptionRefusal(.unsupported, "option \(option) is not known here")
    }
    switch type {
    case .exportName:
      guard data.byteCount <= ProtocolLimits.stringBytesMax else {
        throw OptionRefusal(.tooBig, "a name of \(data.byteCount) bytes")
      }
      self = .exportName(data.array())
    // Whatever data it has, nothing else may follow.
    case .abort: self = .abort
    case .list:
      try Self.requireEmpty(data)
      self = .list
    case .startTLS:
      try Self.requireEmpty(data)
      self = .startTLS
    case .structuredReply:
      try Self.requireEmpty(data)
      self = .structuredReply
    case .info: self = .info(try ExportQuery(parsing: data))
    case .go: self = .go(try ExportQuery(parsing: data))
    case .listMetaContext: self = .listMetaContext(try ContextQuery(parsing: data))
    case .setMetaContext: self = .setMetaContext(try ContextQuery(parsing: data))
    }
  }

  private static func requireEmpty(_ data: RawSpan) throws(OptionRefusal) {
    guard data.isEmpty else { throw OptionRefusal(.invalid, "this option has no data") }
  }
}

/// Data of INFO and GO: which export, and what to tell of it.
///
/// | size | field |
/// |-|-|
/// | 4 | length of the name |
/// | n | name |
/// | 2 | how many kinds of information follow |
/// | 2 each | kind |
package struct ExportQuery: Equatable {
  package var name: [UInt8]
  package var wantsName = false
  package var wantsDescription = false
  package var wantsBlockSize = false

  init(parsing data: RawSpan) throws(OptionRefusal) {
    var cursor = FieldCursor()
    name = try cursor.string(of: data)
    let count = try cursor.integer16(of: data)
    for _ in 0..<count {
      // Kinds that we do not know are for servers that do.
      switch InfoType(rawValue: try cursor.integer16(of: data)) {
      case .name: wantsName = true
      case .description: wantsDescription = true
      case .blockSize: wantsBlockSize = true
      case .export, nil: break
      }
    }
    guard cursor.isAtEnd(of: data) else {
      throw OptionRefusal(.invalid, "data behind the kinds of information")
    }
  }
}

/// Data of LIST_META_CONTEXT and SET_META_CONTEXT: which export, and which contexts.
///
/// | size | field |
/// |-|-|
/// | 4 | length of the name |
/// | n | name |
/// | 4 | how many queries follow |
/// | 4 + n each | length of the query, query |
package struct ContextQuery: Equatable {
  package var name: [UInt8]
  package var queries: [[UInt8]] = []

  init(parsing data: RawSpan) throws(OptionRefusal) {
    var cursor = FieldCursor()
    name = try cursor.string(of: data)
    let count = try cursor.integer32(of: data)
    guard count <= UInt32(ProtocolLimits.queriesMax) else {
      throw OptionRefusal(.tooBig, "\(count) queries: at most \(ProtocolLimits.queriesMax)")
    }
    for _ in 0..<count { queries.append(try cursor.string(of: data)) }
    guard cursor.isAtEnd(of: data) else { throw OptionRefusal(.invalid, "data behind the queries") }
  }

  /// Whether a list of contexts has `base:allocation`: no query asks for all, a namespace for its own.
  var listsAllocation: Bool { queries.isEmpty || queries.contains { Self.namesAllocation($0, asList: true) } }

  /// Whether it is chosen.
  var selectsAllocation: Bool { queries.contains { Self.namesAllocation($0, asList: false) } }

  private static func namesAllocation(_ query: [UInt8], asList: Bool) -> Bool {
    query.elementsEqual(AllocationContext.name.utf8)
      || asList && query.elementsEqual(AllocationContext.namespace.utf8)
  }
}
