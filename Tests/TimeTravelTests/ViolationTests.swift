// Clients that break the protocol: each loses its own connection, and nobody else's run.
import Glibc
import Linux
import Simulation
import TestKit
import Testing

@testable import TimeTravel

@Suite struct ViolationTests {
  /// Runs `offence` by a client of either mode while another runs, and one while it runs itself; then the
  /// others have to finish as if it had never been there.
  private func punished(
    _ mode: ScriptedClient.Mode, whileRunning: Bool, sourceLocation: SourceLocation = #_sourceLocation,
    _ offence: (_ culprit: ScriptedClient, _ bench: Bench) throws -> Void
  ) throws -> [String] {
    let bench = try Bench(clients: 3)
    let all = try bench.waiting([(mode, whileRunning ? 10 : 1000), (.message, 15), (.shared, 300)])
    let culprit = all[0]
    try bench.run(whileRunning ? culprit : all[1])
    _ = culprit.receiveAll()
    try offence(culprit, bench)
    try bench.settle()
    #expect(bench.controller.clientCount == 2, sourceLocation: sourceLocation)
    if whileRunning { try bench.run(all[1]) }
    #expect(bench.controller.running?.name == 2, sourceLocation: sourceLocation)
    _ = all[1].receiveAll()
    try bench.wait(all[1], 400)
    _ = all[1].receiveAll()
    #expect(try bench.run(all[2]) == ["RUN 300"], sourceLocation: sourceLocation)
    try bench.wait(all[2], nil)
    #expect(try bench.run(all[1]) == ["FREE_UNTIL \(far(400))", "RUN 400"], sourceLocation: sourceLocation)
    try bench.wait(all[1], nil)
    #expect(bench.endings == [.finished], sourceLocation: sourceLocation)
    #expect(bench.controller.clientCount == 2, sourceLocation: sourceLocation)
    return bench.log
  }

  @Test func aMessageThatTheProtocolDoesNotAllowCostsItsSenderOnly() throws {
    let cases: [(TimeTravel.Operation, UInt64, running: Bool, String)] = [
      (.request, 9, true, "REQUEST for 9 ns, which is past: it is 10 ns"),
      (.request, 14, false, "REQUEST for 14 ns, which is past: it is 15 ns"),
      (.update, 9, true, "UPDATE to 9 ns; it was free from 10 ns until 15 ns"),
      (.update, 16, true, "UPDATE to 16 ns; it was free from 10 ns until 15 ns"),
      (.update, .max, true, "UPDATE to 18446744073709551615 ns; it was free from 10 ns until 15 ns"),
      (.update, 15, false, "UPDATE without the turn"),
      (.wait, 0, false, "WAIT without the turn"),
      (.acknowledge, 0, true, "an ACK of message 5, which does not wait for one"),
      (.run, 10, false, "RUN is for the controller to say"),
      (.run, 10, true, "RUN is for the controller to say"),
      (.freeUntil, 10, true, "FREE_UNTIL is for the controller to say"),
      (.start, 10, true, "START twice"),
      (.start, 10, false, "START twice"),
    ]
    for (operation, time, running, reason) in cases {
      for mode in ScriptedClient.Mode.allCases {
        if mode == .shared, operation == .update, running, time == 9 { continue }
        let log = try punished(mode, whileRunning: running) { culprit, _ in
          if operation == .acknowledge {
            culprit.acknowledge(5)
          } else {
            culprit.send(operation, time: time)
          }
        }
        #expect(log == ["client 1 was disconnected: \(reason)"], "\(operation) \(mode)")
      }
    }
  }

  @Test func anUnknownOperationCostsItsSenderOnly() throws {
    for raw in [10, 11, 255, UInt32.max] {
      let log = try punished(.message, whileRunning: true) { culprit, _ in
        var message = Message(.get, sequence: 77)
        message.rawOperation = raw
        culprit.transmit(message)
      }
      #expect(log == ["client 1 was disconnected: unknown operation \(raw)"])
    }
  }

  @Test func halfAMessageCostsItsSenderOnly() throws {
    for isSilent in [true, false] {
      for count in [1, 8, 15] {
        let log = try punished(.message, whileRunning: !isSilent) { culprit, _ in
          culprit.send(bytes: Array(repeating: 0, count: count))
          if !isSilent { culprit.close() }
        }
        #expect(
          log == [
            "client 1 was disconnected: time-travel protocol violation: "
              + "a message of \(count) bytes instead of 16"
          ])
      }
    }
  }

  @Test func aMessageBeforeStartCostsItsSenderOnly() throws {
    for operation in TimeTravel.Operation.allCases where operation != .start && operation != .acknowledge {
      let bench = try Bench(clients: 1)
      let culprit = try bench.connect(5)
      culprit.send(operation)
      try bench.settle()
      #expect(bench.log == ["client 1 was disconnected: \(operation) before it was started"])
      // Nor after it has asked to be started, while it waits for its turn to boot.
      let honest = try bench.connect(1)
      try bench.start(honest)
      let hasty = try bench.connect(6)
      hasty.send(.start, time: 6)
      hasty.send(operation)
      try bench.settle()
      #expect(bench.log.last == "client 6 was disconnected: \(operation) before it was started")
      try bench.boot(honest)
      try bench.wait(honest, nil)
      #expect(bench.endings == [.finished])
      #expect(culprit.receive() == nil && culprit.isClosed)
    }
  }

  @Test func theNextMessageBeforeTheAnswerCostsItsSenderOnly() throws {
    let bench = try Bench(clients: 2)
    let all = try bench.waiting([(.message, 10), (.message, 100)])
    try bench.run(all[0])
    all[1].send(.request, time: 50)
    try bench.settle()
    all[1].send(.request, time: 40)
    try bench.settle()
    #expect(bench.log == ["client 2 was disconnected: REQUEST before the answer to its last message"])
    for client in all { _ = client.receiveAll() }
    #expect(!all[0].isClosed)
  }

  @Test func aFloodOfOneClientLeavesTheOthersTheirTurn() throws {
    let bench = try Bench(clients: 2)
    let all = try bench.waiting([(.message, 10), (.message, 20)])
    try bench.run(all[0])
    for client in all { _ = client.receiveAll() }
    // It never reads, until its socket is full.
    for _ in 0..<100 {
      for _ in 0..<100 { all[1].send(.get) }
      try bench.settle()
    }
    #expect(
      bench.log == [
        "client 2 was disconnected: time-travel protocol violation: it does not read its messages"
      ])
    try bench.wait(all[0], nil)
    #expect(bench.endings == [.finished])
  }

  @Test func aRequestInThePastInSharedMemoryCostsItsWriterOnly() throws {
    let bench = try Bench(clients: 3)
    let all = try bench.waiting([(.shared, 10), (.shared, 1000), (.shared, 300)])
    try bench.run(all[0])
    all[0].schedule?.currentTime = SimulationTime(nanoseconds: 200)
    all[1].schedule?.setRequest(of: all[1].slot, to: SimulationTime(nanoseconds: 3))
    try bench.wait(all[0], 400)
    #expect(bench.log == ["client 2 was disconnected: it asked for 3 ns, which is past: it is 200 ns"])
    #expect(try bench.run(all[2]) == ["RUN 300"])
    try bench.wait(all[2], nil)
    #expect(try bench.run(all[0]) == ["RUN 400"])
  }

  @Test func aClockPastItsBoundCostsItsWriterOnly() throws {
    for reached in [301, 1000, UInt64.max, 9, 0] {
      let log = try punished(.shared, whileRunning: true) { culprit, bench in
        culprit.schedule?.currentTime = SimulationTime(nanoseconds: reached)
        // Whatever it writes, time does not pass the bound, and never decreases.
        #expect(bench.controller.now.nanoseconds == (reached < 10 ? 10 : 15))
        culprit.send(.wait)
      }
      let time = SimulationTime(nanoseconds: reached)
      let from = reached < 10 ? 10 : 15
      #expect(
        log == [
          "client 1 was disconnected: its clock went to \(time); it was free from \(from) ns until 15 ns"
        ])
    }
  }

  @Test func aClockThatGoesBackCostsItsWriterOnly() throws {
    let log = try punished(.shared, whileRunning: true) { culprit, bench in
      culprit.schedule?.currentTime = SimulationTime(nanoseconds: 14)
      #expect(bench.controller.now.nanoseconds == 14)
      culprit.schedule?.currentTime = SimulationTime(nanoseconds: 12)
      #expect(bench.controller.now.nanoseconds == 14)
      culprit.send(.wait)
    }
    #expect(log == ["client 1 was disconnected: its clock went to 12 ns; it was free from 14 ns until 15 ns"])
  }

  @Test func aClientMayNotMoveItsClockWhileOthersBoot() throws {
    let bench = try Bench(clients: 2)
    let a = try bench.connect(1, .shared)
    let b = try bench.connect(2, .shared)
    try bench.start(a)
    try bench.start(b)
    try bench.boot(a)
    a.schedule?.currentTime = SimulationTime(nanoseconds: 1_000_000)
    a.send(.wait)
    try bench.settle()
    #expect(
      bench.log == [
        "client 1 was disconnected: its clock went to 1000000 ns; it was free from 0 ns until 0 ns"
      ])
    try bench.boot(b)
    #expect(b.schedule?.currentTime == .zero)
  }

  @Test func anOverwrittenRunnerIsReportedOnce() throws {
    let bench = try Bench(clients: 2)
    let all = try bench.waiting([(.shared, 10), (.shared, 20)])
    for time in [10, 30] as [UInt64] {
      try bench.run(all[0])
      all[0].schedule?.runningSlot = 4000
      try bench.wait(all[0], time + 20)
      #expect(all[0].schedule?.runningSlot == all[1].slot)
      #expect(try bench.run(all[1]) == ["RUN \(time + 10)"])
      try bench.wait(all[1], time + 30)
    }
    #expect(
      bench.log == ["the shared schedule was overwritten: running_id is 4000 in its turn (client 1)"])
    #expect(bench.controller.clientCount == 2)
  }

  @Test func aCapabilityThatAnotherClientSetsDoesNotLast() throws {
    let bench = try Bench(clients: 3)
    let villain = try bench.connect(1, .shared)
    let honest = try bench.connect(2, .message)
    let third = try bench.connect(3, .shared)
    for client in [villain, honest, third] { try bench.start(client) }
    try bench.boot(villain)
    // Before the victim boots …
    villain.schedule?.setCapable(2)
    try bench.wait(villain, 100)
    try bench.boot(honest)
    try bench.wait(honest, 10)
    #expect(honest.receiveAll() == ["ACK 0"])
    // … and after.
    villain.schedule?.setCapable(2)
    try bench.boot(third)
    // And it takes away what another has.
    villain.schedule?.setCapable(3, false)
    #expect(bench.log == [])
    try bench.wait(third, 15)
    #expect(try bench.run(honest) == ["FREE_UNTIL 100", "RUN 10"])
    #expect(villain.schedule?.isCapable(2) == false)
    #expect(bench.log.count == 1)
    #expect(
      bench.log[0]
        == "the shared schedule was overwritten: it has a capability that it does not claim (client 2)")
  }

  @Test func aSlotOutOfRangeIsNotRead() throws {
    let schedule = try SharedSchedule(clientsMax: 3, offered: true)
    let isCapable = schedule.isCapable(4) || schedule.isCapable(.max)
    #expect(!isCapable)
  }

  @Test func garbageInEverySlotStopsNobodyElse() throws {
    for seed in 0..<UInt64(200) {
      var random = RandomStream(seed: seed, name: "garbage")
      let bench = try Bench(clients: 3)
      let all = try bench.waiting([(.shared, 10), (.message, 20), (.message, 30)])
      try bench.run(all[0])
      let memory = try Mapping(sharing: all[0].memoryDescriptor, count: 4096 + 8 * 128)
      for _ in 0..<Int.random(in: 1...64, using: &random) {
        // All but the two others' slots: what it writes there concerns nobody who sends messages.
        let offset = Int.random(in: 0..<(4096 + 8 * 128) / 8, using: &random) * 8
        memory.base.storeBytes(of: random.next(), toByteOffset: offset, as: UInt64.self)
      }
      all[0].send(.wait)
      try bench.settle()
      if all[0].receiveAll().last == "RUN 10" {
        // By chance it asked for the present.
        all[0].schedule?.setRequest(of: all[0].slot, to: nil)
        all[0].send(.wait)
        try bench.settle()
      }
      for (client, time) in [(all[1], 20), (all[2], 30)] as [(ScriptedClient, UInt64)] {
        #expect(try bench.run(client).last == "RUN \(time)", "seed \(seed): \(bench.log)")
        try bench.wait(client, nil)
      }
    }
  }
}
