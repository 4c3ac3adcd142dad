// Sockets that clients connect to.
import CLinux
import Glibc
import Linux

/// One listening socket.
final class Listener {
  private let unix: UnixListener?
  private let tcp: Descriptor?
  /// For system calls.
  let descriptor: CInt
  /// Of a TCP socket.
  let port: UInt16

  private init(unix: consuming UnixListener) {
    descriptor = unix.descriptor.rawValue
    self.unix = consume unix
    tcp = nil
    port = 0
  }

  private init(tcp: consuming Descriptor) {
    var address = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    // SAFETY: the kernel writes at most `length` bytes; both kinds of address have the port in this place.
    port = withUnsafeMutableBytes(of: &address) { bytes in
      guard let base = bytes.baseAddress else { return 0 }
      _ = getsockname(tcp.rawValue, base.assumingMemoryBound(to: sockaddr.self), &length)
      return UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
    }
    descriptor = tcp.rawValue
    self.tcp = consume tcp
    unix = nil
  }

  // As with a connection: nobody shall be let in by a copy.
  deinit { if tcp != nil { shutdown(descriptor, CInt(SHUT_RDWR)) } }

  /// The next client's socket, non-blocking; nil when there is none now.
  func accept() throws(LinuxError) -> UnixSocket? {
    if unix != nil { return try unix?.accept() }
    do throws(LinuxError) {
      let socket = Descriptor(owning: try retrying("accept4", "") { CLinux_accept(descriptor) })
      Self.tune(socket.rawValue)
      return UnixSocket(owning: socket)
    } catch {
      switch error.code {
      case EAGAIN, ECONNABORTED, EPROTO, ENETDOWN, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH: return nil
      default: throw error
      }
    }
  }

  /// Listens on all that an address stands for.
  static func listen(on address: NBDAddress) throws(NBDError) -> [Listener] {
    switch address {
    case .unix(let path):
      do throws(LinuxError) { return [Listener(unix: try UnixListener(path: path))] } catch {
        throw .cannotListen("\(address)", error)
      }
    case .tcp(let host, let port): return try listen(host: host, port: port, address)
    }
  }

  private static func listen(
    host: String?, port: UInt16, _ address: NBDAddress
  ) throws(NBDError) -> [Listener] {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    hints.ai_flags = AI_NUMERICSERV
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(host, "\(port)", &hints, &list)
    guard code == 0 else { throw .unknownHost(host ?? "localhost", String(cString: gai_strerror(code))) }
    defer { freeaddrinfo(list) }
    var listeners: [Listener] = []
    var failure: LinuxError?
    var next = list
    while let info = next {
      next = info.pointee.ai_next
      // Any port, but the same for all of them.
      do throws(LinuxError) {
        listeners.append(
          Listener(tcp: try bound(info.pointee, port: port == 0 ? listeners.first?.port : nil)))
      } catch {
        // A host may have no IPv6, or a name that is not its own.
        failure = error
        guard error.code == EADDRNOTAVAIL || error.code == EAFNOSUPPORT || port == 0 else { break }
      }
    }
    guard let failure, listeners.isEmpty || next != nil else { return listeners }
    throw .cannotListen("\(address)", failure)
  }

  private static func bound(_ info: addrinfo, port: UInt16?) throws(LinuxError) -> Descriptor {
    let kind = info.ai_socktype | CInt(SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    let socket = Descriptor(
      owning: try retrying("socket", "") { Glibc.socket(info.ai_family, kind, info.ai_protocol) })
    set(socket.rawValue, SOL_SOCKET, SO_REUSEADDR, 1)
    if info.ai_family == AF_INET6 { set(socket.rawValue, CInt(IPPROTO_IPV6), IPV6_V6ONLY, 1) }
    // SAFETY: both kinds of address have the port behind the family.
    if let port, let address = info.ai_addr {
      UnsafeMutableRawPointer(address).storeBig(port, at: 2)
    }
    _ = try retrying("bind", "") { bind(socket.rawValue, info.ai_addr, info.ai_addrlen) }
    _ = try retrying("listen", "") { Glibc.listen(socket.rawValue, Limits.backlog) }
    return socket
  }

  /// Replies go at once, and a client whose machine has gone is noticed.
  private static func tune(_ socket: CInt) {
    let tcp = CInt(IPPROTO_TCP)
    set(socket, tcp, TCP_NODELAY, 1)
    set(socket, SOL_SOCKET, SO_KEEPALIVE, 1)
    set(socket, tcp, TCP_KEEPIDLE, 60)
    set(socket, tcp, TCP_KEEPINTVL, 10)
    set(socket, tcp, TCP_KEEPCNT, 6)
  }

  /// What the kernel refuses to set makes things slower, not wrong.
  private static func set(_ socket: CInt, _ level: CInt, _ name: CInt, _ value: CInt) {
    var value = value
    _ = setsockopt(socket, level, name, &value, socklen_t(MemoryLayout<CInt>.size))
  }
}
