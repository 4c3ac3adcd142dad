// The client of a controller that a test plays.
import Linux
import Simulation
import TestKit
import Testing

@testable import TimeTravel

/// A controller that says what a test tells it. What a client waits for has to be sent before: it blocks.
private final class Stage {
  let loop: EventLoop
  let client: Client
  let controller: ScriptedClient
  let schedule: SharedSchedule
  private(set) var turns: [UInt64] = []
  private(set) var failures: [String] = []
  /// What the client asks for at the end of each turn.
  var next: [UInt64?] = []
  /// Answered ahead when a turn begins.
  var answers: ClosedRange<UInt32>?
  private let listener: UnixListener

  init(name: UInt64 = 5) throws {
    loop = try EventLoop()
    let path = temporarySocketPath()
    listener = try UnixListener(path: path)
    client = try Client(controllerPath: path, identifier: name, loop: loop)
    guard let socket = try listener.accept() else { throw Panic("nobody connected") }
    controller = try ScriptedClient(name: name, mode: .message, socket: socket)
    schedule = try SharedSchedule(clientsMax: 3, offered: true)
    client.onTurn = { [unowned self] in
      turns.append(client.now.nanoseconds)
      if let answers { for sequence in answers { acknowledge(sequence) } }
      answers = nil
      if let first = next.first {
        next.removeFirst()
        client.finishTurn(next: first.map { SimulationTime(nanoseconds: $0) })
      }
    }
    client.onFailure = { [unowned self] in failures.append("\($0)") }
  }

  func acknowledge(_ sequence: UInt32, time: UInt64 = 0) {
    controller.transmit(Message(.acknowledge, sequence: sequence, time: time))
  }

  func settle() throws { while try loop.runOnce(timeout: 0) {} }

  /// Boots in message mode, with `request` already asked for.
  func boot(request: UInt64?) throws {
    if let request { client.requestWake(at: SimulationTime(nanoseconds: request)) }
    for sequence in 1...(request == nil ? 2 : 3) as ClosedRange<UInt32> { acknowledge(sequence) }
    try settle()
  }

  /// Boots with the schedule, as number 2, at this time.
  func bootShared(at time: UInt64 = 0, runnerIsCapable: Bool = true) throws {
    schedule.currentTime = SimulationTime(nanoseconds: time)
    schedule.runningSlot = 2
    let message = Message(.acknowledge, sequence: 1, time: 2)
    let bytes = [UInt8](unsafeUninitializedCapacity: 16) { buffer, count in
      message.encode(into: UnsafeMutableRawBufferPointer(buffer))
      count = 16
    }
    controller.send(bytes: bytes, descriptors: [schedule.memoryDescriptor, 1])
    try settle()
    schedule.runningSlot = 1
    schedule.setCapable(1, runnerIsCapable)
  }
}

@Suite struct ClientTests {
  @Test func itAsksForItsFirstTurnWhenItBoots() throws {
    let stage = try Stage(name: 77)
    #expect(stage.controller.receiveAll() == ["START 77"])
    try stage.boot(request: 100)
    #expect(stage.controller.receiveAll() == ["REQUEST 100", "WAIT"])
    #expect(!stage.client.isShared)
    #expect(stage.client.messageCount == 6)
  }

  @Test func itServesTheControllerWhileItWaitsForAnAnswer() throws {
    let stage = try Stage()
    stage.client.requestWake(at: SimulationTime(nanoseconds: 100))
    stage.acknowledge(1)
    stage.controller.send(.freeUntil, time: 50)
    stage.acknowledge(77, time: 999)  // answers nothing
    stage.controller.send(.broadcast, time: 4)
    stage.acknowledge(2)
    stage.acknowledge(3)
    try stage.settle()
    #expect(stage.controller.receiveAll() == ["START 5", "REQUEST 100", "ACK 0", "ACK 0", "WAIT"])
    #expect(stage.failures == [])
  }

  @Test func aLateAnswerIsIgnored() throws {
    let stage = try Stage()
    try stage.boot(request: nil)
    stage.acknowledge(1, time: 9)
    stage.acknowledge(2)
    try stage.settle()
    stage.acknowledge(1, time: 8)
    stage.acknowledge(3, time: 1234)
    #expect(stage.client.now.nanoseconds == 1234)
    #expect(stage.failures == [])
  }

  @Test func aTurnThatComesDuringAnAnswerIsTakenOnceAndLater() throws {
    let stage = try Stage()
    try stage.boot(request: 100)
    stage.next = [nil]
    stage.controller.send(.freeUntil, time: 1000)
    stage.controller.send(.run, time: 100)
    stage.acknowledge(4, time: 100)
    #expect(stage.client.now.nanoseconds == 100)
    #expect(stage.turns == [])
    stage.acknowledge(5)  // WAIT
    try stage.settle()
    #expect(stage.turns == [100])
    #expect(
      stage.controller.receiveAll() == ["START 5", "REQUEST 100", "WAIT", "GET", "ACK 0", "ACK 0", "WAIT"])
    // And during REQUEST: what was asked for is not lost.
    stage.controller.send(.freeUntil, time: 1000)
    stage.controller.send(.run, time: 300)
    stage.acknowledge(6)
    stage.client.requestWake(at: SimulationTime(nanoseconds: 400))
    #expect(stage.turns == [100])
    stage.next = [nil]
    stage.acknowledge(7)
    try stage.settle()
    #expect(stage.turns == [100, 300])
    #expect(stage.failures == [])
  }

  @Test func itRunsFreelyBelowItsBoundAndTellsTheTime() throws {
    let stage = try Stage()
    try stage.boot(request: 100)
    _ = stage.controller.receiveAll()
    stage.next = [100, 400, 499, 500]
    stage.controller.send(.freeUntil, time: 500)
    stage.controller.send(.run, time: 100)
    stage.answers = 4...7
    try stage.settle()
    // At the bound itself it has to ask.
    #expect(stage.turns == [100, 100, 400, 499])
    #expect(
      stage.controller.receiveAll() == ["ACK 0", "ACK 0", "UPDATE 400", "UPDATE 499", "REQUEST 500", "WAIT"])
    #expect(stage.failures == [])
  }

  @Test func itAsksOnlyForAnEarlierTime() throws {
    let stage = try Stage()
    try stage.boot(request: 100)
    _ = stage.controller.receiveAll()
    stage.client.requestWake(at: SimulationTime(nanoseconds: 100))
    stage.client.requestWake(at: SimulationTime(nanoseconds: 200))
    stage.acknowledge(4)
    stage.client.requestWake(at: SimulationTime(nanoseconds: 60))
    #expect(stage.controller.receiveAll() == ["REQUEST 60"])
  }

  @Test func turnsDoNotNest() throws {
    let stage = try Stage()
    try stage.bootShared()
    _ = stage.controller.receiveAll()
    stage.schedule.freeUntil = SimulationTime(nanoseconds: 1 << 40)
    stage.schedule.runningSlot = 2
    stage.controller.send(.run, time: 0)
    stage.next = (1...100_000).map { $0 } + [nil]
    try stage.settle()
    #expect(stage.turns.count == 100_001)
    #expect(stage.turns.last == 100_000)
    #expect(stage.schedule.currentTime.nanoseconds == 100_000)
    #expect(stage.controller.receiveAll() == ["WAIT"])
  }

  @Test func inSharedMemoryItWritesInsteadOfSending() throws {
    let stage = try Stage()
    try stage.bootShared(at: 5000)
    #expect(stage.client.isShared)
    #expect(stage.controller.receiveAll() == ["START 5", "WAIT"])
    var isCapable = stage.schedule.isCapable(2)
    #expect(isCapable)
    isCapable = stage.schedule.isCapable(3)
    #expect(!isCapable)

    stage.schedule.currentTime = SimulationTime(nanoseconds: 5100)
    stage.schedule.freeUntil = SimulationTime(nanoseconds: 9000)
    #expect(stage.client.now.nanoseconds == 100)
    stage.client.requestWake(at: SimulationTime(nanoseconds: 150))
    var request = stage.schedule.request(of: 2)
    #expect(request?.nanoseconds == 5150)
    #expect(stage.schedule.freeUntil.nanoseconds == 5150)
    // A later bound is not raised.
    stage.schedule.freeUntil = SimulationTime(nanoseconds: 5120)
    stage.client.requestWake(at: SimulationTime(nanoseconds: 140))
    #expect(stage.schedule.freeUntil.nanoseconds == 5120)
    #expect(stage.controller.receiveAll() == [])

    stage.schedule.currentTime = SimulationTime(nanoseconds: 5140)
    stage.schedule.runningSlot = 2
    stage.schedule.freeUntil = SimulationTime(nanoseconds: 6000)
    stage.next = [500, 1200]
    stage.controller.send(.run, time: 0)
    try stage.settle()
    #expect(stage.turns == [140, 500])
    request = stage.schedule.request(of: 2)
    #expect(request?.nanoseconds == 6200)
    #expect(stage.schedule.currentTime.nanoseconds == 5500)
    #expect(stage.schedule.freeUntil.nanoseconds == 6000)
    #expect(stage.controller.receiveAll() == ["WAIT"])
    #expect(stage.failures == [])
  }

  @Test func inSharedMemoryItSendsToARunnerThatDoesNotRead() throws {
    let stage = try Stage()
    try stage.bootShared(runnerIsCapable: false)
    _ = stage.controller.receiveAll()
    stage.acknowledge(3)
    stage.client.requestWake(at: SimulationTime(nanoseconds: 150))
    #expect(stage.controller.receiveAll() == ["REQUEST 150"])
    // A slot that does not exist is no client.
    stage.schedule.runningSlot = .max
    stage.acknowledge(4)
    stage.client.requestWake(at: SimulationTime(nanoseconds: 120))
    #expect(stage.controller.receiveAll() == ["REQUEST 120"])
  }

  @Test func aControllerThatGoesIsReportedOnce() throws {
    for isInTheMiddle in [false, true] {
      let stage = try Stage()
      try stage.boot(request: 100)
      stage.controller.close()
      if isInTheMiddle { _ = stage.client.now }
      try stage.settle()
      #expect(stage.failures.count == 1)
      _ = stage.client.now
      stage.client.requestWake(at: SimulationTime(nanoseconds: 1))
      stage.client.finishTurn(next: nil)
      try stage.settle()
      #expect(stage.failures.count == 1)
      #expect(stage.failures.first?.hasPrefix("the time-travel peer went away") == true)
      #expect(stage.turns == [])
    }
  }

  @Test func aControllerThatGoesBeforeItsTurnComesIsReportedAndNoTurnIsTaken() throws {
    let stage = try Stage()
    try stage.boot(request: 100)
    stage.controller.send(.freeUntil, time: 1000)
    stage.controller.send(.run, time: 100)
    stage.controller.close()
    try stage.settle()
    #expect(stage.failures.count == 1)
    #expect(stage.turns.count <= 1)
  }

  @Test func whatAControllerMayNotSayEndsTheClient() throws {
    let cases: [(ScriptedClient) -> Void] = [
      { $0.send(.request, time: 1) }, { $0.send(.wait) }, { $0.send(.start) }, { $0.send(.get) },
      { $0.send(bytes: [1, 2, 3]) },
      {
        $0.send(.run, time: 100)
        $0.send(.run, time: 100)
      },
    ]
    for (index, say) in cases.enumerated() {
      let stage = try Stage()
      try stage.boot(request: 100)
      say(stage.controller)
      try stage.settle()
      #expect(stage.failures.count == 1, "case \(index)")
      #expect(stage.failures.first?.hasPrefix("time-travel protocol violation") == true, "case \(index)")
    }
  }

  @Test func randomBytesOfAControllerEndTheClientAndNothingElse() throws {
    for seed in 0..<UInt64(100) {
      var random = RandomStream(seed: seed, name: "controller")
      let stage = try Stage()
      // Before it has started too: then any answer has to be there, or it would wait for it.
      try stage.boot(request: seed % 2 == 0 ? 100 : nil)
      for _ in 0..<4 {
        var message = Message(.run, sequence: UInt32(truncatingIfNeeded: random.next()), time: random.next())
        message.rawOperation = UInt32(random.next() % 12)
        stage.controller.transmit(message)
      }
      stage.controller.send(bytes: (0..<7).map { _ in UInt8(random.next() & 255) })
      stage.controller.close()
      try stage.settle()
      #expect(stage.failures.count == 1, "seed \(seed)")
    }
  }

  @Test func nobodyListeningIsAnError() throws {
    let loop = try EventLoop()
    #expect(throws: TimeTravelError.self) {
      _ = try Client(controllerPath: temporarySocketPath(), identifier: 1, loop: loop)
    }
  }
}
