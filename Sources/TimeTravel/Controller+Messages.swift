// What clients say, and what it means.
import Simulation

extension Controller {
  func handle(_ message: Message, from member: Member) {
    guard let operation = message.operation else {
      return drop(member, "unknown operation \(message.rawOperation)")
    }
    if operation == .acknowledge { return acknowledged(message, by: member) }
    if operation == .start { return start(message, member) }
    guard member.hasStarted else { return drop(member, "\(operation) before it was started") }
    guard member.unanswered == nil else {
      return drop(member, "\(operation) before the answer to its last message")
    }
    member.unanswered = message.sequence
    // Its first message tells for good whether it took the shared schedule.
    if member.usesShared == nil { member.usesShared = isShared(member) }
    switch operation {
    case .request: request(message, member)
    case .wait: wait(message, member)
    case .get: acknowledge(message.sequence, to: member, time: local(now, member))
    case .update: update(message, member)
    case .getTimeOfDay:
      acknowledge(message.sequence, to: member, time: options.timeAtStart &+ now.nanoseconds)
    case .broadcast: broadcast(message, member)
    case .run, .freeUntil: drop(member, "\(operation) is for the controller to say")
    case .start, .acknowledge: break
    }
  }

  var isOffering: Bool { options.transport == .sharedMemory }

  /// Whether the client uses the shared schedule. One that has just booted may run for long before its first
  /// message: until then what it wrote into its slot tells.
  func isShared(_ member: Member) -> Bool {
    member.usesShared ?? (member.hasStarted && isOffering && schedule.isCapable(member.slot))
  }

  private func start(_ message: Message, _ member: Member) {
    guard member.state == .connected else { return drop(member, "START twice") }
    member.name = message.time
    member.priority = options.priorities[message.time] ?? Self.defaultPriority
    member.unanswered = message.sequence
    member.state = .ready
    schedule.setName(of: member.slot, to: message.time)
    setNeedsDispatch()
  }

  private func request(_ message: Message, _ member: Member) {
    // Times in messages are the client's own, also those of UML in shared memory: it does not add its offset.
    let time = SimulationTime(nanoseconds: message.time) + member.offset
    guard time >= now else {
      return drop(member, "REQUEST for \(time), which is past: it is \(now)")
    }
    member.request = time
    schedule.setRequest(of: member.slot, to: time)
    lowerBound(to: time, for: member, sequence: message.sequence)
  }

  /// Somebody wants to run at `time`: the runner must know before it goes on, and the asker's REQUEST is
  /// acknowledged only then. A local asker (no `sequence`) returns when the runner knows.
  func lowerBound(to time: SimulationTime, for member: Member, sequence: UInt32?) {
    func settle() {
      if let sequence { acknowledge(sequence, to: member) }
      if running == nil { setNeedsDispatch() }
    }
    guard let runner = running, runner !== member else { return settle() }
    bound = min(bound, time)
    if time < schedule.freeUntil { schedule.freeUntil = time }
    if isShared(runner) { return settle() }
    guard runner.channel != nil, let told = runner.toldFreeUntil, time < told else { return settle() }
    let then: Member.Continuation = sequence.map { .acknowledge(member, sequence: $0) } ?? .nothing
    guard let awaited = sendFreeUntil(time, to: runner, then: then) else { return }
    guard sequence == nil else { return }
    // We hold the runner in a call of ours (it waits for our reply to a kick and serves us meanwhile).
    while runner.expected.contains(where: { $0.sequence == awaited }) {
      do throws(TimeTravelError) {
        guard let answer = try runner.channel?.receiveBlocking(after: "FREE_UNTIL") else {
          return
        }
        handle(answer, from: runner)
      } catch {
        return lost(runner, error)
      }
    }
  }

  private func wait(_ message: Message, _ member: Member) {
    guard running === member else { return drop(member, "WAIT without the turn") }
    let isShared = isShared(member)
    if isShared {
      if schedule.runningSlot != member.slot {
        reportTampering(member, "running_id is \(schedule.runningSlot) in its turn")
      }
      let reached = schedule.currentTime
      // A request before this turn began is the fault of whoever wrote it: it does not bind us.
      let limit = max(min(bound, earliestRequest(except: member, from: clock)), clock)
      guard reached >= clock, reached <= limit else {
        return drop(member, "its clock went to \(reached); it was free from \(clock) until \(limit)")
      }
      clock = reached
      member.unanswered = nil
    }
    releaseAskers(of: member)
    surrenderTurn()
    if !isShared { acknowledge(message.sequence, to: member) }
    setNeedsDispatch()
  }

  /// Answers those who wait until the runner knows their request: it has given its turn away, so that it need
  /// not. They may be run next, and must have the answer before RUN.
  private func releaseAskers(of member: Member) {
    for index in member.expected.indices {
      member.expected[index].freeUntil = nil
      guard case .acknowledge(let asker, let sequence) = member.expected[index].then else { continue }
      member.expected[index].then = .nothing
      acknowledge(sequence, to: asker)
    }
  }

  private func update(_ message: Message, _ member: Member) {
    let time = SimulationTime(nanoseconds: message.time) + member.offset
    guard running === member else { return drop(member, "UPDATE without the turn") }
    // A lower bound may be under way to it: it is bound by the one that it has acknowledged.
    let limit = max(bound, member.agreedFreeUntil ?? .zero, clock)
    guard time >= now, time <= limit else {
      return drop(member, "UPDATE to \(time); it was free from \(clock) until \(limit)")
    }
    clock = time
    schedule.currentTime = time
    acknowledge(message.sequence, to: member)
  }

  /// Somebody wrote into the shared schedule what is not his: one line, once for each client that it
  /// concerns, since nobody can tell who it was.
  func reportTampering(_ member: Member, _ what: String) {
    guard !member.isTamperingReported else { return }
    member.isTamperingReported = true
    log("the shared schedule was overwritten: \(what) (\(member.label))")
  }

  private func broadcast(_ message: Message, _ sender: Member) {
    let broadcast = Broadcast(sender: sender, sequence: message.sequence)
    // One more than there are receivers, so that it cannot be complete before all were sent to.
    broadcast.receivers = 1
    for member in members where member !== sender && member.hasStarted && member.channel != nil {
      broadcast.receivers += 1
      _ = send(.broadcast, to: member, time: message.time, then: .delivered(broadcast))
    }
    carryOut(.delivered(broadcast))
  }

  private func acknowledged(_ message: Message, by member: Member) {
    guard let first = member.expected.first, first.sequence == message.sequence else {
      return drop(member, "an ACK of message \(message.sequence), which does not wait for one")
    }
    member.expected.removeFirst()
    if let bound = first.freeUntil { member.agreedFreeUntil = bound }
    carryOut(first.then)
  }

  func carryOut(_ continuation: Member.Continuation) {
    switch continuation {
    case .nothing: break
    case .acknowledge(let member, let sequence): acknowledge(sequence, to: member)
    case .delivered(let broadcast):
      broadcast.receivers -= 1
      if broadcast.receivers == 0 { acknowledge(broadcast.sequence, to: broadcast.sender) }
    }
  }

  /// A time of ours as the client counts it.
  func local(_ time: SimulationTime, _ member: Member) -> UInt64 {
    time.since(SimulationTime(nanoseconds: member.offset.nanoseconds)).nanoseconds
  }

  /// Tells the runner how far it may go; nil when it has gone.
  func sendFreeUntil(
    _ time: SimulationTime, to runner: Member, then: Member.Continuation = .nothing
  ) -> UInt32? {
    runner.toldFreeUntil = time
    let sequence = send(.freeUntil, to: runner, time: local(time, runner), then: then)
    if sequence != nil { runner.expected[runner.expected.count - 1].freeUntil = time }
    return sequence
  }

  /// Sends a message that the client acknowledges; nil when the client has gone.
  @discardableResult
  func send(
    _ operation: Operation, to member: Member, time: UInt64, then: Member.Continuation = .nothing
  ) -> UInt32? {
    do throws(TimeTravelError) {
      guard let sequence = try member.channel?.send(operation, time: time) else {
        carryOut(then)
        return nil
      }
      // In shared memory RUN is not acknowledged.
      if !(operation == .run && isShared(member)) {
        member.expected.append(Member.Expected(sequence: sequence, then: then))
      }
      return sequence
    } catch {
      carryOut(then)
      lost(member, error)
      return nil
    }
  }

  func acknowledge(_ sequence: UInt32, to member: Member, time: UInt64 = 0, descriptors: [CInt] = []) {
    member.unanswered = nil
    do throws(TimeTravelError) {
      try member.channel?.acknowledge(sequence, time: time, descriptors: descriptors)
    } catch {
      lost(member, error)
    }
  }
}
