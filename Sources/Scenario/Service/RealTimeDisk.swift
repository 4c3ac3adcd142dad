// One disk in real time, and whoever uses it.
import BlockDevice
import BlockIO
import DiskImage
import Linux
import NBD
import VhostUser
import VirtioBlock

/// A disk whose rings have threads of their own, and end with the client.
final class RealTimeDisk {
  let configuration: DiskConfiguration
  let device: SharedDevice
  /// What moves the bytes.
  let engine: EngineKind
  /// Why that.
  let engineReason: String

  private let backend: SharedDiskBackend
  private let socket: DiskSocket?
  /// Called when a vhost-user client has gone.
  var onSessionEnd: (() -> Void)?
  private let threads: QueueThreads
  /// What NBD clients did that have gone.
  private let nbdStatistics = Guarded(DeviceStatistics())
  private let report: (String) -> Void

  /// - Parameters:
  ///   - journals: where changes are kept that are not flushed; nil: only in our memory.
  ///   - mailbox: of the loop's thread.
  ///   - report: takes one line, on any thread.
  init(
    _ configuration: DiskConfiguration, registry: FileRegistry, journals: JournalFolder?, loop: EventLoop,
    mailbox: Mailbox, report: @escaping @Sendable (String) -> Void
  ) throws(ServiceError) {
    self.configuration = configuration
    self.report = report
    let name = configuration.name
    let journal = journals.map { folder in
      JournalOptions(folder: folder) { line in report("disk '\(name)': \(line)") }
    }
    let image = try configuration.open(registry: registry, journal: journal, report: report)
    (engine, engineReason) = try configuration.prepare(image)
    let device = SharedDevice(name: name, image: image)
    device.log = report
    self.device = device
    let kind = engine
    let threads = QueueThreads(device, report: report) { () throws(BlockIOError) in
      try makeQueuedEngine(kind, depth: Limits.engineDepth)
    }
    let backend = SharedDiskBackend(
      device: device, queueCount: configuration.queues ?? Limits.queuesOffered,
      isCached: !configuration.isWriteThrough, makeHome: threads.home)
    self.threads = threads
    self.backend = backend
    let path = configuration.socket
    do throws(LinuxError) {
      socket = try path.map { (path) throws(LinuxError) in
        var connection: CInt?
        let socket = try DiskSocket(
          try DiskSocket.open(path, connection: &connection), name: name, loop: loop, report: report
        ) { (socket) throws(VhostUserError) in
          let session = try Session(
            socket: socket, loop: loop, backend: backend, options: SessionOptions(inBand: false, packed: true)
          ) { line in report("disk '\(name)': \(line)") }
          backend.attach(session)
          return session
        }
        if let connection { socket.begin(UnixSocket(owning: Descriptor(owning: connection))) }
        return socket
      }
    } catch { throw .socket(path ?? "", error) }
    backend.onSessionEnd = { [unowned self] _ in
      threads.end()
      socket?.sessionEnded()
      onSessionEnd?()
    }
    // SAFETY: the letter is read by the loop's thread, which owns the backend, as long as this object lives.
    nonisolated(unsafe) weak let disk = self
    device.onLimitsChange = {
      mailbox.post {
        report("disk '\(name)': the host does not take space back: discarding is no longer offered")
        disk?.backend.configurationChanged()
      }
    }
  }

  var isConnected: Bool { socket?.session != nil }

  /// What NBD clients see.
  var export: NBDExport {
    let (kind, statistics) = (engine, nbdStatistics)
    var export = NBDExport(name: configuration.name, device: device) { () throws(BlockIOError) in
      try makeQueuedEngine(kind, depth: Limits.engineDepth)
    }
    export.clientEnded = { ended in statistics.withLock { $0.add(ended) } }
    return export
  }

  /// Of vhost-user clients, and of NBD clients that have gone.
  var statistics: DeviceStatistics {
    var all = threads.statistics
    all.add(nbdStatistics.withLock { $0 })
    return all
  }

  /// Looks whether the image has become longer or shorter, and tells the driver.
  func refreshSize() {
    do throws(DiskImageError) {
      guard try device.refreshSize() else { return }
      report("disk '\(configuration.name)': has \(device.size) bytes now")
      backend.configurationChanged()
    } catch {
      report("disk '\(configuration.name)': keeps its size: \(error)")
    }
  }

  /// Ends the session, closes the image; a line if something written may be lost.
  func close() -> String? {
    backend.session?.close()
    threads.end()
    do throws(DiskImageError) {
      try device.close()
      return nil
    } catch {
      return "disk '\(configuration.name)': \(error)"
    }
  }
}

/// The threads of a disk's rings, each made when its ring first has a client.
final class QueueThreads {
  private let device: SharedDevice
  private let report: @Sendable (String) -> Void
  private let makeEngine: () throws(BlockIOError) -> any QueuedEngine
  private var threads: [Int: QueueThread] = [:]

  init(
    _ device: SharedDevice, report: @escaping @Sendable (String) -> Void,
    makeEngine: @escaping () throws(BlockIOError) -> any QueuedEngine
  ) {
    self.device = device
    self.report = report
    self.makeEngine = makeEngine
  }

  func home(of index: Int) -> any RingHome {
    if let thread = threads[index] { return thread }
    let thread = QueueThread(
      device: device, name: "\(device.name) \(index)", makeEngine: makeEngine, report: report)
    threads[index] = thread
    return thread
  }

  /// Ends all threads; their rings have been stopped.
  func end() { for thread in threads.values { thread.end() } }

  var statistics: DeviceStatistics {
    threads.values.reduce(into: DeviceStatistics()) { $0.add($1.statistics) }
  }
}

extension DiskConfiguration {
  /// Sets the files up as the configuration has it.
  /// - Returns: which engine moves the bytes, and why that.
  func prepare(_ image: any DiskImage) throws(ServiceError) -> (kind: EngineKind, why: String) {
    do throws(BlockIOError) {
      if isDirect { for file in image.files { try file.useDirect(unit: nbd == nil ? 512 : 1) } }
      if let engine {
        // Now rather than with the first client.
        _ = try makeQueuedEngine(engine, depth: 1)
        return (engine, "as it was told to")
      }
    } catch { throw .image(.file(error)) }
    guard let file = image.files.first else { return (.synchronous, "there is no file") }
    return chooseEngine(for: file)
  }
}
