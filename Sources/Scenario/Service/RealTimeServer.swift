// Disks and their clients in real time.
import BlockDevice
package import BlockIO
package import DiskImage
package import Linux
package import NBD

/// Serves disks over vhost-user, each ring on a thread of its own.
package final class RealTimeServer: DiskService {
  private let disks: [RealTimeDisk]
  private var servers: [NBDServer] = []
  private let loop: EventLoop
  private let mailboxToken: EventLoop.Token

  /// Opens every image and listens on every socket; what was opened is closed again if one of them fails.
  /// - Parameters:
  ///   - journals: where changes are kept that are not flushed; nil: only in our memory.
  ///   - tls: what NBD clients need TLS for; nothing: they need none.
  ///   - report: takes one line, on the loop's thread, for each thing that goes wrong later.
  package init(
    disks configurations: [DiskConfiguration], registry: FileRegistry, journals: JournalFolder?,
    tls: TLSCredentials.Files = TLSCredentials.Files(), loop: EventLoop, report: @escaping (String) -> Void
  ) throws(ServiceError) {
    self.loop = loop
    let mailbox: Mailbox
    do throws(LinuxError) {
      let made = try Mailbox()
      mailboxToken = try loop.add(made.descriptor) { made.drain() }
      mailbox = made
    } catch { throw .system(error) }
    // SAFETY: letters are read by the loop's thread, whose the closure is.
    nonisolated(unsafe) let report = report
    var disks: [RealTimeDisk] = []
    do throws(ServiceError) {
      for configuration in configurations {
        do throws(ConfigurationError) {
          try requireTime(configuration.faults, .off, "disk '\(configuration.name)'")
        } catch { throw .configuration(error) }
        guard configuration.model == "zero" else {
          throw .configuration(
            ConfigurationError(
              "disk '\(configuration.name)': model \(configuration.model) needs external time travel: "
                + "real time has nobody to charge it to; use model=zero"))
        }
        disks.append(
          try RealTimeDisk(
            configuration, registry: registry, journals: journals, loop: loop, mailbox: mailbox
          ) { line in
            mailbox.post { report(line) }
          })
      }
    } catch {
      loop.remove(mailboxToken)
      throw error
    }
    self.disks = disks
    for disk in disks { disk.onSessionEnd = { [unowned self] in onSessionEnd?() } }
    try listen(loop, tls) { line in mailbox.post { report(line) } }
  }

  /// Lets NBD clients in; disks with the same address share it.
  private func listen(
    _ loop: EventLoop, _ tls: TLSCredentials.Files, _ report: @escaping @Sendable (String) -> Void
  ) throws(ServiceError) {
    let credentials: TLSCredentials?
    do throws(NBDError) {
      credentials = tls.isEmpty ? nil : try TLSCredentials(tls)
    } catch { throw .nbd(error) }
    var addresses: [NBDAddress] = []
    for case let address? in disks.map(\.configuration.nbd) where !addresses.contains(address) {
      addresses.append(address)
    }
    for address in addresses {
      let exports = disks.filter { $0.configuration.nbd == address }.map(\.export)
      do throws(NBDError) {
        servers.append(
          try NBDServer(
            listening: address, exports: exports, loop: loop, credentials: credentials, log: report))
      } catch {
        closeServers()
        throw .nbd(error)
      }
    }
  }

  private func closeServers() {
    for server in servers { server.close() }
    servers = []
  }

  /// Called when a vhost-user client has gone.
  package var onSessionEnd: (() -> Void)?

  deinit { loop.remove(mailboxToken) }

  package var isBusy: Bool {
    disks.contains { $0.isConnected } || servers.contains { $0.connectionCount > 0 }
  }

  /// In real time nobody waits for a client that has gone.
  package var hasLostClient: Bool { false }

  package func refreshSizes() { for disk in disks { disk.refreshSize() } }

  package func close() -> [String] {
    closeServers()
    return disks.compactMap { $0.close() }
  }

  package var engines: [String] {
    disks.map { "disk '\($0.configuration.name)': \($0.engine.rawValue): \($0.engineReason)" }
  }

  package var reports: [DiskReport] {
    disks.map { DiskReport(name: $0.configuration.name, model: "zero", $0.statistics) }
  }

  package var completions: UInt64 { disks.reduce(0) { $0 + $1.statistics.requests } }

  /// In real time the order of completions is the host's, and says nothing.
  package var digest: String { "none" }
}
