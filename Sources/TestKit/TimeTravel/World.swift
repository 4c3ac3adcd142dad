// Several doubles and a controller in one thread.
package import Linux
import Simulation
package import TimeTravel

/// A party of a scripted simulation.
package struct Party: Sendable {
  package enum Kind: Hashable, Sendable {
    /// Another process that behaves as UML.
    case uml(ScriptedClient.Mode)
    /// A client in the controller's own process.
    case local
    /// One that the test brings along: another thread or process.
    case other
  }
  package var name: UInt64
  package var kind: Kind
  /// What it does without being asked: (time, identifier).
  package var events: [UMLClient.Event]

  package init(name: UInt64, kind: Kind, events: [UMLClient.Event] = []) {
    self.name = name
    self.kind = kind
    self.events = events
  }
}

/// What an event makes its party do; identifiers of events are distinct.
package enum Action: Sendable {
  /// Another event of its own, `delay` later.
  case schedule(UInt64, delay: UInt64)
  /// A message to another party, whose handler makes an event of its own, `delay` after now.
  case kick(party: Int, UInt64, delay: UInt64)
  case broadcast(UInt64)
}

/// Something that happened: the same whatever the transports.
package struct Occurrence: Hashable, Sendable, CustomStringConvertible {
  package var time: UInt64
  package var name: UInt64
  package var identifier: UInt64

  package init(time: UInt64, name: UInt64, identifier: UInt64) {
    self.time = time
    self.name = name
    self.identifier = identifier
  }

  package var description: String { "\(time):\(name)/\(identifier)" }
}

/// One message, seen from a client: `7 > REQUEST 100` was sent by it, `7 < ACK 0` received.
package struct TranscriptEntry: CustomStringConvertible {
  package var name: UInt64
  package var isSent: Bool
  package var message: Message

  package var description: String { "\(name) \(isSent ? ">" : "<") \(message.summary)" }
}

extension Message {
  /// `REQUEST 100`; the time is left out where it means nothing.
  package var summary: String {
    let name = operation.map { "\($0)" } ?? "operation \(rawOperation)"
    return time == Message.unusedTime ? name : "\(name) \(time)"
  }
}

/// Runs parties against a controller in one thread, deterministically: a double that would block lets the
/// controller's loop and the other doubles go on.
///
/// A simulation in which nobody can go on is an error at once, not a test that hangs.
package final class World {
  package let loop: EventLoop
  package let controller: Controller
  package private(set) var trace: [Occurrence] = []
  package private(set) var ending: Controller.Ending?
  package private(set) var log: [String] = []
  /// Messages of all remote clients in the order in which the doubles saw them.
  package private(set) var transcript: [TranscriptEntry] = []
  package var checker = TraceChecker()
  /// What events do.
  package var actions: (_ party: Int, _ event: UMLClient.Event) -> [Action] = { _, _ in [] }

  private let parties: [Party]
  /// Something of this simulation goes on outside this thread.
  private let canWait: Bool
  private var players: [any Player] = []
  private var wakers: [EventLoop.Token] = []

  /// - Parameters:
  ///   - path: where the controller listens, for parties that the test brings along.
  ///   - makeOther: makes the party with this index of those.
  package init(
    _ parties: [Party], options: Controller.Options = Controller.Options(), connectOrder: [Int]? = nil,
    path: String? = nil, makeOther: ((Int, World) throws -> any Player)? = nil
  ) throws {
    self.parties = parties
    canWait = makeOther != nil
    loop = try EventLoop()
    var options = options
    options.expectedClients = parties.count { $0.kind != .local }
    controller = try Controller(options: options, path: path, loop: loop)
    controller.onEnd = { [unowned self] in ending = $0 }
    controller.log = { [unowned self] in log.append($0) }
    for (index, party) in parties.enumerated() {
      switch party.kind {
      case .local: players.append(localPlayer(index, party))
      case .uml(let mode): players.append(try remotePlayer(index, party, mode))
      case .other:
        guard let makeOther else { preconditionFailure("nobody makes party \(index)") }
        players.append(try makeOther(index, self))
      }
    }
    for index in connectOrder ?? Array(parties.indices) { players[index].start() }
  }

  /// The double of a remote party.
  package func uml(_ index: Int) -> UMLClient? { (players[index] as? RemotePlayer)?.client }

  /// Goes on until the controller ends the simulation.
  package func run(stepsMax: Int = 1_000_000) throws {
    var steps = 0
    while ending == nil {
      steps += 1
      guard steps < stepsMax else { throw Panic("no end after \(stepsMax) steps") }
      try advance(excluding: nil)
      if let player = players.first(where: \.isRunnable) { try player.resume() }
    }
  }

  /// What happened to a party that the test brings along; performs what follows from it, but for its own
  /// events, which are returned.
  package func perform(_ event: UMLClient.Event, of index: Int, at now: UInt64) throws -> [UMLClient.Event] {
    trace.append(Occurrence(time: now, name: parties[index].name, identifier: event.identifier))
    var own: [UMLClient.Event] = []
    for action in actions(index, event) {
      switch action {
      case .schedule(let identifier, let delay): own.append(.init(time: now + delay, identifier: identifier))
      case .kick(let target, let identifier, let delay):
        try players[target].interrupt(identifier, delay: delay)
      case .broadcast: break
      }
    }
    return own
  }

  /// Lets everything go on until `condition` holds.
  package func wait(until condition: () -> Bool) throws {
    while !condition() { try advance(excluding: nil) }
  }

  /// One round of everything but turns; throws when nothing moved for some rounds.
  private var idleRounds = 0
  private func advance(excluding blocked: UMLClient?) throws {
    // Ten seconds: only for a test that has gone wrong.
    var any = try loop.runOnce(timeout: canWait && idleRounds > 0 ? 5_000 : 0)
    for case let player as RemotePlayer in players where player.client !== blocked {
      if try player.client.serve() { any = true }
    }
    if players.contains(where: \.isRunnable) { any = true }
    idleRounds = any ? 0 : idleRounds + 1
    guard idleRounds < (canWait ? 3 : 10) else {
      throw Panic("nobody can go on: \(transcript.suffix(12)), \(log)")
    }
  }

  private func localPlayer(_ index: Int, _ party: Party) -> any Player {
    let player = LocalPlayer(controller.makeLocalClient(name: party.name), events: party.events)
    player.onEvent = { [unowned self, unowned player] event, now in
      for one in try perform(event, of: index, at: now) { player.insert(one) }
    }
    return player
  }

  private func remotePlayer(_ index: Int, _ party: Party, _ mode: ScriptedClient.Mode) throws -> any Player {
    var mine: CInt = -1
    var theirs: CInt = -1
    try UnixSocket.pair().split {
      mine = $0.release()
      theirs = $1.release()
    }
    try controller.adopt(UnixSocket(owning: Descriptor(owning: theirs)))
    let client = try UMLClient(
      name: party.name, mode: mode, socket: UnixSocket(owning: Descriptor(owning: mine)), events: party.events
    )
    let name = party.name
    // Its socket wakes whoever waits for anything.
    if canWait { wakers.append(try loop.add(client.link.descriptor) {}) }
    client.idle = { [unowned self, unowned client] in try advance(excluding: client) }
    client.link.onMessage = { [unowned self, unowned client] message, isSent in
      transcript.append(TranscriptEntry(name: name, isSent: isSent, message: message))
      checker.observe(client, message, isSent: isSent)
    }
    client.onEvent = { [unowned self, unowned client] event in
      trace.append(Occurrence(time: client.time + client.offset, name: name, identifier: event.identifier))
      for action in actions(index, event) {
        switch action {
        case .schedule(let identifier, let delay):
          try client.add(UMLClient.Event(time: client.time + delay, identifier: identifier))
        case .kick(let target, let identifier, let delay):
          try client.propagateTime()
          if parties[target].kind == .local,
            (players[target] as? LocalPlayer)?.willAsk(client.time + delay) == true
          {
            try client.acknowledgeAhead(requestAt: client.time + delay)
          }
          try players[target].interrupt(identifier, delay: delay)
          // The device's answer is here, and so is FREE_UNTIL if there was one.
          try client.serve()
        case .broadcast(let payload):
          try client.broadcast(payload)
        }
      }
    }
    return RemotePlayer(client)
  }
}

/// A party as the world sees it.
package protocol Player: AnyObject {
  /// It has got the turn.
  var isRunnable: Bool { get }
  func start()
  /// Does what it has to do in its turn.
  func resume() throws
  /// A kick: returns when the party has asked for what it needs.
  func interrupt(_ identifier: UInt64, delay: UInt64) throws
}

private final class RemotePlayer: Player {
  let client: UMLClient
  init(_ client: UMLClient) { self.client = client }
  var isRunnable: Bool { client.isRunnable }
  func start() { client.start() }
  func resume() throws { try client.resume() }
  func interrupt(_ identifier: UInt64, delay: UInt64) throws {
    try client.interrupt(identifier, delay: delay)
  }
}

/// A device in the controller's process: one event a turn, as UML does between two looks at its bound.
private final class LocalPlayer: Player {
  private let client: LocalClient
  private var events: [UMLClient.Event] = []
  private(set) var isRunnable = false
  var onEvent: (UMLClient.Event, _ now: UInt64) throws -> Void = { _, _ in }

  init(_ client: LocalClient, events: [UMLClient.Event]) {
    self.client = client
    for event in events { insert(event) }
    client.onTurn = { [unowned self] in isRunnable = true }
  }

  func start() {
    if let first = events.first { client.requestWake(at: SimulationTime(nanoseconds: first.time)) }
  }

  func insert(_ event: UMLClient.Event) {
    let place = events.firstIndex { $0.time > event.time } ?? events.count
    events.insert(event, at: place)
  }

  /// Whether an event at `time` makes it ask for a turn, since it has no earlier one.
  func willAsk(_ time: UInt64) -> Bool { events.first.map { time < $0.time } ?? true }

  func interrupt(_ identifier: UInt64, delay: UInt64) {
    let time = client.now.nanoseconds + delay
    insert(UMLClient.Event(time: time, identifier: identifier))
    client.requestWake(at: SimulationTime(nanoseconds: time))
  }

  func resume() throws {
    isRunnable = false
    let now = client.now
    if let first = events.first, first.time <= now.nanoseconds {
      events.removeFirst()
      try onEvent(first, now.nanoseconds)
    }
    client.finishTurn(next: events.first.map { SimulationTime(nanoseconds: $0.time) })
  }
}
