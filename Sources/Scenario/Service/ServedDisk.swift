// One disk and whoever uses it.
package import BlockDevice
import BlockIO
import DiskImage
import DiskModel
import Glibc
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
  /// Called when no call of this disk waits for its reply any more.
  var onCallsSettled: (() -> Void)?

  private let options: SessionOptions
  private let listener: UnixListener
  private var listenerToken: EventLoop.Token?
  private let loop: EventLoop
  private let report: (String) -> Void
  private var session: Session?

  init(
    _ configuration: DiskConfiguration, identifier: UInt32, model: (any DiskModel)?, clock: any Clock,
    options: SessionOptions, log: CompletionLog, registry: FileRegistry, loop: EventLoop,
    report: @escaping (String) -> Void
  ) throws(ServiceError) {
    self.configuration = configuration
    self.options = options
    self.loop = loop
    self.report = report
    let image: any DiskImage
    do throws(DiskImageError) {
      image = try openImage(
        path: configuration.image,
        options: ImageOptions(format: configuration.format, readOnly: configuration.isReadOnly),
        registry: registry)
    } catch { throw .image(error) }
    for warning in image.warnings { report("disk '\(configuration.name)': \(warning)") }
    do throws(LinuxError) {
      listener = try UnixListener(path: configuration.socket)
    } catch { throw .socket(configuration.socket, error) }
    device = Device(name: configuration.name, identifier: identifier, image: image, model: model, log: log)
    device.log = report
    backend = VirtioBlockBackend(device: device, clock: clock)
    do throws(LinuxError) {
      listenerToken = try loop.add(listener.descriptor.rawValue) { [unowned self] in acceptAll() }
    } catch { throw .socket(configuration.socket, error) }
    backend.onSessionEnd = { [unowned self] _ in
      session = nil
      onCallsSettled?()
    }
  }

  deinit { if let listenerToken { loop.remove(listenerToken) } }

  var isConnected: Bool { session != nil }

  var callsAwaitingReply: Int { session?.callsAwaitingReply ?? 0 }

  /// Ends the session, closes the image; a line if something written may be lost.
  func close() -> String? {
    session?.end()
    do throws(DiskImageError) {
      try device.image.close()
      return nil
    } catch {
      return "disk '\(configuration.name)': \(error)"
    }
  }

  private func acceptAll() {
    do throws(LinuxError) {
      while let socket = try listener.accept() { begin(socket) }
    } catch {
      report("disk '\(configuration.name)': \(error)")
    }
  }

  private func begin(_ socket: consuming UnixSocket) {
    guard session == nil else {
      return report("disk '\(configuration.name)': a second client was turned away: one at a time")
    }
    let name = configuration.name
    do throws(VhostUserError) {
      let session = try Session(socket: socket, loop: loop, backend: backend, options: options) {
        [report] line in report("disk '\(name)': \(line)")
      }
      session.onCallsSettled = { [unowned self] in onCallsSettled?() }
      backend.attach(session)
      self.session = session
    } catch {
      report("disk '\(name)': \(error)")
    }
  }
}

/// A socket path that cannot be listened on: what to do about it.
func describeSocketFailure(_ path: String, _ error: LinuxError) -> String {
  switch error.code {
  case EADDRINUSE: "socket '\(path)' is taken: another process listens there, or it is no socket"
  case ENAMETOOLONG:
    "socket path '\(path)' has \(path.utf8.count) bytes; "
      + "the kernel takes \(UnixSocket.pathLengthMax): use a shorter directory"
  default: "cannot listen: \(error)"
  }
}
