// A socket that carries whole time-travel messages.
import Glibc
package import Linux

/// One end of a time-travel connection; counts what passes.
package struct MessageChannel: ~Copyable {
  package let socket: UnixSocket
  /// Messages sent and received so far, acknowledgements included.
  package private(set) var messageCount: UInt64 = 0
  private var nextSequence: UInt32 = 1

  package init(owning socket: consuming UnixSocket) throws(LinuxError) {
    try socket.descriptor.setNonblocking(true)
    self.socket = socket
  }

  /// Sends a message of our own and returns its sequence number.
  @discardableResult
  package mutating func send(
    _ operation: Operation, time: UInt64 = Message.unusedTime
  ) throws(TimeTravelError) -> UInt32 {
    let sequence = nextSequence
    nextSequence &+= 1
    try transmit(Message(operation, sequence: sequence, time: time))
    return sequence
  }

  /// Answers the message with this sequence number.
  package mutating func acknowledge(
    _ sequence: UInt32, time: UInt64 = 0, descriptors: [CInt] = []
  ) throws(TimeTravelError) {
    try transmit(Message(.acknowledge, sequence: sequence, time: time), descriptors: descriptors)
  }

  /// The next message, if one is there now.
  ///
  /// Peers send 16 bytes by one call, so that fewer than 16 is a short write of a broken peer, not a slow
  /// one.
  package mutating func receive() throws(TimeTravelError) -> Message? {
    let message = try Self.receiveWhole { (bytes) throws(LinuxError) -> Int in try socket.receive(into: bytes)
    }
    if message != nil { messageCount += 1 }
    return message
  }

  /// As `receive`, for the answer to START: hands over the descriptors that come with it.
  package mutating func receive(take: (consuming Descriptor) -> Void) throws(TimeTravelError) -> Message? {
    let message = try Self.receiveWhole { (bytes) throws(LinuxError) -> Int in
      try socket.receive(into: bytes, take: take)
    }
    if message != nil { messageCount += 1 }
    return message
  }

  /// Waits for the next message, which answers `message` sooner or later.
  package mutating func receiveBlocking(after message: @autoclosure () -> String) throws(TimeTravelError)
    -> Message
  {
    while true {
      if let message = try receive() { return message }
      var entry = pollfd(fd: socket.descriptor.rawValue, events: Int16(POLLIN), revents: 0)
      let ready = poll(&entry, 1, Limits.answerTimeoutMilliseconds)
      if ready == 0 { throw .silent(on: message()) }
      if ready < 0, errno != EINTR { throw .system(LinuxError("poll", "time-travel socket")) }
    }
  }

  private static func receiveWhole(
    _ read: (UnsafeMutableRawBufferPointer) throws(LinuxError) -> Int
  ) throws(TimeTravelError) -> Message? {
    try withUnsafeTemporaryAllocation(byteCount: Message.byteCount, alignment: 8) {
      (bytes) throws(TimeTravelError) -> Message? in
      let count: Int
      do throws(LinuxError) {
        count = try read(bytes)
      } catch {
        if error.code == EAGAIN { return nil }
        if error.code == ECONNRESET { throw .disconnected }
        throw .system(error)
      }
      if count == 0 { throw .disconnected }
      guard count == Message.byteCount else {
        throw .protocolViolation("a message of \(count) bytes instead of \(Message.byteCount)")
      }
      return Message(parsing: RawSpan(_unsafeBytes: UnsafeRawBufferPointer(bytes)))
    }
  }

  private mutating func transmit(_ message: Message, descriptors: [CInt] = []) throws(TimeTravelError) {
    try withUnsafeTemporaryAllocation(byteCount: Message.byteCount, alignment: 8) {
      (bytes) throws(TimeTravelError) in
      message.encode(into: bytes)
      do throws(LinuxError) {
        let count = try socket.send(UnsafeRawBufferPointer(bytes), descriptors: descriptors)
        guard count == Message.byteCount else {
          throw LinuxError("sendmsg", "time-travel socket", code: EPIPE)
        }
      } catch {
        // Its socket has room for hundreds of messages.
        if error.code == EAGAIN { throw .protocolViolation("it does not read its messages") }
        if error.code == EPIPE || error.code == ECONNRESET { throw .disconnected }
        throw .system(error)
      }
    }
    messageCount += 1
  }
}
