// The calendar: who runs, and until when.
package import Linux
package import Simulation

/// The controller of external time travel ("calendar").
///
/// It gives the turn to one client at a time, in the order (time, priority, name, arrival) of their requests,
/// in message mode and in shared memory alike. Clients are other processes, or live in this one
/// (`LocalClient`) and cost no message. A client that breaks the protocol loses its connection; the run goes
/// on.
///
/// Files: this one holds the state, `+Connections` clients that come and go, `+Messages` what they say,
/// `+Schedule` who is next.
package final class Controller {
  /// How time is shared with clients of other processes.
  package enum Transport: String, CaseIterable, Sendable {
    /// `schedshm`, for clients that know it; the others are served by messages.
    case sharedMemory = "shared-memory"
    /// Messages only.
    case message
  }

  package struct Options {
    package var transport = Transport.sharedMemory
    /// Clients of other processes to wait for before anybody boots.
    package var expectedClients = 1
    /// What GET_TOD answers at simulated time zero, ns since 1970.
    package var timeAtStart: UInt64 = 0
    /// Ties at one time go to the lower number first; clients not named here have `defaultPriority`.
    package var priorities: [UInt64: UInt8] = [:]
    /// Every client gets a descriptor of this file for its log lines.
    package var logDescriptor: CInt = 1

    package init() {}
  }

  package static let defaultPriority: UInt8 = 100

  /// Why the simulation ended.
  package enum Ending: Equatable {
    /// No client is left, or those that are left have nothing more to do.
    case finished
    /// Clients wait for ever; a line for each says for what.
    case stuck([String])
  }

  /// Called once, when nobody can ever run again.
  package var onEnd: ((Ending) -> Void)?
  /// Takes one line for each thing that went wrong.
  package var log: (String) -> Void = { _ in }

  let options: Options
  let loop: EventLoop
  let schedule: SharedSchedule
  var listener: UnixListener?
  var listenerToken: EventLoop.Token?

  /// Everybody, in the order in which they came.
  var members: [Member] = []
  var running: Member?
  /// The controller's own record of simulated time; a client in shared memory may be ahead of it while it
  /// runs.
  var clock = SimulationTime.zero
  /// Up to where the running client may move its clock.
  var bound = SimulationTime.zero
  var hasBegun = false
  var hasEnded = false
  var isDispatchPending = false
  /// Made once: a turn costs no allocation.
  lazy var dispatchBody: () -> Void = { [weak self] in self?.dispatch() }
  var arrivals: UInt64 = 0
  var messagesOfDeparted: UInt64 = 0

  /// - Parameter path: where to listen; nil for a controller whose clients are all handed to `adopt`.
  package init(options: Options, path: String?, loop: EventLoop) throws(LinuxError) {
    self.options = options
    self.loop = loop
    schedule = try SharedSchedule(clientsMax: Limits.clientsMax, offered: options.transport == .sharedMemory)
    if let path {
      let listener = try UnixListener(path: path)
      listenerToken = try loop.add(listener.descriptor.rawValue) { [unowned self] in acceptAll() }
      self.listener = consume listener
    }
  }

  deinit {
    if let listenerToken { loop.remove(listenerToken) }
    for member in members { if let token = member.token { loop.remove(token) } }
  }

  /// Messages exchanged with clients so far, acknowledgements included.
  package var messageCount: UInt64 {
    members.reduce(messagesOfDeparted) { $0 + ($1.channel?.messageCount ?? 0) }
  }

  /// Simulated time. Never decreases.
  package var now: SimulationTime {
    if let running, isShared(running) {
      // Clamped: the runner may write anything there. Kept: it may write something smaller next.
      clock = min(max(clock, schedule.currentTime), max(bound, clock))
    }
    return clock
  }

  /// How many clients of other processes are connected.
  package var clientCount: Int { members.count { $0.channel != nil } }
}

/// A client as the controller sees it.
final class Member {
  enum State { case connected, ready, running, waiting, gone }

  /// An acknowledgement that we wait for, in the order of our messages to this client.
  struct Expected {
    let sequence: UInt32
    /// The bound it agrees to with it.
    var freeUntil: SimulationTime?
    /// What has to be said to somebody else once it has come.
    var then: Continuation = .nothing
  }

  enum Continuation {
    case nothing
    /// Acknowledge this message of that member.
    case acknowledge(Member, sequence: UInt32)
    /// One fewer receiver of a broadcast.
    case delivered(Broadcast)
  }

  let slot: SharedSchedule.Slot
  let arrival: UInt64
  var channel: MessageChannel?
  var token: EventLoop.Token?
  weak var local: LocalClient?
  /// Whether what it wants keeps nobody else going.
  var isPassive = false
  var state = State.connected
  /// From START: what it is called on its own command line (`time-travel=ext:<name>:…`).
  var name = UInt64.max
  var priority = Controller.defaultPriority
  /// Whether it uses the shared schedule; nil until its first message after START settles it.
  var usesShared: Bool?
  /// Our time when it booted: its own clock begins there.
  var offset = SimulationDuration.zero
  /// When it wants to run (our time), for clients that tell us by message or by call.
  var request: SimulationTime?
  /// The last bound it was told, in our time, since its last turn began.
  var toldFreeUntil: SimulationTime?
  /// The last bound that it has acknowledged, in our time, since its last turn began.
  var agreedFreeUntil: SimulationTime?
  /// Its message that has no acknowledgement yet; clients send one at a time.
  var unanswered: UInt32?
  var expected: [Expected] = []
  var isTamperingReported = false

  init(slot: SharedSchedule.Slot, arrival: UInt64, channel: consuming MessageChannel?) {
    self.slot = slot
    self.arrival = arrival
    self.channel = channel
  }

  var hasStarted: Bool { state == .running || state == .waiting }
  var label: String { name == .max ? "client \(slot)" : "client \(name)" }
}

/// A broadcast under way.
final class Broadcast {
  let sender: Member
  let sequence: UInt32
  var receivers = 0

  init(sender: Member, sequence: UInt32) {
    self.sender = sender
    self.sequence = sequence
  }
}
