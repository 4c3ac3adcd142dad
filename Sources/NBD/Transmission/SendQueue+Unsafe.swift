// Replies on their way to a client.
import Glibc
import Linux

/// Pieces of memory to be sent in order, as many as possible with one system call.
///
/// SAFETY: it owns the list, not the memory that the pieces name: that stays as it is until the request whose
/// number was given with the last of its pieces comes out of `send`, or until `removeAll`.
struct SendQueue: ~Copyable {
  private let parts: UnsafeMutablePointer<iovec>
  /// By part: the request that is over when it is sent, or -1.
  private let owners: UnsafeMutablePointer<Int>
  private var first = 0
  private var end = 0

  /// A request has at most a head and data for each chunk.
  private static let capacity = Limits.depthMax * Limits.chunksMax * 2

  /// What came of sending.
  enum Sent: Equatable {
    /// Everything has gone.
    case all
    /// The client does not take more now.
    case blocked
    case failed(CInt)
  }

  init() {
    parts = .allocate(capacity: Self.capacity)
    owners = .allocate(capacity: Self.capacity)
  }

  deinit {
    parts.deallocate()
    owners.deallocate()
  }

  var isEmpty: Bool { first == end }

  /// Appends a piece.
  /// - Parameter request: which request is over when the piece is sent; nil for none.
  mutating func append(_ memory: UnsafeMutableRawPointer, _ count: Int, last request: Int? = nil) {
    if end == Self.capacity {
      (parts).update(from: parts + first, count: end - first)
      (owners).update(from: owners + first, count: end - first)
      (first, end) = (0, end - first)
    }
    precondition(end < Self.capacity)
    parts[end] = iovec(iov_base: memory, iov_len: count)
    owners[end] = request ?? -1
    end += 1
  }

  /// Sends what the socket takes.
  /// - Parameter release: is told of each request whose reply has gone.
  mutating func send(to socket: CInt, release: (Int) -> Void) -> Sent {
    while first < end {
      var message = msghdr()
      message.msg_iov = parts + first
      message.msg_iovlen = min(end - first, Limits.partsPerSend)
      let sent = sendmsg(socket, &message, CInt(MSG_NOSIGNAL) | UnixSocket.withoutWaiting)
      guard sent >= 0 else {
        switch errno {
        case EINTR: continue
        case EAGAIN: return .blocked
        default: return .failed(errno)
        }
      }
      advance(sent, release)
    }
    (first, end) = (0, 0)
    return .all
  }

  /// Forgets everything; the connection is no more.
  mutating func removeAll(release: (Int) -> Void) {
    for index in first..<end where owners[index] >= 0 { release(owners[index]) }
    (first, end) = (0, 0)
  }

  private mutating func advance(_ count: Int, _ release: (Int) -> Void) {
    var left = count
    while first < end, left >= parts[first].iov_len {
      left -= parts[first].iov_len
      if owners[first] >= 0 { release(owners[first]) }
      first += 1
    }
    guard left > 0, let base = parts[first].iov_base else { return }
    parts[first] = iovec(iov_base: base + left, iov_len: parts[first].iov_len - left)
  }
}
