// One front-end's connection.
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
/// A ring with a `RingHome` runs on the home's thread. The session then touches it only after `stop` and
/// inside `perform`.
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
  let doorbell: Doorbell
  var socketToken: EventLoop.Token?
  var doorbellToken: EventLoop.Token?
  var queues: [Virtqueue] = []
  /// Kicks and calls as messages: by wish, and only if no ring is served elsewhere. A message has an order
  /// with respect to others of this thread only.
  let offersInBand: Bool

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
  /// Goes with the reply to the message in hand.
  var replyDescriptor: Descriptor?
  var inflight: InflightArea?
  var dirtyLog: DirtyLog?
  var status: DeviceStatus = []
  /// Whether the last SET_FEATURES asked for nothing that was not offered.
  var acceptsFeatures = true
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
      doorbell = try Doorbell()
    } catch { throw .system(error) }
    let homes = (0..<backend.queueCount).map(backend.home(ofQueue:))
    offersInBand = options.inBand && homes.allSatisfy { $0 == nil }
    for (index, home) in homes.enumerated() {
      let queue = Virtqueue(index: index, home: home, doorbell: doorbell, log: self.log, memory: memory)
      if offersInBand { queue.callInBand = { [unowned self, unowned queue] in call(queue) } }
      queues.append(queue)
    }
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

  /// Ends the session now; not from inside a handler of its own.
  package func close() {
    finish(.orderly)
    tearDownIfEnded()
  }

  /// Notes the end; the handler that runs, or else the doorbell, will carry it out.
  func finish(_ ending: Ending) {
    guard self.ending == nil else { return }
    self.ending = ending
    for queue in queues where queue.home == nil { queue.isClosed = true }
    doorbell.ring()
  }

  func fail(_ error: VhostUserError) { finish(.failed(error.description)) }

  private func doorbellRang() {
    doorbell.answer()
    lookForFaults()
    log.collect(from: doorbell)
    for queue in queues where !isEnded {
      tellFault(queue)
      if queue.wantsAttention {
        queue.wantsAttention = false
        serve(queue)
      }
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
      bringToRest(queue)
      queue.dropRing()
      queue.callInBand = nil
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
    log.collect(from: doorbell)
    if let reason { log("session ended: \(reason)") }
    log.close()
    backend.sessionEnded(self, reason: reason)
    memory = GuestMemory()
    inflight = nil
    dirtyLog = nil
  }

  /// Memory that became shorter is the end of the session: what the guest wants cannot be known any more.
  func lookForFaults() {
    let isBroken = memory.isBroken || queues.contains { $0.runs && $0.memory.isBroken }
    if isBroken { fail(.truncated) }
  }
}
