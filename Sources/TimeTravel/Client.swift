// A client of a calendar controller in another process.
package import Linux
package import Simulation

/// A client of external time travel: message mode or shared memory, whichever the controller's answer to
/// START brings.
///
/// It asks once for each point at which it wants to run. Blocking waits are only for acknowledgements that
/// the protocol promises at once; while it waits it serves the controller (FREE_UNTIL, BROADCAST).
package final class Client: SimulationClient {
  package var onTurn: (() -> Void)?
  /// Called once when the controller has gone or broke the protocol; nothing is called afterwards.
  package var onFailure: ((TimeTravelError) -> Void)?

  private let loop: EventLoop
  private var token: EventLoop.Token?
  private var channel: MessageChannel
  private var schedule: SharedSchedule?
  private var slot: SharedSchedule.Slot = 0
  /// Shared time minus our own: shared memory knows the controller's time only. Zero in message mode, where
  /// the controller converts.
  private var offset: UInt64 = 0

  private enum State { case starting, waiting, running, failed }
  private var state = State.starting
  private var startSequence: UInt32 = 0
  private var clock = SimulationTime.zero
  /// Exclusive bound of our clock in message mode; known while we run.
  private var toldFreeUntil: SimulationTime?
  private var requested: SimulationTime?
  /// What `finishTurn` asked for, until it is carried out: turns must not nest.
  private var finished: (next: SimulationTime?, ())?
  private var isTakingTurns = false
  /// Made once: a turn costs no allocation.
  private lazy var takeTurnBody: () -> Void = { [weak self] in
    guard let self, state == .running else { return }
    onTurn?()
  }

  /// Connects, and names itself `identifier`: START is sent at once, the answer comes when it is our turn to
  /// boot.
  package init(controllerPath: String, identifier: UInt64, loop: EventLoop) throws(TimeTravelError) {
    self.loop = loop
    do throws(LinuxError) {
      channel = try MessageChannel(owning: try UnixSocket.connect(to: controllerPath))
    } catch { throw .system(error) }
    startSequence = try channel.send(.start, time: identifier)
    do throws(LinuxError) {
      token = try loop.add(channel.socket.descriptor.rawValue) { [unowned self] in readable() }
    } catch { throw .system(error) }
  }

  deinit { if let token { loop.remove(token) } }

  package var messageCount: UInt64 { channel.messageCount }

  /// Whether the controller shares its schedule with us.
  package var isShared: Bool { schedule != nil }

  package var now: SimulationTime {
    if state == .waiting {
      if schedule != nil {
        clock = local(schedule?.currentTime ?? clock)
      } else if let time = exchange(.get) {
        clock = SimulationTime(nanoseconds: time)
      }
    }
    return clock
  }

  package func requestWake(at time: SimulationTime) {
    if let requested, requested <= time { return }
    requested = time
    if state == .waiting { transmitRequest(time) }
  }

  package func finishTurn(next: SimulationTime?) {
    guard state == .running else { return }
    finished = (next, ())
    guard !isTakingTurns else { return }
    isTakingTurns = true
    defer { isTakingTurns = false }
    while state == .running, let (next, _) = finished {
      finished = nil
      if let next, requested.map({ next < $0 }) ?? true { requested = next }
      guard let time = requested, time < freeUntil else { return giveTurnAway() }
      requested = nil
      move(to: time)
      if state == .running { onTurn?() }
    }
  }

  // MARK: - Time

  private var freeUntil: SimulationTime {
    if let bound = schedule?.freeUntil { return local(bound) }
    return toldFreeUntil ?? .zero
  }

  private func local(_ shared: SimulationTime) -> SimulationTime {
    SimulationTime(nanoseconds: shared.nanoseconds > offset ? shared.nanoseconds - offset : 0)
  }

  private func move(to time: SimulationTime) {
    guard time > clock else { return }
    clock = time
    if schedule != nil {
      schedule?.currentTime = time + SimulationDuration(nanoseconds: offset)
    } else {
      _ = exchange(.update, time: time.nanoseconds)
    }
  }

  private func transmitRequest(_ time: SimulationTime) {
    let shared = time + SimulationDuration(nanoseconds: offset)
    let isStored: Bool? = {
      guard let running = schedule?.runningSlot, schedule?.isCapable(running) == true else { return nil }
      schedule?.setRequest(of: slot, to: shared)
      if running != slot, let bound = schedule?.freeUntil, shared < bound { schedule?.freeUntil = shared }
      return true
    }()
    if isStored == nil { _ = exchange(.request, time: time.nanoseconds) }
  }

  private func giveTurnAway() {
    if let requested { transmitRequest(requested) }
    guard state == .running else { return }
    state = .waiting
    toldFreeUntil = nil
    if schedule != nil {
      attempt { () throws(TimeTravelError) in try channel.send(.wait) }
    } else {
      _ = exchange(.wait)
    }
  }

  // MARK: - Messages

  /// Sends a message and waits for its acknowledgement, serving the controller meanwhile.
  /// - Returns: the acknowledgement's time; nil when the controller has gone.
  private func exchange(_ operation: Operation, time: UInt64 = Message.unusedTime) -> UInt64? {
    guard state != .failed else { return nil }
    var result: UInt64?
    attempt { () throws(TimeTravelError) in
      let sequence = try channel.send(operation, time: time)
      while result == nil, state != .failed {
        let message = try channel.receiveBlocking(after: "\(operation)")
        if message.operation == .acknowledge {
          // Another sequence number answers nothing that we still wait for.
          if message.sequence == sequence { result = message.time }
        } else {
          try serve(message)
        }
      }
    }
    return result
  }

  private func readable() {
    attempt { () throws(TimeTravelError) in
      if state == .starting {
        var descriptors: [CInt] = []
        defer { for one in descriptors { _ = Descriptor(owning: one) } }
        guard let message = try channel.receive(take: { descriptors.append($0.release()) }) else { return }
        if message.operation == .acknowledge, message.sequence == startSequence {
          return started(
            slot: SharedSchedule.Slot(truncatingIfNeeded: message.time), descriptors: &descriptors)
        }
        return try serve(message)
      }
      guard state != .failed, let message = try channel.receive() else { return }
      if message.operation != .acknowledge { try serve(message) }
    }
  }

  private func started(slot: SharedSchedule.Slot, descriptors: inout [CInt]) {
    if !descriptors.isEmpty {
      let memory = Descriptor(owning: descriptors.removeFirst())
      self.slot = slot
      schedule = SharedSchedule.open(memory, slot: slot)
      offset = schedule?.currentTime.nanoseconds ?? 0
      schedule?.setCapable(slot)
    }
    state = .running
    clock = .zero
    giveTurnAway()
  }

  private func serve(_ message: Message) throws(TimeTravelError) {
    switch message.operation {
    case .run:
      guard state == .waiting else { throw .protocolViolation("RUN for a client that does not wait") }
      state = .running
      requested = nil
      if schedule != nil {
        schedule?.setRequest(of: slot, to: nil)
        clock = local(schedule?.currentTime ?? clock)
      } else {
        clock = SimulationTime(nanoseconds: message.time)
        try channel.acknowledge(message.sequence)
      }
      // Not here: we may be inside a request of a device that is in the middle of something.
      loop.afterHandlers(takeTurnBody)
    case .freeUntil:
      toldFreeUntil = SimulationTime(nanoseconds: message.time)
      try channel.acknowledge(message.sequence)
    case .broadcast:
      try channel.acknowledge(message.sequence)
    default:
      throw .protocolViolation("operation \(message.rawOperation) from the controller")
    }
  }

  private func attempt(_ body: () throws(TimeTravelError) -> Void) {
    do throws(TimeTravelError) {
      try body()
    } catch {
      guard state != .failed else { return }
      state = .failed
      if let token { loop.remove(token) }
      token = nil
      loop.afterHandlers { [weak self] in self?.onFailure?(error) }
    }
  }
}
