// What a client asks an export for.

/// A request as it comes ("Request message").
///
/// | offset | size | field |
/// |-|-|-|
/// | 0 | 4 | magic |
/// | 4 | 2 | flags |
/// | 6 | 2 | command |
/// | 8 | 8 | cookie: comes back with the reply |
/// | 16 | 8 | offset |
/// | 24 | 4 | length; so many bytes follow a WRITE |
package struct RequestHeader: Equatable, Sendable {
  package static let byteCount = 28

  package var flags: CommandFlags
  /// Maybe none that we know.
  package var command: UInt16
  package var cookie: UInt64
  package var offset: UInt64
  package var length: UInt32

  package init(
    _ command: Command, flags: CommandFlags = [], cookie: UInt64, offset: UInt64 = 0, length: UInt32 = 0
  ) {
    self.flags = flags
    self.command = command.rawValue
    self.cookie = cookie
    self.offset = offset
    self.length = length
  }

  package init(parsing bytes: RawSpan) throws(ProtocolError) {
    guard bytes.byteCount == Self.byteCount else {
      throw .tooShort(count: bytes.byteCount, expected: Self.byteCount)
    }
    let magic = bytes.big32(at: 0)
    guard magic == Magic.request else { throw .badRequestMagic(magic) }
    flags = CommandFlags(rawValue: bytes.big16(at: 4))
    command = bytes.big16(at: 6)
    cookie = bytes.big64(at: 8)
    offset = bytes.big64(at: 16)
    length = bytes.big32(at: 24)
  }

  package func encode(into bytes: inout [UInt8]) {
    bytes.appendBig(Magic.request)
    bytes.appendBig(flags.rawValue)
    bytes.appendBig(command)
    bytes.appendBig(cookie)
    bytes.appendBig(offset)
    bytes.appendBig(length)
  }
}

/// What requests are checked against.
package struct RequestRules: Equatable, Sendable {
  package var size: UInt64
  package var isReadOnly: Bool
  package var hasStructuredReplies: Bool
  package var hasAllocationContext: Bool

  package init(size: UInt64, isReadOnly: Bool, hasStructuredReplies: Bool, hasAllocationContext: Bool) {
    self.size = size
    self.isReadOnly = isReadOnly
    self.hasStructuredReplies = hasStructuredReplies
    self.hasAllocationContext = hasAllocationContext
  }
}

/// Why a request is answered with an error.
package struct RequestRefusal: Error, Equatable, Sendable {
  package let code: ErrorCode
  /// For a human being; short.
  package let text: StaticString

  init(_ code: ErrorCode, _ text: StaticString) {
    self.code = code
    self.text = text
  }

  package static func == (a: Self, b: Self) -> Bool { a.code == b.code }
}

/// What is to be done with a request.
package enum RequestVerdict: Equatable {
  case perform(Command)
  /// An error is the answer, after so many bytes that belong to the request.
  case refuse(RequestRefusal, payload: UInt32)
  /// The rest of the stream is not worth reading.
  case disconnect(String)
}

extension RequestHeader {
  /// Looks whether a request may be done ("Request types", "Command flags", "Error values"). What passes lies
  /// within the disk, and is no longer than what a message carries where a message carries it.
  package func verdict(_ rules: RequestRules) -> RequestVerdict {
    guard let command = Command(rawValue: command) else {
      return .refuse(RequestRefusal(.invalid, "unknown command"), payload: 0)
    }
    if command == .write, length > ProtocolLimits.payloadBytesSkippedMax {
      return .disconnect("a write of \(length) bytes")
    }
    do throws(RequestRefusal) {
      try checkFlags(command, rules)
      try checkRange(command, rules)
      return .perform(command)
    } catch {
      return .refuse(error, payload: command == .write ? length : 0)
    }
  }

  private func checkFlags(_ command: Command, _ rules: RequestRules) throws(RequestRefusal) {
    // FUA is valid everywhere, even where it means nothing.
    var allowed: CommandFlags = .fua
    switch command {
    case .read: if rules.hasStructuredReplies { allowed.insert(.df) }
    case .writeZeroes: allowed.formUnion([.noHole, .fastZero])
    case .blockStatus: allowed.insert(.reqOne)
    case .write, .disconnect, .flush, .trim, .cache: break
    }
    guard allowed.isSuperset(of: flags) else { throw RequestRefusal(.invalid, "a flag that has no meaning") }
  }

  private func checkRange(_ command: Command, _ rules: RequestRules) throws(RequestRefusal) {
    switch command {
    // Whatever else it says, it is the end.
    case .disconnect: return
    case .flush:
      guard offset == 0, length == 0 else { throw RequestRefusal(.invalid, "a flush of a range") }
      return
    case .write, .trim, .writeZeroes:
      guard !rules.isReadOnly else { throw RequestRefusal(.notPermitted, "the export is read-only") }
    case .blockStatus:
      guard rules.hasAllocationContext else {
        throw RequestRefusal(.invalid, "no metadata context was chosen")
      }
      guard length > 0 else { throw RequestRefusal(.invalid, "no length") }
    case .read, .cache: break
    }
    guard offset <= rules.size, UInt64(length) <= rules.size - offset else {
      let grows = command == .write || command == .writeZeroes
      throw RequestRefusal(grows ? .noSpace : .invalid, "past the end of the export")
    }
    guard command == .read || command == .write, length > ProtocolLimits.payloadBytesMax else { return }
    throw RequestRefusal(flags.contains(.df) ? .overflow : .invalid, "longer than the maximum block size")
  }
}
