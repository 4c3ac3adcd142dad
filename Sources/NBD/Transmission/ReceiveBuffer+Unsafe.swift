// What has come from a client and was not looked at yet.
import Glibc
import Linux

/// What reading from a socket has come to.
enum Received: Equatable {
  /// So many bytes, and maybe there are more.
  case full(Int)
  /// So many bytes: all there were.
  case some(Int)
  case nothing
  /// The client sends no more.
  case end
  case failed(CInt)

  /// How many bytes.
  var count: Int {
    switch self {
    case .full(let count), .some(let count): count
    case .nothing, .end, .failed: 0
    }
  }

  init(_ result: Int, of wanted: Int) {
    switch result {
    case wanted: self = .full(result)
    case 1...: self = .some(result)
    case 0: self = .end
    default:
      switch errno {
      case EAGAIN, EINTR: self = .nothing
      default: self = .failed(errno)
      }
    }
  }
}

/// Bytes between a socket and whoever parses them.
///
/// SAFETY: it owns its memory; `start <= end <= capacity` always, and what is handed out is used before the
/// next change.
struct ReceiveBuffer: ~Copyable {
  private let memory: UnsafeMutableRawBufferPointer
  private var start = 0
  private var end = 0

  init() { memory = .allocate(byteCount: Limits.receiveBytes, alignment: 16) }

  deinit { memory.deallocate() }

  /// How many bytes wait.
  var count: Int { end - start }

  /// Calls `body` with the first bytes, at most `limit` of those that wait.
  func withBytes<Result>(_ limit: Int = .max, _ body: (RawSpan) -> Result) -> Result {
    body(UnsafeRawBufferPointer(rebasing: memory[start..<start + min(limit, count)]).bytes)
  }

  /// The first bytes are done with.
  mutating func consume(_ taken: Int) {
    precondition(taken <= count)
    start += taken
    if start == end { (start, end) = (0, 0) }
  }

  /// Moves the first bytes elsewhere, at most `wanted`; returns how many.
  mutating func move(to target: UnsafeMutableRawPointer, _ wanted: Int) -> Int {
    let moved = min(wanted, count)
    if moved > 0, let base = memory.baseAddress {
      target.copyMemory(from: base + start, byteCount: moved)
      consume(moved)
    }
    return moved
  }

  /// Reads what there is in the socket, as far as there is room.
  mutating func fill(from socket: CInt) -> Received {
    makeRoom()
    let room = memory.count - end
    guard room > 0, let base = memory.baseAddress else { return .nothing }
    let received = Received(recv(socket, base + end, room, UnixSocket.withoutWaiting), of: room)
    end += received.count
    return received
  }

  /// Reads first to `target`, and what comes after that as `fill` does; nothing waits when this is called.
  /// - Returns: what came, and how much of it is in `target`.
  mutating func fill(
    from socket: CInt, first target: UnsafeMutableRawPointer, _ wanted: Int
  ) -> (received: Received, direct: Int) {
    precondition(count == 0)
    var parts = (
      iovec(iov_base: target, iov_len: wanted), iovec(iov_base: memory.baseAddress, iov_len: memory.count)
    )
    let received = withUnsafeMutablePointer(to: &parts) {
      $0.withMemoryRebound(to: iovec.self, capacity: 2) {
        var message = msghdr()
        message.msg_iov = $0
        message.msg_iovlen = 2
        return Received(recvmsg(socket, &message, UnixSocket.withoutWaiting), of: wanted + memory.count)
      }
    }
    let direct = min(received.count, wanted)
    end = received.count - direct
    return (received, direct)
  }

  private mutating func makeRoom() {
    guard start > 0, let base = memory.baseAddress else { return }
    base.copyMemory(from: base + start, byteCount: count)
    (start, end) = (0, count)
  }
}
