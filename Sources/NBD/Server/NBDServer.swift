// Disks for NBD clients.
import Glibc
package import Linux

/// Lets clients in at one address, and serves each on a thread of its own.
///
/// Made, used and closed on the thread of its event loop. `@unchecked`: other threads only post to its
/// mailbox, and write to its log.
package final class NBDServer: @unchecked Sendable {
  /// Where it listens; with the port that was found, if it was to be any.
  package let address: NBDAddress

  private struct Client {
    let connection: Connection
    let thread: WorkerThread
  }

  private let exports: [NBDExport]
  private let loop: EventLoop
  private let log: ServerLog
  private let mailbox: Mailbox
  private let budget = MemoryBudget()
  private let credentials: TLSCredentials?
  private var listeners: [Listener]
  private var tokens: [EventLoop.Token] = []
  private var clients: [Int: Client] = [:]
  private var lastNumber = 0
  /// Given up for a moment when there are no descriptors left, to send a client away.
  private var reserve: Descriptor?

  /// Listens. The first export is the one without a name, too.
  /// - Parameters:
  ///   - credentials: with them clients have to talk TLS.
  ///   - log: takes lines on any thread; there are never many at once.
  package init(
    listening address: NBDAddress, exports: [NBDExport], loop: EventLoop,
    credentials: TLSCredentials? = nil, log: @escaping @Sendable (String) -> Void
  ) throws(NBDError) {
    guard !exports.isEmpty else { throw .noExport }
    for (index, export) in exports.enumerated() {
      guard export.name.utf8.count <= ProtocolLimits.stringBytesMax else { throw .nameTooLong(export.name) }
      if exports[..<index].contains(where: { $0.name == export.name }) { throw .sameName(export.name) }
    }
    listeners = try Listener.listen(on: address)
    if case .tcp(let host, _) = address, let port = listeners.first?.port {
      self.address = .tcp(host: host, port: port)
    } else {
      self.address = address
    }
    self.exports = exports
    self.credentials = credentials
    self.loop = loop
    self.log = ServerLog(log)
    do throws(LinuxError) {
      mailbox = try Mailbox()
      reserve = try Descriptor.eventCounter()
      for listener in listeners {
        tokens.append(try loop.add(listener.descriptor) { [unowned self] in acceptAll(listener) })
      }
      tokens.append(try loop.add(mailbox.descriptor) { [unowned self] in mailbox.drain() })
    } catch {
      for token in tokens { loop.remove(token) }
      throw .cannotListen("\(address)", error)
    }
  }

  deinit { close() }

  /// How many clients there are.
  package var connectionCount: Int { clients.count }

  /// Lets nobody in any more, finishes what is under way, sends everybody away, and waits until all threads
  /// have ended; not for ever, whatever the clients do, but as long as their last requests take.
  package func close() {
    for token in tokens { loop.remove(token) }
    tokens = []
    listeners = []
    for client in clients.values { client.connection.stop.raise() }
    for client in clients.values { client.thread.join() }
    mailbox.close()
    clients = [:]
  }

  private func acceptAll(_ listener: Listener) {
    do throws(LinuxError) {
      while let socket = try listener.accept() { begin(socket) }
    } catch {
      log("nbd \(address): \(error)")
      if error.code == EMFILE || error.code == ENFILE { turnAway(listener) }
    }
  }

  private func begin(_ socket: consuming UnixSocket) {
    guard clients.count < Limits.connectionsMax else {
      return log("nbd \(address): a client was turned away: there are \(clients.count)")
    }
    lastNumber += 1
    let number = lastNumber
    do throws(LinuxError) {
      let connection = try Connection(
        socket, name: "nbd \(address), client \(number)", exports: exports, budget: budget,
        credentials: credentials, log: log)
      weak let server = self
      let thread = try WorkerThread("nbd \(number)") { [mailbox] in
        connection.run()
        mailbox.post { server?.clientHasGone(number) }
      }
      clients[number] = Client(connection: connection, thread: thread)
    } catch {
      log("nbd \(address): a client was turned away: \(error)")
    }
  }

  private func clientHasGone(_ number: Int) {
    clients.removeValue(forKey: number)?.thread.join()
  }

  /// There is no descriptor for the next client. Unless it is sent away, it would be reported for ever.
  private func turnAway(_ listener: Listener) {
    reserve = nil
    _ = try? listener.accept()
    reserve = try? Descriptor.eventCounter()
  }
}
