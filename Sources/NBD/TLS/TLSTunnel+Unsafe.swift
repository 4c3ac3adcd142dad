// Between an encrypted socket and a plain one.
import Glibc
import Linux

/// Carries bytes between a client that talks TLS and a connection that does not, on a thread of its own; so
/// nothing else knows of TLS.
///
/// It holds at most `Limits.tunnelBytes` a direction, and reads nothing more until those have gone: a side
/// that does not read makes the other wait, as in a socket. It ends when the connection's side is closed, at
/// the latest `Limits.lingerMilliseconds` after that, or when the client cannot be reached.
///
/// SAFETY, and `@unchecked`: all but `reason` belongs to the thread that calls `run`, and that is read after
/// it has ended.
final class TLSTunnel: @unchecked Sendable {
  /// Why it came to its end; nil for an orderly one.
  private(set) var reason: String?
  private var session: TLSSession
  private let network: CInt
  private let inner: SharedDescriptor
  private var incoming = Cargo()
  private var outgoing = Cargo()
  private var hasClientEnded = false
  private var hasInnerEnded = false

  /// What is on its way in one direction.
  private struct Cargo: ~Copyable {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: Limits.tunnelBytes, alignment: 16)
    private var range = 0..<0

    deinit { memory.deallocate() }

    var isEmpty: Bool { range.isEmpty }
    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: memory[range]) }
    mutating func put(_ count: Int) { range = 0..<count }
    mutating func remove(_ count: Int) { range = range.lowerBound + count..<range.upperBound }
  }

  /// What poll(2) is to wait for on either side.
  private struct Wishes {
    var network: CInt = 0
    var inner: CInt = 0
    /// The connection's side has gone: that is no news.
    var isLingering = false
  }

  /// - Parameters:
  ///   - network: the client's socket, which stays the caller's and lives longer.
  ///   - inner: one of two connected sockets; the other is the connection's.
  init(_ credentials: TLSCredentials, network: CInt, inner: SharedDescriptor) throws(TLSError) {
    session = try TLSSession(credentials, socket: network)
    self.network = network
    self.inner = inner
  }

  /// Returns when nothing is left to carry.
  func run() {
    if shakeHands() { carry() }
    // Whoever reads hears that there is no more, and whoever writes that it is for nobody.
    shutdown(inner.rawValue, CInt(SHUT_RDWR))
  }

  private func shakeHands() -> Bool {
    while true {
      switch session.shakeHands() {
      case .done: return true
      case .waits(let toWrite):
        // The connection gives up when its client has had its time, or the server is shut down.
        if wait(Wishes(network: toWrite ? POLLOUT : POLLIN), until: nil) { return false }
      case .end: return false
      case .failed(let why):
        reason = "TLS: \(why)"
        return false
      }
    }
  }

  private func carry() {
    var deadline: UInt64?
    while true {
      var wishes = Wishes(isLingering: deadline != nil)
      let hasReceived = carryIn(&wishes)
      guard let hasSent = carryOut(&wishes) else { return }
      if hasInnerEnded, outgoing.isEmpty { return session.sayGoodbye() }
      if hasReceived || hasSent { continue }
      if wait(wishes, until: deadline), deadline == nil {
        deadline = HostClock.milliseconds + Limits.lingerMilliseconds
      }
      if let deadline, HostClock.milliseconds >= deadline { return }
    }
  }

  /// From the client to the connection.
  /// - Returns: whether anything moved.
  private func carryIn(_ wishes: inout Wishes) -> Bool {
    if incoming.isEmpty, !hasClientEnded {
      switch session.receive(into: incoming.memory) {
      case .done(let count): incoming.put(count)
      case .waits(let toWrite): wishes.network |= toWrite ? POLLOUT : POLLIN
      case .end: clientEnds(nil)
      case .failed(let why): clientEnds("TLS: \(why)")
      }
    }
    guard !incoming.isEmpty else { return false }
    let bytes = incoming.bytes
    let sent = send(inner.rawValue, bytes.baseAddress, bytes.count, Self.flags)
    switch Received(sent, of: bytes.count) {
    case .full(let count), .some(let count): incoming.remove(count)
    case .nothing:
      wishes.inner |= POLLOUT
      return false
    // The connection has ended, and wants no more.
    case .end, .failed: incoming.remove(bytes.count)
    }
    return true
  }

  private func clientEnds(_ reason: String?) {
    hasClientEnded = true
    self.reason = reason
    shutdown(inner.rawValue, CInt(SHUT_WR))
  }

  /// From the connection to the client.
  /// - Returns: whether anything moved; nil when the client cannot be reached.
  private func carryOut(_ wishes: inout Wishes) -> Bool? {
    if outgoing.isEmpty, !hasInnerEnded {
      let memory = outgoing.memory
      switch Received(recv(inner.rawValue, memory.baseAddress, memory.count, Self.flags), of: memory.count) {
      case .full(let count), .some(let count): outgoing.put(count)
      case .nothing: wishes.inner |= POLLIN
      case .end, .failed: hasInnerEnded = true
      }
    }
    guard !outgoing.isEmpty else { return false }
    switch session.send(outgoing.bytes) {
    case .done(let count):
      outgoing.remove(count)
      return true
    case .waits:
      wishes.network |= POLLOUT
      return false
    case .end: return nil
    case .failed(let why):
      // That a client has gone which said so is no news.
      if !hasClientEnded { reason = "TLS: \(why)" }
      return nil
    }
  }

  private static let flags = CInt(MSG_NOSIGNAL) | UnixSocket.withoutWaiting

  /// Waits for what is wished for, and for the connection's side to be closed.
  /// - Returns: whether it is.
  private func wait(_ wishes: Wishes, until deadline: UInt64?) -> Bool {
    // A descriptor of which nothing is wished would say for ever that its other end has gone.
    var queries = (
      pollfd(fd: wishes.network == 0 ? -1 : network, events: Int16(wishes.network), revents: 0),
      pollfd(
        fd: wishes.isLingering && wishes.inner == 0 ? -1 : inner.rawValue, events: Int16(wishes.inner),
        revents: 0)
    )
    let now = HostClock.milliseconds
    let patience = deadline.map { CInt(clamping: $0 > now ? $0 - now : 0) } ?? -1
    withUnsafeMutablePointer(to: &queries) {
      $0.withMemoryRebound(to: pollfd.self, capacity: 2) { _ = poll($0, 2, patience) }
    }
    return CInt(queries.1.revents) & POLLHUP != 0
  }
}
