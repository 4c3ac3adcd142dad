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
    loop.afterHandlers { [weak self] in self?.dispatch() }
  }

  /// The turn comes back to the controller.
  func surrenderTurn() {
    running?.toldFreeUntil = nil
    if running?.state == .running { running?.state = .waiting }
    running = nil
    schedule.runningSlot = 0
  }

  private func dispatch() {
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
    member.state = .running
    member.offset = SimulationDuration(nanoseconds: clock.nanoseconds)
    running = member
    schedule.runningSlot = member.slot
    schedule.currentTime = clock
    // While others have yet to boot at this very time, it must not move on.
    bound = members.contains { $0.state == .ready } ? clock : earliestRequest(except: member)
    schedule.freeUntil = reachable(bound)
    acknowledge(
      member.startSequence, to: member, time: isOffering ? UInt64(member.slot) : 0,
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
    if let client = member.local {
      client.onTurn?()
      return
    }
    if !member.isShared {
      schedule.setRequest(of: member.slot, to: nil)
      member.toldFreeUntil = reachable(limit)
      guard send(.freeUntil, to: member, time: local(reachable(limit), member)) != nil else { return }
    }
    send(.run, to: member, time: local(time, member))
  }

  /// The earliest time at which anybody but `member` wants to run.
  func earliestRequest(except member: Member) -> SimulationTime {
    members.reduce(.never) { $1 === member ? $0 : min($0, pending($1) ?? .never) }
  }

  private func pending(_ member: Member) -> SimulationTime? {
    guard member.state == .waiting else { return nil }
    return member.isShared ? schedule.request(of: member.slot) : member.request
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
