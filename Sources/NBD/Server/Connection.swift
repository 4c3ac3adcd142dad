// One client, from its first byte to its last.
import BlockDevice
import BlockIO
import Glibc
import Linux

/// Talks to a client on a thread of its own.
///
/// `@unchecked`: everything but `stop` belongs to that thread.
final class Connection: @unchecked Sendable {
  let stop: StopSignal
  private var socket: UnixSocket?
  private let exports: [NBDExport]
  private let facts: [ExportFacts]
  private let log: ServerLog
  private let budget: MemoryBudget
  private let credentials: TLSCredentials?
  private let name: String
  /// Of a client that talks TLS: between its socket and the one that is served.
  private var tunnel: (carrier: TLSTunnel, thread: WorkerThread, end: SharedDescriptor)?

  init(
    _ socket: consuming UnixSocket, name: String, exports: [NBDExport], budget: MemoryBudget,
    credentials: TLSCredentials?, log: ServerLog
  ) throws(LinuxError) {
    stop = try StopSignal()
    self.socket = consume socket
    self.name = name
    self.exports = exports
    facts = exports.map(\.facts)
    self.log = log
    self.budget = budget
    self.credentials = credentials
  }

  /// Returns when the client has gone and nothing of it is left.
  func run() {
    guard let descriptor = socket?.descriptor.rawValue else { return }
    let reason = serve(descriptor)
    if let reason = closeTunnel() ?? reason { log("\(name): \(reason)") }
    socket = nil
  }

  private func serve(_ network: CInt) -> String? {
    var descriptor = network
    var talk = Talk(descriptor, stop)
    var handshake = Handshake(exports: facts, requiresTLS: credentials != nil)
    var replies: [UInt8] = []
    Handshake.greet(into: &replies)
    while true {
      if let end = talk.send(&replies) { return end.reason }
      let (consumed, step) = talk.input.withBytes { handshake.take($0, replies: &replies) }
      talk.input.consume(consumed)
      switch step {
      case .goOn: break
      case .needsMore: if let end = talk.receive() { return end.reason }
      case .end(let reason):
        _ = talk.send(&replies)
        return reason
      case .startTLS:
        if let end = talk.send(&replies) { return end.reason }
        guard talk.input.count == 0 else { return "a client did not wait for TLS to begin" }
        do { descriptor = try openTunnel(network) } catch { return "\(error)" }
        talk.move(to: descriptor)
        handshake.secured()
      case .enter(let agreement):
        do throws(BlockIOError) {
          let export = exports[agreement.export]
          let lane = try Lane(export.device, engine: try export.makeEngine())
          handshake.accept(replies: &replies, agreement)
          if let end = talk.send(&replies) { return end.reason }
          defer { export.clientEnded(lane.statistics) }
          return Transmission(
            lane, socket: descriptor, stop: stop, agreement: agreement, budget: budget,
            input: talk.takeInput()
          ).run()
        } catch {
          log("\(name): '\(facts[agreement.export].name)' cannot be served: \(error)")
          if case .end = handshake.refuse(replies: &replies, "the server is short of something") {
            return nil
          }
        }
      }
    }
  }
}

extension Connection {
  /// Puts TLS between the client and what serves it.
  /// - Returns: the socket to serve from now on.
  private func openTunnel(_ network: CInt) throws -> CInt {
    guard let credentials else { preconditionFailure("TLS without credentials") }
    var ends: [SharedDescriptor] = []
    try UnixSocket.pair().split { ends = [SharedDescriptor($0), SharedDescriptor($1)] }
    let carrier = try TLSTunnel(credentials, network: network, inner: ends[0])
    tunnel = (carrier, try WorkerThread("nbd tls") { carrier.run() }, ends[1])
    return ends[1].rawValue
  }

  /// Waits for the last replies to go.
  /// - Returns: why TLS came to its end; nil for an orderly end, and without TLS.
  private func closeTunnel() -> String? {
    guard let (carrier, thread, end) = tunnel else { return nil }
    tunnel = nil
    shutdown(end.rawValue, CInt(SHUT_RDWR))
    thread.join()
    return carrier.reason
  }
}

/// Sends and receives during the handshake: waits, but not for ever, and not when the server is shut down.
private struct Talk: ~Copyable {
  /// Why it is over; nil for an orderly end.
  struct End { let reason: String? }

  var input = ReceiveBuffer()
  private var socket: CInt
  private let stop: StopSignal
  private let deadline = HostClock.milliseconds + Limits.handshakeMilliseconds

  init(_ socket: CInt, _ stop: StopSignal) {
    self.socket = socket
    self.stop = stop
  }

  /// The talk goes on through another socket; it may not last longer for that.
  mutating func move(to socket: CInt) { self.socket = socket }

  consuming func takeInput() -> ReceiveBuffer { input }

  /// Sends all, and empties the list.
  /// - Returns: nil when all has gone.
  func send(_ bytes: inout [UInt8]) -> End? {
    var done = 0
    while done < bytes.count {
      let sent = bytes.withUnsafeBytes {
        Glibc.send(
          socket, $0.baseAddress.map { $0 + done }, $0.count - done,
          CInt(MSG_NOSIGNAL) | UnixSocket.withoutWaiting)
      }
      if sent >= 0 {
        done += sent
      } else if errno == EAGAIN {
        if let end = wait(for: POLLOUT) { return end }
      } else if errno == EPIPE || errno == ECONNRESET {
        // It has gone before it was greeted: nothing is wrong with that.
        return End(reason: nil)
      } else if errno != EINTR {
        return End(reason: String(cString: strerror(errno)))
      }
    }
    bytes.removeAll(keepingCapacity: true)
    return nil
  }

  /// Receives something.
  /// - Returns: nil when something has come.
  mutating func receive() -> End? {
    while true {
      switch input.fill(from: socket) {
      case .some, .full: return nil
      case .end: return End(reason: nil)
      // It has not asked for anything yet.
      case .failed(ECONNRESET): return End(reason: nil)
      case .failed(let code): return End(reason: String(cString: strerror(code)))
      case .nothing: if let end = wait(for: POLLIN) { return end }
      }
    }
  }

  private func wait(for events: CInt) -> End? {
    let now = HostClock.milliseconds
    guard now < deadline else {
      return End(reason: "no export was chosen within \(Limits.handshakeMilliseconds / 1000) s")
    }
    guard !stop.isRaised else { return End(reason: nil) }
    var queries = (
      pollfd(fd: socket, events: Int16(events), revents: 0),
      pollfd(fd: stop.descriptor, events: Int16(POLLIN), revents: 0)
    )
    withUnsafeMutablePointer(to: &queries) {
      $0.withMemoryRebound(to: pollfd.self, capacity: 2) { _ = poll($0, 2, CInt(deadline - now)) }
    }
    return nil
  }
}
