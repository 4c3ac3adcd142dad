// Unix stream sockets, with descriptors in messages.
import CLinux
package import Glibc

/// Owns one end of a Unix stream socket; the connection ends when the owner goes.
package struct UnixSocket: ~Copyable {
  /// For `flags`: this call does not wait, whatever the socket's other holders set on it (`MSG_DONTWAIT`).
  package static let withoutWaiting = CInt(MSG_DONTWAIT)

  package let descriptor: Descriptor

  package init(owning descriptor: consuming Descriptor) { self.descriptor = descriptor }

  /// Closing is not enough: between fork(2) and execve(2) every process that any thread starts holds a copy,
  /// and as long the peer would hear nothing.
  deinit { shutdown(descriptor.rawValue, CInt(SHUT_RDWR)) }

  /// The longest path a socket address can hold, without the terminating NUL (`sun_path`, unix(7)).
  package static let pathLengthMax = 107

  /// Connects to a listening socket. The result blocks.
  package static func connect(to path: String) throws(LinuxError) -> UnixSocket {
    let socket = try makeSocket()
    _ = try retrying("connect", path) { () -> CInt in
      withAddress(path) { Glibc.connect(socket.rawValue, $0, $1) }
    }
    return UnixSocket(owning: socket)
  }

  /// Two connected sockets; both block.
  package static func pair() throws(LinuxError) -> DescriptorPair {
    var ends: (CInt, CInt) = (-1, -1)
    _ = try retrying("socketpair", "") {
      withUnsafeMutablePointer(to: &ends) {
        $0.withMemoryRebound(to: CInt.self, capacity: 2) {
          socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, $0)
        }
      }
    }
    return DescriptorPair(reader: Descriptor(owning: ends.0), writer: Descriptor(owning: ends.1))
  }

  /// Sends bytes, all or none of which the kernel takes when they are fewer than a page; returns how many it
  /// took.
  /// - Throws: EAGAIN when a non-blocking socket is full; EPIPE when the peer has gone.
  package func send(
    _ bytes: UnsafeRawBufferPointer, descriptors: [CInt] = [], flags: CInt = 0
  ) throws(LinuxError) -> Int {
    try retrying("sendmsg", "") {
      CLinux_send(descriptor.rawValue, bytes.baseAddress, bytes.count, descriptors, descriptors.count, flags)
    }
  }

  /// Receives bytes and no descriptors; 0 at the end of the stream.
  package func receive(into bytes: UnsafeMutableRawBufferPointer, flags: CInt = 0) throws(LinuxError) -> Int {
    try retrying("recv", "") { recv(descriptor.rawValue, bytes.baseAddress, bytes.count, flags) }
  }

  /// Receives bytes, and hands each descriptor that came with them to `take`, which owns it from then on.
  /// - Throws: EMSGSIZE when the kernel had to drop descriptors; those it delivered are closed.
  package func receive(
    into bytes: UnsafeMutableRawBufferPointer, flags: CInt = 0, take: (consuming Descriptor) -> Void
  ) throws(LinuxError) -> Int {
    var count = 0
    var truncated = false
    return try withUnsafeTemporaryAllocation(of: CInt.self, capacity: Int(CLINUX_DESCRIPTORS_MAX)) {
      (received) throws(LinuxError) -> Int in
      let result = try retrying("recvmsg", "") {
        CLinux_receive(
          descriptor.rawValue, bytes.baseAddress, bytes.count, received.baseAddress, &count, &truncated, flags
        )
      }
      for index in 0..<count {
        let one = Descriptor(owning: received[index])
        if !truncated { take(one) }
      }
      if truncated { throw LinuxError("recvmsg", "descriptors", code: EMSGSIZE) }
      return result
    }
  }
}

/// A listening Unix socket that removes its path when it goes.
package struct UnixListener: ~Copyable {
  package let descriptor: Descriptor
  package let path: String
  private let identity: FileIdentity?

  /// Listens at `path`, non-blocking.
  ///
  /// A socket file that nobody listens on any more (its owner was killed) is replaced; one that answers is
  /// not.
  /// - Throws: ENAMETOOLONG past `UnixSocket.pathLengthMax`, EADDRINUSE when the path is taken.
  package init(path: String) throws(LinuxError) {
    let socket = try makeSocket()
    var result = withAddress(path) { bind(socket.rawValue, $0, $1) }
    if result != 0, errno == EADDRINUSE, isAbandonedSocket(path), unlink(path) == 0 {
      result = withAddress(path) { bind(socket.rawValue, $0, $1) }
    }
    guard result == 0 else { throw LinuxError("bind", path) }
    do throws(LinuxError) {
      _ = try retrying("listen", path) { listen(socket.rawValue, 4096) }
      try socket.setNonblocking(true)
      identity = try FileIdentity(path: path)
    } catch {
      unlink(path)
      throw error
    }
    self.path = path
    descriptor = socket
  }

  /// Takes over a socket that listens already: a service manager's, or a parent's. Its file stays.
  package init(inherited number: CInt) throws(LinuxError) {
    let name = "descriptor \(number)"
    var isListening: CInt = 0
    var length = socklen_t(MemoryLayout<CInt>.size)
    _ = try retrying("getsockopt", name) {
      getsockopt(number, SOL_SOCKET, SO_ACCEPTCONN, &isListening, &length)
    }
    guard isListening != 0 else { throw LinuxError("accept", name, code: EINVAL) }
    let taken = Descriptor(owning: number)
    try taken.setNonblocking(true)
    try taken.setInherited(false)
    path = name
    identity = nil
    descriptor = taken
  }

  deinit {
    // As with a connection: nobody shall be let in by a copy.
    shutdown(descriptor.rawValue, CInt(SHUT_RDWR))
    // Only what we made: somebody may have put another file there since.
    if let identity, (try? FileIdentity(path: path)) == identity { unlink(path) }
  }

  /// The next connection, non-blocking; nil when there is none now.
  package func accept() throws(LinuxError) -> UnixSocket? {
    do throws(LinuxError) {
      let accepted = try retrying("accept4", path) { CLinux_accept(descriptor.rawValue) }
      return UnixSocket(owning: Descriptor(owning: accepted))
    } catch {
      if error.code == EAGAIN || error.code == ECONNABORTED { return nil }
      throw error
    }
  }
}

/// Device and inode number of a file: whether two names are one file.
package struct FileIdentity: Hashable, Sendable {
  package let device: UInt64
  package let inode: UInt64

  /// Of the file at `path`, without following a last symbolic link.
  package init(path: String) throws(LinuxError) {
    var status = stat()
    _ = try retrying("lstat", path) { lstat(path, &status) }
    self.init(status)
  }

  /// Of what `fstat(2)` told.
  package init(_ status: stat) {
    device = UInt64(status.st_dev)
    inode = UInt64(status.st_ino)
  }
}

private func makeSocket() throws(LinuxError) -> Descriptor {
  Descriptor(
    owning: try retrying("socket", "") {
      socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    })
}

/// Calls `body` with the address of `path`; a path that does not fit fails with ENAMETOOLONG.
private func withAddress(
  _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> CInt
) -> CInt {
  var address = sockaddr_un()
  address.sun_family = sa_family_t(AF_UNIX)
  let bytes = Array(path.utf8)
  guard bytes.count <= UnixSocket.pathLengthMax else {
    errno = ENAMETOOLONG
    return -1
  }
  withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
  return withUnsafePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
    }
  }
}

private func isAbandonedSocket(_ path: String) -> Bool {
  var status = stat()
  guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK else { return false }
  do throws(LinuxError) {
    _ = try UnixSocket.connect(to: path)
    return false
  } catch {
    return error.code == ECONNREFUSED
  }
}
