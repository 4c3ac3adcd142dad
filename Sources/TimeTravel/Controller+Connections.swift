// Clients that come and go.
package import Linux
package import Simulation

extension Controller {
  /// Takes over a connected client.
  package func adopt(_ socket: consuming UnixSocket) throws(LinuxError) {
    guard let slot = vacantSlot() else {
      log("a client was turned away: all \(Limits.clientsMax) places are taken")
      return
    }
    let channel = try MessageChannel(owning: socket)
    let descriptor = channel.socket.descriptor.rawValue
    let member = Member(slot: slot, arrival: nextArrival(), channel: channel)
    member.token = try loop.add(descriptor) { [unowned self, unowned member] in readOne(member) }
    members.append(member)
  }

  /// A client that lives in this process: it takes part like any other, and costs no message.
  /// - Parameters:
  ///   - priority: nil takes the one that the options give to its name.
  ///   - isPassive: whether the simulation is over when only such clients have something to do.
  package func makeLocalClient(
    name: UInt64, priority: UInt8? = nil, isPassive: Bool = false
  ) -> LocalClient {
    guard let slot = vacantSlot() else { preconditionFailure("local clients are made before remote ones") }
    let member = Member(slot: slot, arrival: nextArrival(), channel: nil)
    let client = LocalClient(controller: self, member: member)
    member.local = client
    member.name = name
    member.priority = priority ?? options.priorities[name] ?? Self.defaultPriority
    member.isPassive = isPassive
    member.state = .waiting
    member.usesShared = false
    schedule.setName(of: slot, to: name)
    // So that clients who want something while it runs write it down instead of sending it.
    schedule.setCapable(slot)
    members.append(member)
    return client
  }

  /// Whether a client of this name takes part.
  package func isPresent(name: UInt64) -> Bool {
    members.contains { $0.name == name && $0.local == nil }
  }

  /// Forgets the client of this name at once: its machine has lost its power, and the news of its end would
  /// come at some time of the host's choice.
  package func dismiss(name: UInt64) {
    if let member = members.first(where: { $0.name == name && $0.local == nil }) { forget(member) }
  }

  /// Ends a client's connection for its own fault.
  func drop(_ member: Member, _ reason: String) {
    guard member.state != .gone else { return }
    log("\(member.label) was disconnected: \(reason)")
    forget(member)
  }

  /// Forgets a client, whatever it was doing; the others go on.
  func forget(_ member: Member) {
    guard member.state != .gone else { return }
    if running === member {
      clock = now
      surrenderTurn()
    }
    member.state = .gone
    if let token = member.token { loop.remove(token) }
    messagesOfDeparted += member.channel?.messageCount ?? 0
    member.channel = nil
    members.removeAll { $0 === member }
    schedule.clear(member.slot)
    let owed = member.expected
    member.expected = []
    for one in owed { carryOut(one.then) }
    setNeedsDispatch()
  }

  func acceptAll() {
    do throws(LinuxError) {
      while let socket = try listener?.accept() { try adopt(socket) }
    } catch {
      log("a client could not be accepted: \(error)")
    }
  }

  /// One message for each wake-up: who sent more is heard again, after the others. (Looking whether there is
  /// more would cost a system call a turn, and there hardly ever is.)
  private func readOne(_ member: Member) {
    do throws(TimeTravelError) {
      guard let message = try member.channel?.receive() else { return }
      handle(message, from: member)
    } catch {
      lost(member, error)
    }
  }

  /// The connection failed, or ended; the end is no fault.
  func lost(_ member: Member, _ error: TimeTravelError) {
    if case .disconnected = error { forget(member) } else { drop(member, error.description) }
  }

  private func vacantSlot() -> SharedSchedule.Slot? {
    var taken = [Bool](repeating: false, count: Limits.clientsMax + 1)
    for member in members { taken[Int(member.slot)] = true }
    return (1...Limits.clientsMax).first { !taken[$0] }.map { SharedSchedule.Slot($0) }
  }

  private func nextArrival() -> UInt64 {
    arrivals += 1
    return arrivals
  }
}

/// A client in the controller's own process: its requests and turns are calls.
package final class LocalClient: SimulationClient {
  package var onTurn: (() -> Void)?
  private weak var controller: Controller?
  private let member: Member

  init(controller: Controller, member: Member) {
    self.controller = controller
    self.member = member
  }

  deinit { controller?.forget(member) }

  package var now: SimulationTime { controller?.now ?? .zero }

  package var messageCount: UInt64 { 0 }

  package func requestWake(at time: SimulationTime) {
    guard let controller else { return }
    if let request = member.request, request <= time { return }
    member.request = time
    if controller.running !== member { controller.lowerBound(to: time, for: member, sequence: nil) }
  }

  /// Asks to be woken at `time` and at no other, nil for never: what was asked for before has no object left.
  package func replaceWake(by time: SimulationTime?) {
    member.request = nil
    if let time { requestWake(at: time) }
  }

  package func finishTurn(next: SimulationTime?) {
    guard let controller, controller.running === member else { return }
    if let next { requestWake(at: next) }
    controller.surrenderTurn()
    controller.setNeedsDispatch()
  }
}
