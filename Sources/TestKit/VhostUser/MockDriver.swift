// A front-end and its guest's driver, in a few hundred lines.
import CLinux
import Glibc
package import Linux
package import VhostUser

/// Speaks to a session as UML or QEMU would, or as neither ever would.
///
/// The session may live in the same thread (then `turn` runs its loop once, without waiting) or elsewhere
/// (then `turn` waits a little). While the driver waits for a reply it answers calls, as UML does in its
/// interrupt handler.
package final class MockDriver {
  /// What reached the driver, in order.
  package enum Event: Equatable, Sendable {
    case reply(UInt32)
    case call(queue: Int)
    case configurationChanged
  }

  /// What to agree on.
  package struct Handshake: Sendable {
    /// Protocol features to take of those offered.
    package var protocolFeatures: ProtocolFeatures
    /// Virtio features to take of those offered.
    package var features: UInt64
    package var queueCount: Int
    package var queueSize: UInt16

    /// The features that UML 6.12 knows, and everything of virtio.
    package static let umlProtocolFeatures: ProtocolFeatures = [
      .replyAck, .backendChannel, .configuration, .inBandNotifications,
    ]

    package init(
      protocolFeatures: ProtocolFeatures = umlProtocolFeatures, features: UInt64 = .max, queueCount: Int = 1,
      queueSize: UInt16 = 256
    ) {
      self.protocolFeatures = protocolFeatures
      self.features = features
      self.queueCount = queueCount
      self.queueSize = queueSize
    }
  }

  package let socket: UnixSocket
  package let memory: MockMemory
  /// Lets the session run while the driver waits.
  package let turn: () throws(LinuxError) -> Void
  package internal(set) var queues: [MockQueue] = []
  package internal(set) var features: UInt64 = 0
  package internal(set) var protocolFeatures: ProtocolFeatures = []
  /// Whether calls are answered when they are seen; otherwise they wait for `answerCalls()`.
  package var answersCalls = true
  /// What reached the driver; may be cleared.
  package var events: [Event] = []
  /// What the driver sent, in order.
  package internal(set) var sent: [UInt32] = []
  /// How often the session may have its turn before the driver gives up.
  package var patience = 200

  var channel: UnixSocket?
  var kicks: [Int: CInt] = [:]
  var calls: [Int: CInt] = [:]
  var unanswered: [MessageHeader] = []
  private var received: CInt?

  /// Takes over a connected socket; it blocks or not, that does not matter.
  package init(
    socket: consuming UnixSocket, memory: MockMemory, turn: @escaping () throws(LinuxError) -> Void
  ) {
    self.socket = socket
    self.memory = memory
    self.turn = turn
  }

  deinit {
    for descriptor in Array(kicks.values) + Array(calls.values) { close(descriptor) }
    if let received { close(received) }
  }

  package var isInBand: Bool { protocolFeatures.contains(.inBandNotifications) }
  /// Guest addresses past the rings, free for buffers; a multiple of the page size.
  package var bufferBase: UInt64 {
    let end =
      queues.map { $0.base + UInt64(MockQueue.byteCount(size: $0.size)) }.max() ?? MockMemory.guestBase
    return (end + 4095) & ~4095
  }

  // MARK: Messages

  /// Sends a message, whatever it says, and waits for nothing.
  package func send(
    _ request: UInt32, _ payload: [UInt8] = [], descriptors: [CInt] = [], needReply: Bool = false
  ) throws(MockDriverError) {
    let flags = MessageHeader.version | (needReply ? MessageHeader.needReply : 0)
    var bytes: [UInt8] = []
    MessageHeader(request: request, flags: flags, size: UInt32(payload.count)).encode(into: &bytes)
    bytes.append(contentsOf: payload)
    sent.append(request)
    try sendBytes(bytes, descriptors: descriptors)
  }

  /// Sends any bytes.
  package func sendBytes(_ bytes: [UInt8], descriptors: [CInt] = []) throws(MockDriverError) {
    do throws(LinuxError) {
      var done = 0
      while done < bytes.count {
        done += try bytes.withUnsafeBufferPointer { (buffer) throws(LinuxError) -> Int in
          try socket.send(
            UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[done...]),
            descriptors: done == 0 ? descriptors : [])
        }
      }
    } catch {
      throw error.code == EPIPE ? .closed : .linux(error)
    }
  }

  /// Sends a message that has a native reply, and waits for its payload.
  package func ask(
    _ request: FrontEndRequest, _ payload: [UInt8] = [], descriptors: [CInt] = []
  ) throws(MockDriverError) -> [UInt8] {
    try send(request.rawValue, payload, descriptors: descriptors)
    return try awaitReply(to: request.rawValue)
  }

  /// Sends a message and, if replies were agreed upon, waits until the session has done what it says.
  package func tell(
    _ request: FrontEndRequest, _ payload: [UInt8] = [], descriptors: [CInt] = []
  ) throws(MockDriverError) {
    let needReply = protocolFeatures.contains(.replyAck)
    try send(request.rawValue, payload, descriptors: descriptors, needReply: needReply)
    guard needReply else { return }
    let value = try number(try awaitReply(to: request.rawValue))
    if value != 0 { throw .refused(request: request.rawValue, value: value) }
  }

  /// Waits for the reply to a message that was sent.
  package func awaitReply(to request: UInt32) throws(MockDriverError) -> [UInt8] {
    for _ in 0..<patience {
      try pollCalls()
      if let (header, payload) = try receive(from: .main) {
        guard header.request == request, header.flags == MessageHeader.version | MessageHeader.reply else {
          throw .unexpected(request: header.request, flags: header.flags, size: header.size)
        }
        events.append(.reply(request))
        return payload
      }
      try giveTurn()
    }
    throw .noAnswer
  }

  /// Whether a reply has arrived that nobody waits for yet; takes it.
  package func takeReply() throws(MockDriverError) -> (request: UInt32, value: UInt64)? {
    guard let (header, payload) = try receive(from: .main) else { return nil }
    events.append(.reply(header.request))
    return (header.request, try number(payload))
  }

  func giveTurn() throws(MockDriverError) {
    do throws(LinuxError) { try turn() } catch { throw .linux(error) }
  }

  func number(_ payload: [UInt8]) throws(MockDriverError) -> UInt64 {
    do throws(VhostUserError) {
      return try Number(parsing: payload.span.bytes).value
    } catch { throw .unexpected(request: 0, flags: 0, size: UInt32(payload.count)) }
  }

  // MARK: Calls

  /// Takes the messages that have arrived on the back-end channel; answers them if that is the driver's way.
  package func pollCalls() throws(MockDriverError) {
    while channel != nil, let (header, payload) = try receive(from: .channel) {
      switch BackEndRequest(rawValue: header.request) {
      case .vringCall:
        let index =
          payload.count == VringState.byteCount ? Int(payload.span.bytes.unsafeLoad(as: UInt32.self)) : -1
        events.append(.call(queue: index))
      case .configurationChanged: events.append(.configurationChanged)
      case nil: throw .unexpected(request: header.request, flags: header.flags, size: header.size)
      }
      if header.needsReply { unanswered.append(header) }
    }
    if answersCalls { try answerCalls() }
  }

  /// Answers every call that was taken and not answered.
  package func answerCalls() throws(MockDriverError) {
    for header in unanswered { try answer(header.answer(size: Number.byteCount), value: 0) }
    unanswered.removeAll()
  }

  /// Sends anything as an answer on the back-end channel.
  package func answer(_ header: MessageHeader, value: UInt64) throws(MockDriverError) {
    var bytes: [UInt8] = []
    header.encode(into: &bytes)
    bytes.appendNative(value)
    do throws(LinuxError) {
      _ = try bytes.withUnsafeBufferPointer { (buffer) throws(LinuxError) -> Int in
        try channel?.send(UnsafeRawBufferPointer(buffer)) ?? 0
      }
    } catch { throw .linux(error) }
  }

  /// How often the call descriptor of a ring was signalled since the last look.
  package func takeCallCount(queue: Int) -> Int {
    guard let descriptor = calls[queue] else { return 0 }
    var count: UInt64 = 0
    return CLinux_take_count(descriptor, &count) == 8 ? Int(count) : 0
  }

  /// The last descriptor that came with a reply.
  package func takeDescriptor() -> CInt? {
    defer { received = nil }
    return received
  }

  /// Goes on with rings that another driver has made, in the same memory.
  package func adopt(_ queues: [MockQueue]) { self.queues = queues }

  enum Side { case main, channel }

  private func receive(from side: Side) throws(MockDriverError) -> (MessageHeader, [UInt8])? {
    guard let head = try receiveBytes(MessageHeader.byteCount, from: side, mayBeNone: true) else {
      return nil
    }
    let header: MessageHeader
    do throws(VhostUserError) {
      header = try MessageHeader(parsing: head.span.bytes)
    } catch { preconditionFailure("\(error)") }
    return (header, try receiveBytes(Int(header.size), from: side, mayBeNone: false) ?? [])
  }

  private func keep(_ descriptor: CInt) {
    if let received { close(received) }
    received = descriptor
  }

  private func receiveBytes(
    _ count: Int, from side: Side, mayBeNone: Bool
  ) throws(MockDriverError) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: count)
    var done = 0
    while done < count {
      let mayWait = done > 0 || !mayBeNone
      let part: Int
      do throws(LinuxError) {
        part = try bytes.withUnsafeMutableBufferPointer { (buffer) throws(LinuxError) -> Int in
          let rest = UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[done...])
          let flags = UnixSocket.withoutWaiting
          return side == .main
            ? try socket.receive(into: rest, flags: flags) { keep($0.release()) }
            : try channel?.receive(into: rest, flags: flags) ?? 0
        }
      } catch {
        guard error.code == EAGAIN else { throw error.code == ECONNRESET ? .closed : .linux(error) }
        if !mayWait { return nil }
        continue
      }
      if part == 0 { throw .closed }
      done += part
    }
    return bytes
  }
}
