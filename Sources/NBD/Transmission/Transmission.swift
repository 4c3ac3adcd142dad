// The requests of one connection.
import BlockDevice
import BlockIO
import CLinux
import Glibc
import Linux

/// Serves an export to one client, on the thread that calls `run`, until one of both ends it.
///
/// It sleeps in one place, its lane's engine, which watches the socket, too. Whatever the client does, memory
/// is bounded: no request is read before there is room for its data and for its reply, and it makes room only
/// when the reply has gone. So a client that sends without reading waits for itself.
final class Transmission {
  /// How far the connection is.
  enum Phase: Equatable {
    case serving
    /// Nothing is read any more; what is under way is finished, and offered to the client until then.
    case ending(deadline: UInt64)
  }

  /// What the next bytes of the stream are.
  enum Reading {
    case header
    /// Data of a write; so many bytes are there.
    case payload(request: Int, count: Int)
    /// Data of a write that was refused; so many bytes are to come.
    case skipping(request: Int, left: UInt32, RequestRefusal)
  }

  /// What the engine watches.
  enum Tag: UInt64 {
    case socket = 1
    case stop = 2
    case room = 3
  }

  let lane: Lane
  let device: SharedDevice
  let socket: CInt
  let stop: StopSignal
  var rules: RequestRules
  var finder: ExtentFinder

  var input: ReceiveBuffer
  var reading = Reading.header
  /// A request waits until another's reply has gone; until then nothing is read.
  var needsRoom = false
  var requests = RequestTable()
  var pool: BufferPool
  var output = SendQueue()
  private(set) var phase = Phase.serving
  private var reason: String?
  /// The server is shut down.
  private(set) var isStopping = false
  /// Whether the engine watches the socket for requests.
  private var isListening = false
  /// Whether the client does not take more replies now.
  private var isBlocked = false
  /// Becomes readable when the socket takes more: an epoll(7) descriptor, because engines watch for nothing
  /// else. Made when it is needed first.
  private var room: SharedDescriptor?

  // Scratch memory.
  var extents: [DiskExtent] = []
  private var completions: [BlockCompletion] = []
  private var ready: [UInt64] = []

  /// - Parameter input: what the client has sent already.
  init(
    _ lane: Lane, socket: CInt, stop: StopSignal, agreement: Agreement, budget: MemoryBudget,
    input: consuming ReceiveBuffer
  ) {
    self.lane = lane
    device = lane.device
    self.socket = socket
    self.stop = stop
    self.input = input
    pool = BufferPool(budget)
    rules = RequestRules(
      size: lane.device.size, isReadOnly: lane.device.isReadOnly,
      hasStructuredReplies: agreement.hasStructuredReplies,
      hasAllocationContext: agreement.hasAllocationContext)
    finder = ExtentFinder(lane.device)
  }

  /// Returns when nothing is under way any more; nil for an orderly end, else why.
  func run() -> String? {
    do throws(BlockIOError) {
      try lane.watch(stop.descriptor, tag: Tag.stop.rawValue)
      try listen(true)
      while true {
        settle()
        if isOver { break }
        try turn()
      }
    } catch {
      // The kernel may write to the memory of what is under way for ever: then nothing of it is let go.
      if lane.inFlight > 0 { _ = Unmanaged.passRetained(self) }
      reason = "\(error)"
    }
    lane.unwatch(stop.descriptor)
    lane.unwatch(socket)
    if let room { lane.unwatch(room.rawValue) }
    dropOutput()
    return reason
  }

  private var isOver: Bool {
    guard case .ending(let deadline) = phase else { return false }
    if !output.isEmpty, HostClock.milliseconds >= deadline { dropOutput() }
    return lane.inFlight == 0 && output.isEmpty
  }

  /// Waits for something to happen, and hears of it.
  private func turn() throws(BlockIOError) {
    try lane.run(patience, clock: hostTime, completions: &completions, ready: &ready)
    for completion in completions { finish(completion) }
    completions.removeAll(keepingCapacity: true)
    for tag in ready {
      switch Tag(rawValue: tag) {
      case .socket: try receive()
      case .room:
        isBlocked = false
        if let room { lane.unwatch(room.rawValue) }
      case .stop: try shutDown()
      case nil: break
      }
    }
    ready.removeAll(keepingCapacity: true)
    if isListening, phase != .serving { try listen(false) }
  }

  /// Only offering replies has an end of its own.
  private var patience: Wait {
    guard case .ending(let deadline) = phase, !output.isEmpty else { return .forever }
    let now = HostClock.milliseconds
    return .milliseconds(deadline > now ? Int32(clamping: deadline - now) : 0)
  }

  /// Does what can be done without waiting: replies go, and make room for requests that have come already.
  private func settle() {
    var hasMadeRoom: Bool
    repeat {
      if phase == .serving { parse() }
      hasMadeRoom = send()
    } while needsRoom && hasMadeRoom && phase == .serving
    if phase == .serving, !needsRoom, !isListening {
      do throws(BlockIOError) { try listen(true) } catch { end("\(error)") }
    }
  }

  /// The socket is readable.
  private func receive() throws(BlockIOError) {
    guard phase == .serving else { return }
    guard !needsRoom else { return try listen(false) }
    for _ in 0..<Limits.receivesPerTurn {
      switch fill() {
      case .nothing: return
      case .end: return clientHasGone()
      case .failed(let code): return end(String(cString: strerror(code)))
      case .some: return parse()
      case .full: parse()
      }
      guard phase == .serving, !needsRoom else { return }
    }
  }

  private func fill() -> Received {
    guard case .payload(let request, let count) = reading, let buffer = requests[request].buffer else {
      return input.fill(from: socket)
    }
    let wanted = Int(requests[request].length) - count
    let (received, direct) = input.fill(from: socket, first: buffer.memory + count, wanted)
    reading = .payload(request: request, count: count + direct)
    return received
  }

  private func clientHasGone() {
    if case .header = reading, input.count == 0 { return end(nil) }
    end("the client went in the middle of a request")
  }

  /// The connection comes to its end.
  /// - Parameter reason: nil for an orderly end.
  func end(_ reason: String?) {
    guard phase == .serving else { return }
    phase = .ending(deadline: HostClock.milliseconds + Limits.lingerMilliseconds)
    self.reason = reason
    switch reading {
    case .header: break
    case .payload(let request, _), .skipping(let request, _, _): release(request)
    }
    reading = .header
    needsRoom = false
  }

  /// What has come by now is answered: that it came too late. Then it is the end.
  private func shutDown() throws(BlockIOError) {
    lane.unwatch(stop.descriptor)
    isStopping = true
    try receive()
    parse()
    end(nil)
  }

  private func listen(_ wanted: Bool) throws(BlockIOError) {
    guard wanted != isListening else { return }
    if wanted { try lane.watch(socket, tag: Tag.socket.rawValue) } else { lane.unwatch(socket) }
    isListening = wanted
  }

  /// Sends what the client takes.
  /// - Returns: whether the reply of any request has gone.
  private func send() -> Bool {
    guard !output.isEmpty, !isBlocked else { return false }
    var hasMadeRoom = false
    let sent = output.send(to: socket) { [self] in
      release($0)
      hasMadeRoom = true
    }
    switch sent {
    case .all: break
    case .blocked: waitForRoom()
    case .failed(let code):
      // Replies that nobody takes.
      dropOutput()
      end(String(cString: strerror(code)))
    }
    return hasMadeRoom
  }

  private func waitForRoom() {
    do {
      if room == nil { room = try makeRoomDescriptor() }
      guard let room else { return }
      try lane.watch(room.rawValue, tag: Tag.room.rawValue)
      isBlocked = true
    } catch {
      dropOutput()
      end("\(error)")
    }
  }

  private func makeRoomDescriptor() throws(LinuxError) -> SharedDescriptor {
    let descriptor = Descriptor(
      owning: try retrying("epoll_create1", "") { epoll_create1(CInt(bitPattern: 0o2000000)) })
    var event = epoll_event()
    event.events = UInt32(EPOLLOUT.rawValue)
    _ = try retrying("epoll_ctl", "") {
      epoll_ctl(descriptor.rawValue, EPOLL_CTL_ADD, socket, &event)
    }
    return SharedDescriptor(descriptor)
  }

  /// From now on replies that are not sent are of no use to anybody.
  private func dropOutput() { output.removeAll { [self] in release($0) } }

  /// The reply has gone, or never will.
  func release(_ request: Int) {
    if let buffer = requests[request].buffer { pool.give(buffer) }
    requests.release(request)
  }
}
