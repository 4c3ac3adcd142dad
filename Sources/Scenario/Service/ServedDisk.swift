// One disk in simulated time, and whoever uses it.
package import BlockDevice
import BlockIO
import DiskImage
import DiskModel
import Linux
import Simulation
import Telemetry
import VhostUser
import VirtioBlock

/// A disk that listens on its socket: an image, a device, at most one session.
package final class ServedDisk {
  package let configuration: DiskConfiguration
  package let device: Device
  let backend: VirtioBlockBackend
  private let socket: DiskSocket

  init(
    _ configuration: DiskConfiguration, identifier: UInt32, model: ModelDescription, clock: any Clock,
    options: SessionOptions, log: CompletionLog, decisions: FaultDecisions, registry: FileRegistry,
    loop: EventLoop, report: @escaping (String) -> Void
  ) throws(ServiceError) {
    self.configuration = configuration
    guard configuration.nbd == nil, let path = configuration.socket else {
      throw .configuration(
        ConfigurationError(
          "disk '\(configuration.name)': NBD clients know nothing of simulated time: nbd= is for real time"))
    }
    guard configuration.engine == nil, configuration.queues == nil, !configuration.isDirect,
      !configuration.isWriteThrough
    else {
      throw .configuration(
        ConfigurationError(
          "disk '\(configuration.name)': engine, queues, direct and writethrough are for real time: "
            + "in simulated time bytes move within the kick"))
    }
    let image = try configuration.open(registry: registry, report: report)
    let context = ModelContext(
      diskSize: image.size, seed: configuration.seed, name: configuration.name)
    let timed: (any DiskModel)?
    do throws(DiskModelError) { timed = try model.make(for: context) } catch {
      throw .configuration(ConfigurationError("disk '\(configuration.name)': \(error)"))
    }
    if let placement = timed?.placement {
      report("disk '\(configuration.name)': \(configuration.model): \(placement)")
    }
    let faults = try configuration.makeFaults(over: image, decisions, report: report)
    let device = Device(
      name: configuration.name, identifier: identifier, image: image, model: timed, log: log, faults: faults)
    device.log = report
    let backend = VirtioBlockBackend(device: device, clock: clock)
    let name = configuration.name
    do throws(LinuxError) {
      socket = try DiskSocket(
        Entrance(try UnixListener(path: path)), name: name, loop: loop, report: report
      ) { (socket) throws(VhostUserError) in
        let session = try Session(socket: socket, loop: loop, backend: backend, options: options) { line in
          report("disk '\(name)': \(line)")
        }
        backend.attach(session)
        return session
      }
    } catch { throw .socket(path, error) }
    self.device = device
    self.backend = backend
    backend.onSessionEnd = { [unowned socket] _ in socket.sessionEnded() }
  }

  /// Called when no call of this disk waits for its reply any more.
  var onCallsSettled: (() -> Void)? {
    get { socket.onCallsSettled }
    set { socket.onCallsSettled = newValue }
  }

  var isConnected: Bool { socket.session != nil }

  var callsAwaitingReply: Int { socket.session?.callsAwaitingReply ?? 0 }

  /// The machine that used it has lost its power: nothing comes from there any more.
  func loseClient() { socket.session?.end() }

  /// Ends the session, closes the image; a line if something written may be lost.
  func close(at now: SimulationTime) -> String? {
    socket.session?.end()
    do throws(DiskImageError) {
      try device.close(at: now)
      return nil
    } catch {
      return "disk '\(configuration.name)': \(error)"
    }
  }
}

extension DiskConfiguration {
  /// What goes wrong with the disk; nil if nothing does.
  func makeFaults(
    over image: any DiskImage, _ decisions: FaultDecisions, report: @escaping (String) -> Void
  ) throws(ServiceError) -> FaultyDisk? {
    do throws(FaultError) {
      let replay = try decisions.replay(of: self)
      guard !faults.isEmpty else { return nil }
      let disk = try FaultyDisk(faults, name: name, image: image, seed: seed, replay: replay)
      disk.log = { decisions.append($0) }
      disk.report = report
      return disk
    } catch { throw .configuration(ConfigurationError("disk '\(name)': \(error)")) }
  }

  /// Opens the image, and says what its user ought to know.
  /// - Parameter journal: where changes are kept that are not flushed, in real time.
  func open(
    registry: FileRegistry, journal: JournalOptions? = nil, report: (String) -> Void
  ) throws(ServiceError) -> any DiskImage {
    let opened: any DiskImage
    do throws(DiskImageError) {
      let options = ImageOptions(
        format: format, readOnly: isReadOnly, journal: isWriteThrough ? nil : journal)
      opened = try openImage(path: image, options: options, registry: registry)
    } catch { throw .image(error) }
    for warning in opened.warnings { report("disk '\(name)': \(warning)") }
    return opened
  }
}
