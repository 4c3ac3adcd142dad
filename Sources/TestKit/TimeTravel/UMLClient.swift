// A time-travel client that behaves as UML does, without UML.
package import Linux
import Simulation
import TimeTravel

/// Where UML would panic, or a test would hang.
package struct Panic: Error, CustomStringConvertible {
  package let description: String
  package init(_ description: String) { self.description = description }
}

/// The time-travel half of a UML kernel: `arch/um/kernel/time.c` of Linux 6.12, function by function, with a
/// list of events for a guest.
///
/// Where UML blocks it calls `idle`, which does something else for a while: runs the controller's loop in a
/// test of one thread, waits for the socket in a test of several. Messages that come meanwhile are served as
/// UML serves them: all of them while it waits for an answer of the controller, and beside the device's
/// answer (`serve`).
package final class UMLClient {
  /// Something that the guest does at a time.
  package struct Event {
    package var time: UInt64
    package var identifier: UInt64

    package init(time: UInt64, identifier: UInt64) {
      self.time = time
      self.identifier = identifier
    }
  }

  package let link: ScriptedClient
  /// Called instead of blocking.
  package var idle: () throws -> Void = {}
  /// What an event does, in the guest's turn.
  package var onEvent: (Event) throws -> Void = { _ in }
  /// Sends GET_TOD and GET when it boots, as UML without `time-travel-start=` does.
  package var asksTimeOfDay = false
  package private(set) var timeOfDay: UInt64?
  package private(set) var broadcasts: [UInt64] = []

  /// `time_travel_time`.
  package private(set) var time: UInt64 = 0
  /// `time_travel_shm_offset`.
  package private(set) var offset: UInt64 = 0
  private var events: [Event]
  private var previousRequest: UInt64?
  private var waiting = 0
  private var toldFreeUntil: UInt64?
  private var lastPropagated: UInt64 = 0
  private var awaited: Event?
  private var hasStarted = false
  private var startSequence: UInt32 = 0
  private var isExchanging = false
  private var lastSequenceOfPeer: UInt32 = 0
  private var acknowledgedAhead = 0

  /// RUN has come: `resume` carries on.
  package private(set) var isRunnable = false
  /// START's acknowledgement, until `resume` carries on.
  private var startAnswer: Message?

  private static let forever = UInt64(Int64.max)
  /// The idle loop's own event; no guest's.
  private static let idleEvent = UInt64.max

  package init(
    name: UInt64, mode: ScriptedClient.Mode, socket: consuming UnixSocket, events: [Event]
  ) throws(LinuxError) {
    link = try ScriptedClient(name: name, mode: mode, socket: socket)
    self.events = []
    for event in events { insert(event) }
    insert(Event(time: Self.forever, identifier: Self.idleEvent))
  }

  package var name: UInt64 { link.name }

  private var isShared: Bool { link.schedule != nil }

  /// What its clock is bound by, in its own time; nil while it has not been told.
  private var freeUntil: UInt64? {
    if let bound = link.schedule?.freeUntil { return bound.nanoseconds &- offset }
    return toldFreeUntil
  }

  // MARK: - What a test does with it

  /// Sends START; the answer comes when it is its turn to boot.
  package func start() { startSequence = link.send(.start, time: name) }

  /// Serves what has come, without waiting: what UML does in its idle loop, and while it waits for a device.
  /// - Returns: whether anything had come.
  @discardableResult
  package func serve() throws -> Bool {
    guard !isExchanging else { return false }
    var any = false
    while !isRunnable, let message = link.receive() {
      any = true
      if !hasStarted {
        guard message.operation == .acknowledge, message.sequence == startSequence else {
          throw Panic("\(name): \(message) before the answer to START")
        }
        hasStarted = true
        startAnswer = message
        isRunnable = true
      } else {
        try handle(message)
      }
    }
    return any
  }

  /// Carries on after RUN or START's acknowledgement, until it has nothing to do and waits.
  package func resume() throws {
    precondition(isRunnable)
    isRunnable = false
    if let answer = startAnswer {
      startAnswer = nil
      try boot(answer)
    } else {
      waiting -= 1
      previousRequest = nil
    }
    // `time_travel_update_time`, called by the idle loop for ever.
    while true {
      if let event = awaited, let first = events.first, event.identifier == first.identifier {
        events.removeFirst()
        guard time == first.time else { throw Panic("\(name): ran at \(time) for \(first)") }
        awaited = nil
        try onEvent(first)
      }
      let first = events[0]
      try updateRequest(first.time)
      awaited = first
      guard try !request(first.time) else { return try wait() }
      try setTime(first.time)
    }
  }

  /// `time_travel_propagate_time`: before any message to a device.
  package func propagateTime() throws {
    if let running = link.schedule?.runningSlot {
      guard running == link.slot else { throw Panic("\(name): setting time while not running") }
      link.schedule?.currentTime = SimulationTime(nanoseconds: time &+ offset)
      return
    }
    if lastPropagated == time { return }
    _ = try exchange(.update, time: time)
    lastPropagated = time
  }

  /// `time_travel_add_irq_event`, and `delay` of the guest's own.
  package func interrupt(_ identifier: UInt64, delay: UInt64 = 0) throws {
    if let now = link.schedule?.currentTime {
      try setTime(now.nanoseconds &- offset)
    } else {
      try setTime(try exchange(.get))
    }
    try add(Event(time: time + delay, identifier: identifier))
  }

  /// `time_travel_add_event`: in its own turn.
  package func add(_ event: Event) throws {
    insert(event)
    try updateRequest(events[0].time)
  }

  package func broadcast(_ payload: UInt64) throws { _ = try exchange(.broadcast, time: payload) }

  /// For a device in the controller's own process and thread, which waits in a call for us: acknowledges the
  /// FREE_UNTIL that a request for `time` (ours) will bring before it has come.
  package func acknowledgeAhead(requestAt time: UInt64) throws {
    try serve()
    guard !isShared, let told = toldFreeUntil, time < told else { return }
    acknowledgedAhead += 1
    link.acknowledge(lastSequenceOfPeer + UInt32(acknowledgedAhead))
  }

  // MARK: - time.c

  private func boot(_ answer: Message) throws {
    if link.acceptSchedule(answer), let now = link.schedule?.currentTime {
      offset = now.nanoseconds
      link.schedule?.setCapable(link.slot)
    }
    if asksTimeOfDay {
      timeOfDay = try exchange(.getTimeOfDay)
      if let now = link.schedule?.currentTime {
        try setTime(now.nanoseconds &- offset)
      } else {
        try setTime(try exchange(.get))
      }
    }
  }

  private func setTime(_ nanoseconds: UInt64) throws {
    guard nanoseconds >= time else { throw Panic("\(name): time goes backwards \(time) -> \(nanoseconds)") }
    guard nanoseconds < Self.forever else { throw Panic("\(name): was going to sleep forever") }
    time = nanoseconds
  }

  private func insert(_ event: Event) {
    let place = events.firstIndex { $0.time > event.time } ?? events.count
    events.insert(event, at: place)
  }

  private func mayRunFreely(to time: UInt64) -> Bool {
    guard waiting == 0, let bound = freeUntil else { return false }
    return time < bound
  }

  /// `time_travel_ext_update_request`.
  private func updateRequest(_ time: UInt64) throws {
    if previousRequest == time || mayRunFreely(to: time) { return }
    previousRequest = time
    if let running = link.schedule?.runningSlot, link.schedule?.isCapable(running) == true {
      let shared = SimulationTime(nanoseconds: time &+ offset)
      link.schedule?.setRequest(of: link.slot, to: shared)
      if let bound = link.schedule?.freeUntil, shared < bound { link.schedule?.freeUntil = shared }
      return
    }
    _ = try exchange(.request, time: time)
  }

  /// `time_travel_ext_request`: whether it has to wait.
  private func request(_ time: UInt64) throws -> Bool {
    if mayRunFreely(to: time) { return false }
    try updateRequest(time)
    return true
  }

  /// `time_travel_ext_wait`, up to the loop that waits for RUN: `serve` and `resume` go on from there.
  private func wait() throws {
    previousRequest = nil
    if !isShared { toldFreeUntil = nil }
    waiting += 1
    if isShared { link.send(.wait) } else { _ = try exchange(.wait) }
  }

  /// `time_travel_ext_req`.
  private func exchange(_ operation: TimeTravel.Operation, time: UInt64 = Message.unusedTime) throws -> UInt64
  {
    let sequence = link.send(operation, time: time)
    isExchanging = true
    defer { isExchanging = false }
    while true {
      guard let message = link.receive() else {
        if link.isClosed { throw Panic("\(name): time-travel external link is broken") }
        try idle()
        continue
      }
      if message.operation == .acknowledge {
        guard message.sequence == sequence else {
          throw Panic(
            "\(name): ACK message has different seqno \(message.sequence) for \(operation) \(sequence)")
        }
        return message.time
      }
      // UML would take RUN here and then wait for it for ever.
      if message.operation == .run { throw Panic("\(name): RUN instead of the ACK of \(operation)") }
      try handle(message)
    }
  }

  /// `time_travel_handle_message`.
  private func handle(_ message: Message) throws {
    lastSequenceOfPeer = message.sequence
    switch message.operation {
    case .acknowledge: throw Panic("\(name): an ACK of nothing")
    case .run:
      guard waiting > 0 else { throw Panic("\(name): RUN while it runs") }
      try setTime(message.time)
      isRunnable = true
      if isShared { return link.schedule?.setRequest(of: link.slot, to: nil) ?? () }
    case .freeUntil:
      if isShared { throw Panic("\(name): FREE_UNTIL in shared memory") }
      toldFreeUntil = message.time
      if acknowledgedAhead > 0 {
        acknowledgedAhead -= 1
        return
      }
    case .broadcast: broadcasts.append(message.time)
    default: throw Panic("\(name): unexpected \(message)")
    }
    link.acknowledge(message.sequence)
  }
}
