// Reading messages, answering them.
import CLinux
import Glibc
import Linux

extension Session {
  /// The main socket can be read, or has ended.
  func socketReady() {
    guard !isEnded else { return tearDownIfEnded() }
    if heldReply != nil {
      // We look at nothing now, but a hang-up is reported all the same.
      if hasHungUp { finish(.failed("the front-end went away while it waited for a kick")) }
      return tearDownIfEnded()
    }
    do throws(VhostUserError) {
      if try readMessage() { handleMessage() }
    } catch { fail(error) }
    tearDownIfEnded()
  }

  private var hasHungUp: Bool {
    var query = pollfd(fd: socket.descriptor.rawValue, events: 0, revents: 0)
    return poll(&query, 1, 0) > 0
  }

  /// Reads on; returns whether a message is complete.
  private func readMessage() throws(VhostUserError) -> Bool {
    if inboxHeader == nil {
      guard try readBytes(upTo: MessageHeader.byteCount) else { return false }
      let bytes = inbox
      let header = try MessageHeader(parsing: bytes.span.bytes.extracting(..<MessageHeader.byteCount))
      guard header.hasVersion1 else { throw .version(flags: header.flags) }
      guard !header.isReply else { throw .replyOnMainChannel(request: header.request) }
      guard header.size <= Limits.payloadBytes else {
        throw .payloadTooLong(request: header.request, count: header.size)
      }
      inboxHeader = header
    }
    return try readBytes(upTo: MessageHeader.byteCount + Int(inboxHeader?.size ?? 0))
  }

  /// Reads until the inbox holds `target` bytes; false if they are not there yet, or the stream has ended.
  private func readBytes(upTo target: Int) throws(VhostUserError) -> Bool {
    while inboxCount < target {
      var arrived = ReceivedDescriptors()
      let count: Int
      do throws(LinuxError) {
        count = try inbox.withUnsafeMutableBufferPointer { (bytes) throws(LinuxError) -> Int in
          try socket.receive(
            into: UnsafeMutableRawBufferPointer(
              UnsafeMutableBufferPointer(rebasing: bytes[inboxCount..<target])),
            flags: UnixSocket.withoutWaiting
          ) { arrived.append($0) }
        }
      } catch {
        if error.code == EAGAIN { return false }
        throw .system(error)
      }
      while let descriptor = arrived.takeFirst() { inboxDescriptors.append(descriptor) }
      guard inboxDescriptors.count <= Limits.descriptorsPerMessage else { throw .tooManyDescriptors }
      if count == 0 {
        if inboxCount > 0 { throw .closedInsideMessage(bytes: inboxCount) }
        finish(.orderly)
        return false
      }
      inboxCount += count
    }
    return true
  }

  private func handleMessage() {
    guard let header = inboxHeader else { return }
    let bytes = inbox
    let payload = bytes.span.bytes.extracting(MessageHeader.byteCount..<inboxCount)
    inboxHeader = nil
    inboxCount = 0
    servedRing = false
    let request = FrontEndRequest(rawValue: header.request)
    do throws(VhostUserError) {
      guard let request else { throw .unknownRequest(header.request) }
      let reply = try perform(request, payload)
      if let reply {
        send(header.answer(size: reply.count), reply)
      } else if header.needsReply {
        acknowledge(header)
      }
    } catch {
      log("\(request.map { "\($0)" } ?? "message") refused: \(error)")
      if request?.hasNativeReply == true {
        // The front-end waits for numbers that do not exist; there is no way to say so.
        fail(error)
      } else if header.needsReply
        || (request == .setLogBase && protocolFeatures.contains(.logDescriptor))
      {
        // SET_LOG_BASE has an answer of its own, and it is a number like this one.
        sendNumber(header, 1)
      }
    }
    inboxDescriptors.closeAll()
    replyDescriptor = nil
  }

  /// Answers "done", now or when the calls that the message caused have been answered.
  private func acknowledge(_ header: MessageHeader) {
    guard servedRing, options.callReply == .beforeKickReply, callsAwaitingReply > 0 else {
      return sendNumber(header, 0)
    }
    heldReply = header
    setSocketActive(false)
  }

  /// Sends the reply that waited, and reads on.
  func releaseHeldReply() {
    guard let header = heldReply else { return }
    heldReply = nil
    sendNumber(header, 0)
    setSocketActive(true)
  }

  private func setSocketActive(_ active: Bool) {
    guard let socketToken else { return }
    do throws(LinuxError) {
      try loop.setActive(socketToken, active)
    } catch { fail(.system(error)) }
  }

  private func sendNumber(_ header: MessageHeader, _ value: UInt64) {
    outbox.removeAll(keepingCapacity: true)
    header.answer(size: Number.byteCount).encode(into: &outbox)
    outbox.appendNative(value)
    sendOutbox()
  }

  private func send(_ header: MessageHeader, _ payload: [UInt8]) {
    outbox.removeAll(keepingCapacity: true)
    header.encode(into: &outbox)
    outbox.append(contentsOf: payload)
    sendOutbox()
  }

  private var replyDescriptors: [CInt] {
    switch replyDescriptor {
    case .some(let descriptor): [descriptor.rawValue]
    case .none: []
    }
  }

  /// A front-end waits for each reply, so the socket is never full unless it does not read.
  private func sendOutbox() {
    guard !isEnded else { return }
    do throws(LinuxError) {
      let count = try outbox.withUnsafeBufferPointer { (bytes) throws(LinuxError) -> Int in
        try socket.send(
          UnsafeRawBufferPointer(bytes), descriptors: replyDescriptors,
          flags: UnixSocket.withoutWaiting)
      }
      if count < outbox.count { fail(.peerDoesNotRead) }
    } catch {
      fail(error.code == EAGAIN ? .peerDoesNotRead : .system(error))
    }
  }
}
