// Kicks and calls, by descriptor and in band.
import CLinux
import Glibc
import Linux

extension Session {
  // MARK: Kicks

  /// VRING_KICK: the ring is served before the reply goes.
  func kickArrived(_ payload: RawSpan) throws(VhostUserError) {
    try require(.inBandNotifications)
    let queue = try queue(try VringState(parsing: payload).index)
    queue.isStopped = false
    if queue.runs { serve(queue) } else { try startIfReady(queue) }
  }

  func setKick(_ message: VringDescriptor) throws(VhostUserError) {
    let queue = try queue(message.index)
    guard let descriptor = try takeDescriptor(message) else {
      dropKick(queue)
      guard isInBand else { throw .polling(queue.index) }
      return
    }
    // Whatever has been counted so far is answered by the look at the ring below.
    var count: UInt64 = 0
    if CLinux_take_count(descriptor.rawValue, &count) < 0, errno != EAGAIN {
      throw .unsuitableDescriptor("the kick cannot be read without waiting")
    }
    // A home watches the descriptor that was there at the start.
    if queue.home != nil { stop(queue) }
    dropKick(queue)
    if queue.home == nil {
      do throws(LinuxError) {
        queue.kickToken = try loop.add(descriptor.rawValue) { [unowned self] in kickReady(queue) }
      } catch { throw .system(error) }
    }
    queue.kick = consume descriptor
    queue.isStopped = false
    if queue.runs { serve(queue) } else { try startIfReady(queue) }
  }

  /// The descriptor that the message announces, or nil if it announces none.
  private func takeDescriptor(_ message: VringDescriptor) throws(VhostUserError) -> Descriptor? {
    let expected = message.hasDescriptor ? 1 : 0
    guard inboxDescriptors.count == expected else {
      throw .descriptorCount(inboxDescriptors.count, expected: expected)
    }
    return inboxDescriptors.takeFirst()
  }

  /// Not while a home watches it.
  func dropKick(_ queue: Virtqueue) {
    if let token = queue.kickToken { loop.remove(token) }
    queue.kickToken = nil
    queue.kick = nil
  }

  private func kickReady(_ queue: Virtqueue) {
    guard !isEnded else { return }
    if !queue.takeKick() {
      dropKick(queue)
    } else if queue.runs {
      serve(queue)
    }
    tearDownIfEnded()
  }

  // MARK: Calls

  func setCall(_ message: VringDescriptor) throws(VhostUserError) {
    let queue = try queue(message.index)
    guard let descriptor = try takeDescriptor(message) else {
      perform(on: queue) { queue.call = nil }
      return
    }
    var signal: Signal? = try Signal(owning: descriptor)
    perform(on: queue) {
      queue.call = signal.take()
      // What was completed while there was nobody to call is announced now; one call too many does no harm.
      if queue.runs, !callsInBand { queue.call?.send() }
    }
  }

  func setError(_ message: VringDescriptor) throws(VhostUserError) {
    let queue = try queue(message.index)
    guard let descriptor = try takeDescriptor(message) else {
      queue.error = nil
      return
    }
    queue.error = try Signal(owning: descriptor)
  }

  var isInBand: Bool { protocolFeatures.contains(.inBandNotifications) }

  var callsInBand: Bool { channel != nil && isInBand }

  func call(_ queue: Virtqueue) {
    if callsInBand {
      sendOnChannel(.vringCall, VringState(index: UInt32(queue.index), value: 0))
    } else {
      queue.call?.send()
    }
  }

  // MARK: The back-end channel

  func openChannel(_ socket: consuming UnixSocket) throws(VhostUserError) {
    closeChannel()
    do throws(LinuxError) {
      channelToken = try loop.add(socket.descriptor.rawValue) { [unowned self] in channelReady() }
    } catch { throw .system(error) }
    channel = consume socket
  }

  private func closeChannel() {
    if let channelToken { loop.remove(channelToken) }
    channelToken = nil
    channel = nil
    answerCount = 0
    guard !unanswered.isEmpty else { return }
    unanswered.removeAll()
    settled()
  }

  private func settled() {
    releaseHeldReply()
    onCallsSettled?()
  }

  func sendOnChannel(_ request: BackEndRequest, _ state: VringState?) {
    guard !isEnded, channel != nil else { return }
    let asksForReply = protocolFeatures.contains(.replyAck)
    guard unanswered.count < Limits.unansweredMessages else { return fail(.peerDoesNotRead) }
    let flags = MessageHeader.version | (asksForReply ? MessageHeader.needReply : 0)
    outbox.removeAll(keepingCapacity: true)
    MessageHeader(
      request: request.rawValue, flags: flags, size: state == nil ? 0 : UInt32(VringState.byteCount)
    ).encode(into: &outbox)
    state?.encode(into: &outbox)
    do throws(LinuxError) {
      let count = try outbox.withUnsafeBufferPointer { (bytes) throws(LinuxError) -> Int in
        try channel?.send(UnsafeRawBufferPointer(bytes), flags: UnixSocket.withoutWaiting) ?? 0
      }
      guard count == outbox.count else { return fail(.peerDoesNotRead) }
    } catch {
      return fail(error.code == EAGAIN ? .peerDoesNotRead : .system(error))
    }
    if asksForReply { unanswered.append(request) }
  }

  /// An answer has arrived, in part or as a whole. Like messages, one at a time.
  private func channelReady() {
    guard !isEnded else { return }
    do throws(VhostUserError) {
      if try readAnswer() { try takeAnswer() }
    } catch { fail(error) }
    tearDownIfEnded()
  }

  private func readAnswer() throws(VhostUserError) -> Bool {
    let room = answer.count - answerCount
    let count: Int
    do throws(LinuxError) {
      count = try answer.withUnsafeMutableBufferPointer { (bytes) throws(LinuxError) -> Int in
        let rest = UnsafeMutableBufferPointer(rebasing: bytes[(bytes.count - room)...])
        // Descriptors have no business here: taking them is closing them.
        return try channel?.receive(
          into: UnsafeMutableRawBufferPointer(rest), flags: UnixSocket.withoutWaiting
        ) { _ in } ?? 0
      }
    } catch {
      if error.code == EAGAIN { return false }
      throw .system(error)
    }
    guard count > 0 else {
      guard unanswered.isEmpty else { throw .backendChannelClosed }
      // A guest that powers off closes its sockets in this order: the end of the session is about to follow.
      closeChannel()
      return false
    }
    answerCount += count
    return answerCount == answer.count
  }

  private func takeAnswer() throws(VhostUserError) {
    answerCount = 0
    let bytes = answer
    let header = try MessageHeader(parsing: bytes.span.bytes.extracting(..<MessageHeader.byteCount))
    guard let expected = unanswered.first, header.request == expected.rawValue, header.hasVersion1,
      header.isReply, header.size == Number.byteCount
    else { throw .badAnswer(request: header.request, flags: header.flags, size: header.size) }
    unanswered.removeFirst()
    let value = bytes.span.bytes.native64(at: MessageHeader.byteCount)
    if value != 0 { log("the front-end answered \(expected) with \(value)") }
    if unanswered.isEmpty { settled() }
  }
}
