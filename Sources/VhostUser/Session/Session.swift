// One front-end's connection.
import CLinux
import Glibc
package import Linux

/// One connection, which is one life of one device: from accept to the end of the stream.
///
/// A state machine on an event loop: no call waits, no loop runs inside another. A message is read bit by
/// bit, one message per wake-up, and nothing is read while the reply to a kick is held back (see
/// `CallReplyOrder`). A refused message is answered or logged and costs nothing else; a session that cannot
/// go on says why in one line and ends: at once when it is found out by one of its own handlers, on the
/// loop's next turn otherwise, so that the device is never called from inside its own call.
///
/// The loop keeps the session alive until it has ended. Everything it was given (descriptors, mappings,
/// features) goes with it.
package final class Session {
  package let options: SessionOptions
  package let backend: any DeviceBackend
  /// Guest memory as of the last message that changed it. Hold it as long as pointers into it are in use.
  package internal(set) var memory = GuestMemory()
  /// What the driver took of the offered virtio features.
  package internal(set) var features: UInt64 = 0
  package internal(set) var protocolFeatures: ProtocolFeatures = []
  /// Called when `callsAwaitingReply` has returned to 0, after a kick reply that waited for it has gone.
  package var onCallsSettled: (() -> Void)?
  /// Whether the session is over, or about to be.
  package var isEnded: Bool { ending != nil }

  let loop: EventLoop
  let log: SessionLog
  let socket: UnixSocket
  let doorbell: Descriptor
  var socketToken: EventLoop.Token?
  var doorbellToken: EventLoop.Token?
  var queues: [Virtqueue] = []

  /// Header and payload of the message that is being read.
  var inbox: [UInt8]
  var inboxCount = 0
  var inboxHeader: MessageHeader?
  var inboxDescriptors = ReceivedDescriptors()
  var outbox: [UInt8] = []

  var channel: UnixSocket?
  var channelToken: EventLoop.Token?
  /// Requests of ours that the front-end has to answer, oldest first.
  var unanswered: [BackEndRequest] = []
  var answer: [UInt8]
  var answerCount = 0
  /// The message whose reply is held back until all calls are answered.
  var heldReply: MessageHeader?
  /// Whether the message in hand made us look at a ring.
  var servedRing = false

  enum Ending {
    case orderly
    case failed(String)
  }
  var ending: Ending?
  private var isTornDown = false

  /// Takes over a connected socket, and serves it from the loop from now on.
  package init(
    socket: consuming UnixSocket, loop: EventLoop, backend: any DeviceBackend, options: SessionOptions,
    log: @escaping (String) -> Void
  ) throws(VhostUserError) {
    precondition((1...Limits.queues).contains(backend.queueCount))
    self.options = options
    self.backend = backend
    self.loop = loop
    self.log = SessionLog(sink: log)
    self.socket = socket
    inbox = [UInt8](repeating: 0, count: MessageHeader.byteCount + Limits.payloadBytes)
    answer = [UInt8](repeating: 0, count: MessageHeader.byteCount + Number.byteCount)
    outbox.reserveCapacity(64)
    do throws(LinuxError) {
      doorbell = try Descriptor.eventCounter()
    } catch { throw .system(error) }
    queues = (0..<backend.queueCount).map(Virtqueue.init)
    do throws(LinuxError) {
      socketToken = try loop.add(self.socket.descriptor.rawValue) { self.socketReady() }
      doorbellToken = try loop.add(doorbell.rawValue) { self.doorbellRang() }
    } catch {
      if let socketToken { loop.remove(socketToken) }
      throw .system(error)
    }
  }

  /// Ends the session, on the loop's next turn.
  package func end(reason: String? = nil) {
    finish(reason.map(Ending.failed) ?? .orderly)
  }

  /// Notes the end; the handler that runs, or else the doorbell, will carry it out.
  func finish(_ ending: Ending) {
    guard self.ending == nil else { return }
    self.ending = ending
    ringDoorbell()
  }

  func fail(_ error: VhostUserError) { finish(.failed(error.description)) }

  func ringDoorbell() {
    var one: UInt64 = 1
    _ = write(doorbell.rawValue, &one, 8)
  }

  private func doorbellRang() {
    var count: UInt64 = 0
    _ = CLinux_take_count(doorbell.rawValue, &count)
    for queue in queues where queue.wantsAttention && !isEnded {
      queue.wantsAttention = false
      serve(queue)
    }
    tearDownIfEnded()
  }

  /// Lets everything go, once. Called at the end of every handler, when no device code is on the stack.
  func tearDownIfEnded() {
    guard let ending, !isTornDown else { return }
    isTornDown = true
    for token in [socketToken, doorbellToken, channelToken].compactMap({ $0 }) { loop.remove(token) }
    socketToken = nil
    doorbellToken = nil
    channelToken = nil
    for queue in queues {
      if queue.runs { backend.queueStopping(queue.index, session: self) }
      queue.split = nil
      dropKick(queue)
      queue.call = nil
      queue.error = nil
    }
    channel = nil
    inboxDescriptors.closeAll()
    let awaited = !unanswered.isEmpty
    unanswered.removeAll()
    heldReply = nil
    if awaited { onCallsSettled?() }
    onCallsSettled = nil
    shutdown(socket.descriptor.rawValue, CInt(SHUT_RDWR))
    var reason: String?
    if case .failed(let text) = ending { reason = text }
    if let reason { log("session ended: \(reason)") }
    log.close()
    backend.sessionEnded(self, reason: reason)
    memory = GuestMemory()
  }
}

/// The session's voice: the first lines as they are, the rest as a number.
final class SessionLog {
  private let sink: (String) -> Void
  private var count = 0

  init(sink: @escaping (String) -> Void) { self.sink = sink }

  func callAsFunction(_ line: @autoclosure () -> String) {
    count += 1
    if count <= Limits.logLines { sink(line()) }
  }

  /// Says how much was left unsaid.
  func close() {
    if count > Limits.logLines { sink("\(count - Limits.logLines) more lines of this session are not shown") }
  }
}
