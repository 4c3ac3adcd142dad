// Rules that hold on every trace of time-travel messages.
import Simulation
package import TimeTravel

/// Watches what well-behaved clients and their controller say, as the clients see it, and notes what must
/// never happen (TIME-TRAVEL.md section 7).
package struct TraceChecker {
  /// One line for each broken rule.
  package private(set) var violations: [String] = []
  private var clients: [UInt64: State] = [:]
  private var holder: UInt64?
  private var now: UInt64 = 0

  private struct State {
    var hasStarted = false
    var client: UMLClient?
    /// Its request, told by message, in the controller's time.
    var request: UInt64?
    var bound: UInt64?
    var startSequence: UInt32?
    var unacknowledged: [UInt32] = []
  }

  package init() {}

  /// Call it with every message that `client` sends and receives.
  package mutating func observe(_ client: UMLClient, _ message: Message, isSent: Bool) {
    let name = client.name
    var state = clients[name] ?? State()
    state.client = client
    let time = message.time &+ client.offset
    defer { clients[name] = state }
    func note(_ rule: String) -> String { "\(name): \(message.summary): \(rule)" }

    switch (message.operation, isSent) {
    case (.start, true): state.startSequence = message.sequence
    case (.acknowledge, true):
      if state.unacknowledged.first != message.sequence {
        // One that was sent ahead answers the next message.
        state.unacknowledged.append(message.sequence)
      } else {
        state.unacknowledged.removeFirst()
      }
    case (.acknowledge, false):
      if !state.hasStarted, message.sequence == state.startSequence {
        state.hasStarted = true
        if let holder { violations.append(note("booted in the turn of \(holder)")) }
        holder = name
      }
    case (.request, true):
      if time < now { violations.append(note("asks for the past, \(now)")) }
      state.request = time
    case (.update, true):
      if holder != name { violations.append(note("has not the turn")) }
      if time < now { violations.append(note("time decreases from \(now)")) }
      if let first = earliest(except: name), time > max(first, now) {
        violations.append(note("past \(first)"))
      }
      now = max(now, time)
    case (.wait, true):
      if holder != name { violations.append(note("has not the turn")) }
      holder = nil
      state.bound = nil
    case (.freeUntil, false):
      if !state.hasStarted { violations.append(note("has not been started")) }
      state.bound = time
      received(message.sequence, &state)
    case (.run, false):
      if let holder { violations.append(note("in the turn of \(holder)")) }
      if time < now { violations.append(note("time decreases from \(now)")) }
      if let first = earliest(except: name), time > first {
        violations.append(note("before a request for \(first)"))
      }
      if client.link.schedule == nil, state.bound == nil { violations.append(note("without FREE_UNTIL")) }
      now = max(now, time)
      holder = name
      state.request = nil
      if client.link.schedule == nil { received(message.sequence, &state) }
    case (.broadcast, false): received(message.sequence, &state)
    case (.broadcast, true), (.get, true), (.getTimeOfDay, true): break
    default: violations.append(note("not a message of this side"))
    }
  }

  private func received(_ sequence: UInt32, _ state: inout State) {
    if state.unacknowledged.first == sequence {
      state.unacknowledged.removeFirst()
    } else {
      state.unacknowledged.append(sequence)
    }
  }

  /// The first request of anybody else, in messages or in shared memory.
  private func earliest(except name: UInt64) -> UInt64? {
    var result: UInt64?
    for (other, state) in clients where other != name {
      var time = state.request
      if let client = state.client, client.link.schedule != nil {
        time = client.link.schedule?.request(of: client.link.slot)?.nanoseconds
      }
      result = [result, time].compactMap { $0 }.min()
    }
    return result
  }
}
