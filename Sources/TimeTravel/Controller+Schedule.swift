// Who is next.
import Linux
import Simulation

/// The one order of turns, in every transport.
private struct TurnKey: Comparable {
  let time: SimulationTime
  let member: Member

  static func < (a: TurnKey, b: TurnKey) -> Bool {
    if a.time != b.time { return a.time < b.time }
    return a.member.isBefore(b.member)
  }

  static func == (a: TurnKey, b: TurnKey) -> Bool { a.time == b.time && a.member === b.member }
}

extension Member {
  /// Who goes first when all else is equal: priority, then name, then arrival.
  fileprivate func isBefore(_ other: Member) -> Bool {
    if priority != other.priority { return priority < other.priority }
    if name != other.name { return name < other.name }
    return arrival < other.arrival
  }
}

extension Controller {
  /// A bound for a runner whom nobody else waits for: far, and yet no overflow when a client adds to it.
  private static let far = SimulationDuration(nanoseconds: 1 << 62)

  /// Decides who runs next, after the present handlers: turns never nest.
  func setNeedsDispatch() {
    guard !isDispatchPending else { return }
    isDispatchPending = true
    loop.afterHandlers(dispatchBody)
  }

  /// The turn comes back to the controller.
  func surrenderTurn() {
    running?.toldFreeUntil = nil
    running?.agreedFreeUntil = nil
    if running?.state == .running { running?.state = .waiting }
    running = nil
    schedule.runningSlot = 0
  }

  func dispatch() {
    isDispatchPending = false
    guard running == nil, !hasEnded else { return }
    if !hasBegun {
      guard members.count(where: { $0.state == .ready }) >= options.expectedClients else { return }
      hasBegun = true
    }
    if let next = members.filter({ $0.state == .ready }).min(by: { $0.isBefore($1) }) { return boot(next) }
    var first: TurnKey?
    var second: SimulationTime = .never
    for member in members {
      guard let time = pending(member) else { continue }
      guard time >= clock else {
        drop(member, "it asked for \(time), which is past: it is \(clock)")
        return setNeedsDispatch()
      }
      let key = TurnKey(time: time, member: member)
      if let best = first {
        second = min(second, max(best, key).time)
        first = min(best, key)
      } else {
        first = key
      }
    }
    // A client that asked for the end of time has nothing to do; it must never be run then.
    if let first, first.time.nanoseconds < Limits.idleForever {
      return run(first.member, at: first.time, until: second)
    }
    conclude()
  }

  private func boot(_ member: Member) {
    guard let start = member.unanswered else { return drop(member, "it did not ask to be started") }
    member.state = .running
    member.offset = SimulationDuration(nanoseconds: clock.nanoseconds)
    running = member
    schedule.runningSlot = member.slot
    schedule.currentTime = clock
    // Only it may say so, and only from now on.
    schedule.setCapable(member.slot, false)
    // While others have yet to boot at this very time, it must not move on.
    bound = members.contains { $0.state == .ready } ? clock : earliestRequest(except: member)
    schedule.freeUntil = reachable(bound)
    acknowledge(
      start, to: member, time: isOffering ? UInt64(member.slot) : 0,
      descriptors: [schedule.memoryDescriptor, options.logDescriptor])
  }

  private func run(_ member: Member, at time: SimulationTime, until limit: SimulationTime) {
    clock = time
    bound = limit
    running = member
    member.state = .running
    member.request = nil
    schedule.currentTime = time
    schedule.freeUntil = reachable(limit)
    schedule.runningSlot = member.slot
    schedule.setRequest(of: member.slot, to: nil)
    let takesPart = isShared(member) || member.local != nil
    if schedule.isCapable(member.slot) != takesPart {
      reportTampering(
        member, takesPart ? "its capability is gone" : "it has a capability that it does not claim")
      schedule.setCapable(member.slot, takesPart)
    }
    if let client = member.local {
      client.onTurn?()
      return
    }
    if !isShared(member), sendFreeUntil(reachable(limit), to: member) == nil { return }
    send(.run, to: member, time: local(time, member))
  }

  /// The earliest time at which anybody but `member` wants to run.
  func earliestRequest(except member: Member, from beginning: SimulationTime = .zero) -> SimulationTime {
    var earliest = SimulationTime.never
    for other in members where other !== member {
      if let time = pending(other), time >= beginning { earliest = min(earliest, time) }
    }
    return earliest
  }

  private func pending(_ member: Member) -> SimulationTime? {
    guard member.state == .waiting else { return nil }
    if member.isPassive, clientCount == 0 { return nil }
    if isShared(member) { return schedule.request(of: member.slot) }
    // It was not in the past when it was made; the runner may have gone on before it heard of it.
    return member.request.map { max($0, clock) }
  }

  private func reachable(_ limit: SimulationTime) -> SimulationTime { min(limit, clock + Self.far) }

  /// Nobody can run: over, unless somebody is about to come.
  private func conclude() {
    if members.contains(where: { $0.state == .connected }) { return }
    hasEnded = true
    let stuck = members.filter { (pending($0)?.nanoseconds ?? 0) >= Limits.idleForever }
    onEnd?(
      stuck.isEmpty ? .finished : .stuck(stuck.map { "\($0.label) waits for an interrupt, at \(clock)" }))
  }
}
