// A client that says what it is told to.
import Glibc
import Linux
import Testing

@testable import NBD

/// The other side has closed the connection, or says nothing for ten seconds.
struct Silence: Error, Equatable { let isClosed: Bool }

/// A reply to an option.
struct OptionAnswer: Equatable {
  var option: UInt32
  var type: UInt32
  var data: [UInt8]
}

/// A reply to a request.
enum RequestAnswer: Equatable {
  case simple(cookie: UInt64, error: UInt32)
  case chunk(cookie: UInt64, type: UInt16, isLast: Bool, data: [UInt8])

  /// The error it tells; 0 for none.
  var error: UInt32 {
    switch self {
    case .simple(_, let error): error
    case .chunk(_, let type, _, let data):
      type == ChunkType.error.rawValue ? data.withUnsafeBytes { $0.big(0, UInt32.self) } : 0
    }
  }

  var cookie: UInt64 {
    switch self {
    case .simple(let cookie, _), .chunk(let cookie, _, _, _): cookie
    }
  }
}

extension UnsafeRawBufferPointer {
  func big<T: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, _ type: T.Type) -> T {
    T(bigEndian: loadUnaligned(fromByteOffset: offset, as: T.self))
  }
}

extension [UInt8] {
  func big<T: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, _ type: T.Type) -> T {
    withUnsafeBytes { $0.big(offset, type) }
  }
}

final class TestClient {
  let socket: CInt
  var hasStructuredReplies = false
  private var nextCookie: UInt64 = 1

  init(_ address: NBDAddress) throws {
    let code: CInt
    switch address {
    case .unix(let path):
      socket = Glibc.socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
      code = Self.connect(socket, &address)
    case .tcp(_, let port):
      socket = Glibc.socket(AF_INET, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = port.bigEndian
      address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
      code = Self.connect(socket, &address)
    }
    try #require(code == 0)
    setPatience(seconds: 10)
  }

  private static func connect<Address>(_ socket: CInt, _ address: inout Address) -> CInt {
    withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Glibc.connect(socket, $0, socklen_t(MemoryLayout<Address>.size))
      }
    }
  }

  deinit { close() }

  private var isClosed = false

  func close() {
    guard !isClosed else { return }
    isClosed = true
    shutdown(socket, CInt(SHUT_RDWR))
    Glibc.close(socket)
  }

  /// A call with a limit is not restarted by the kernel, but ends with EINTR, and a thread that has made an
  /// io_uring is interrupted when another thread closes it.
  func setPatience(seconds: Int) {
    var time = timeval(tv_sec: seconds, tv_usec: 0)
    setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
    setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
  }

  func send(_ bytes: [UInt8]) throws {
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes {
        Glibc.send(socket, $0.baseAddress.map { $0 + done }, $0.count - done, CInt(MSG_NOSIGNAL))
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw Silence(isClosed: errno != EAGAIN) }
      done += count
    }
  }

  func receive(_ count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var done = 0
    while done < count {
      let received = bytes.withUnsafeMutableBytes {
        recv(socket, $0.baseAddress.map { $0 + done }, $0.count - done, 0)
      }
      if received < 0, errno == EINTR { continue }
      guard received > 0 else { throw Silence(isClosed: received == 0 || errno != EAGAIN) }
      done += received
    }
    return bytes
  }

  /// Whether the server has closed the connection, after what it may still have said.
  func isSentAway() -> Bool {
    while true {
      do { _ = try receive(1) } catch { return (error as? Silence)?.isClosed ?? false }
    }
  }

  // The handshake.

  func greet(flags: UInt32 = 3) throws {
    let greeting = try receive(18)
    try #require(greeting.big(0, UInt64.self) == Magic.greeting)
    try #require(greeting.big(8, UInt64.self) == Magic.option)
    try #require(greeting.big(16, UInt16.self) == 3)
    var bytes: [UInt8] = []
    bytes.appendBig(flags)
    try send(bytes)
  }

  static func option(_ option: UInt32, _ data: [UInt8] = []) -> [UInt8] {
    var bytes: [UInt8] = []
    OptionHeader(option: option, length: UInt32(data.count)).encode(into: &bytes)
    return bytes + data
  }

  func ask(_ option: OptionType, _ data: [UInt8] = []) throws -> [OptionAnswer] {
    try ask(option.rawValue, data)
  }

  /// Sends an option, and receives its replies up to the last.
  func ask(_ option: UInt32, _ data: [UInt8] = []) throws -> [OptionAnswer] {
    try send(Self.option(option, data))
    return try answers()
  }

  func answers() throws -> [OptionAnswer] {
    var answers: [OptionAnswer] = []
    repeat {
      let head = try receive(20)
      try #require(head.big(0, UInt64.self) == Magic.optionReply)
      answers.append(
        OptionAnswer(
          option: head.big(8, UInt32.self), type: head.big(12, UInt32.self),
          data: try receive(Int(head.big(16, UInt32.self)))))
    } while answers.last.map { $0.type != 1 && $0.type < 0x8000_0000 } ?? true
    return answers
  }

  static func exportQuery(_ name: String, _ kinds: [UInt16] = []) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendBig(UInt32(name.utf8.count))
    bytes.append(contentsOf: name.utf8)
    bytes.appendBig(UInt16(kinds.count))
    for kind in kinds { bytes.appendBig(kind) }
    return bytes
  }

  static func contextQuery(_ name: String, _ queries: [String]) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendBig(UInt32(name.utf8.count))
    bytes.append(contentsOf: name.utf8)
    bytes.appendBig(UInt32(queries.count))
    for query in queries {
      bytes.appendBig(UInt32(query.utf8.count))
      bytes.append(contentsOf: query.utf8)
    }
    return bytes
  }

  /// The whole handshake; returns the flags of the export.
  @discardableResult
  func enter(_ name: String = "", structured: Bool = true, context: Bool = true) throws -> TransmissionFlags {
    try greet()
    if structured {
      try #require(try ask(.structuredReply).last?.type == 1)
      hasStructuredReplies = true
      if context {
        try #require(
          try ask(.setMetaContext, Self.contextQuery(name, [AllocationContext.name])).last?.type == 1)
      }
    }
    let answers = try ask(.go, Self.exportQuery(name))
    try #require(answers.last?.type == 1)
    let info = try #require(answers.first { $0.type == 3 && $0.data.big(0, UInt16.self) == 0 })
    return TransmissionFlags(rawValue: info.data.big(10, UInt16.self))
  }

  // Requests.

  /// Sends a request; returns its cookie.
  @discardableResult
  func request(
    _ command: Command, _ offset: UInt64 = 0, _ length: UInt32 = 0, flags: CommandFlags = [],
    data: [UInt8] = []
  ) throws -> UInt64 {
    nextCookie += 1
    var bytes: [UInt8] = []
    RequestHeader(command, flags: flags, cookie: nextCookie, offset: offset, length: length).encode(
      into: &bytes)
    try send(bytes + data)
    return nextCookie
  }

  /// Receives a reply, or a chunk of one.
  /// - Parameter length: how much data a simple reply has if there is no error.
  func answer(_ length: Int = 0) throws -> (answer: RequestAnswer, data: [UInt8]) {
    let magic = try receive(4)
    if magic.big(0, UInt32.self) == Magic.simpleReply {
      let rest = try receive(12)
      let error = rest.big(0, UInt32.self)
      let data = error == 0 ? try receive(length) : []
      return (.simple(cookie: rest.big(4, UInt64.self), error: error), data)
    }
    try #require(magic.big(0, UInt32.self) == Magic.chunk)
    let rest = try receive(16)
    let data = try receive(Int(rest.big(12, UInt32.self)))
    return (
      .chunk(
        cookie: rest.big(4, UInt64.self), type: rest.big(2, UInt16.self),
        isLast: rest.big(0, UInt16.self) & 1 == 1, data: data), data
    )
  }

  /// A request that has no data in its reply; returns the error.
  func perform(
    _ command: Command, _ offset: UInt64 = 0, _ length: UInt32 = 0, flags: CommandFlags = [],
    data: [UInt8] = []
  ) throws -> UInt32 {
    let cookie = try request(command, offset, length, flags: flags, data: data)
    let (answer, _) = try answer()
    try #require(answer.cookie == cookie)
    return answer.error
  }

  func write(_ offset: UInt64, _ bytes: [UInt8], flags: CommandFlags = []) throws -> UInt32 {
    try perform(.write, offset, UInt32(bytes.count), flags: flags, data: bytes)
  }

  /// Reads; with structured replies from chunks, which must not overlap. Nil for an error.
  func read(_ offset: UInt64, _ length: UInt32, flags: CommandFlags = []) throws -> [UInt8]? {
    let cookie = try request(.read, offset, length, flags: flags)
    return try collect(cookie, offset, Int(length)).bytes
  }

  /// The reply to a read that is the only one under way.
  func collect(_ cookie: UInt64, _ offset: UInt64, _ length: Int) throws -> (bytes: [UInt8]?, holes: Int) {
    guard hasStructuredReplies else {
      let (answer, data) = try answer(length)
      try #require(answer.cookie == cookie)
      return (answer.error == 0 ? data : nil, 0)
    }
    var bytes = [UInt8](repeating: 0xee, count: length)
    var covered = 0
    var holes = 0
    while true {
      let (answer, data) = try answer()
      guard case .chunk(let found, let type, let isLast, _) = answer else {
        throw Silence(isClosed: false)
      }
      try #require(found == cookie)
      switch ChunkType(rawValue: type) {
      case .offsetData:
        let start = Int(data.big(0, UInt64.self) - offset)
        bytes.replaceSubrange(start..<start + data.count - 8, with: data[8...])
        covered += data.count - 8
      case .offsetHole:
        let start = Int(data.big(0, UInt64.self) - offset)
        let count = Int(data.big(8, UInt32.self))
        bytes.replaceSubrange(start..<start + count, with: repeatElement(0, count: count))
        covered += count
        holes += 1
      case .error: return (nil, holes)
      case .none?: break
      default: Issue.record("a chunk of type \(type)")
      }
      if isLast { break }
    }
    #expect(covered == length)
    return (bytes, holes)
  }

  /// The descriptors of a range: lengths and states.
  func status(_ offset: UInt64, _ length: UInt32, flags: CommandFlags = []) throws -> [(UInt32, UInt32)] {
    let cookie = try request(.blockStatus, offset, length, flags: flags)
    let (answer, data) = try answer()
    guard case .chunk(cookie, ChunkType.blockStatus.rawValue, true, _) = answer else { return [] }
    try #require(data.big(0, UInt32.self) == AllocationContext.identifier)
    return stride(from: 4, to: data.count, by: 8).map {
      (data.big($0, UInt32.self), data.big($0 + 4, UInt32.self))
    }
  }
}
