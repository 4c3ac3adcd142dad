// Where the clients of one disk come in.
import Glibc
import Linux
import VhostUser

/// Listens for the disk's vhost-user clients, of which there is one at a time.
///
/// SAFETY of `unowned`: the listener's handler and the session's go with this object.
final class DiskSocket {
  private let name: String
  private let listener: UnixListener?
  private var token: EventLoop.Token?
  private let loop: EventLoop
  private let report: (String) -> Void
  private let makeSession: (consuming UnixSocket) throws(VhostUserError) -> Session
  private(set) var session: Session?
  /// Called when no call of this disk waits for its reply any more.
  var onCallsSettled: (() -> Void)?
  /// Called when a session has ended.
  var onSessionEnd: (() -> Void)?

  /// - Parameter makeSession: begins a session with a client, and tells the disk's backend of it.
  init(
    _ listener: consuming UnixListener?, name: String, loop: EventLoop, report: @escaping (String) -> Void,
    makeSession: @escaping (consuming UnixSocket) throws(VhostUserError) -> Session
  ) throws(LinuxError) {
    self.name = name
    self.listener = listener
    self.loop = loop
    self.report = report
    self.makeSession = makeSession
    if let descriptor = self.listener?.descriptor.rawValue {
      token = try loop.add(descriptor) { [unowned self] in acceptAll() }
    }
  }

  /// Listens at a path, or takes a socket over that was inherited: `fd:N`.
  /// - Returns: the listener, or the descriptor of what is a connection already.
  static func open(_ path: String) throws(LinuxError) -> (UnixListener?, CInt?) {
    guard path.hasPrefix("fd:") else { return (try UnixListener(path: path), nil) }
    guard let number = CInt(path.dropFirst(3)), number > 2 else {
      throw LinuxError("inherit", path, code: EBADF)
    }
    do throws(LinuxError) { return (try UnixListener(inherited: number), nil) } catch {
      // Not one that listens: the client is at its other end.
      guard error.code == EINVAL else { throw error }
      return (nil, number)
    }
  }

  deinit { if let token { loop.remove(token) } }

  /// The backend says so.
  func sessionEnded() {
    session = nil
    onCallsSettled?()
    onSessionEnd?()
  }

  private func acceptAll() {
    do throws(LinuxError) {
      while let socket = try listener?.accept() { begin(socket) }
    } catch {
      report("disk '\(name)': \(error)")
    }
  }

  /// Serves a connected client.
  func begin(_ socket: consuming UnixSocket) {
    guard session == nil else {
      return report("disk '\(name)': a second client was turned away: one at a time")
    }
    do throws(VhostUserError) {
      let session = try makeSession(socket)
      session.onCallsSettled = { [unowned self] in onCallsSettled?() }
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
