// Clients that go away at every moment.
import Linux
import Simulation
import TestKit
import Testing

@testable import TimeTravel

@Suite struct DepartureTests {
  @Test(arguments: ScriptedClient.Mode.allCases)
  func aClientThatGoesWhileItWaitsIsNotRun(mode: ScriptedClient.Mode) throws {
    let bench = try Bench(clients: 3)
    let all = try bench.waiting([(mode, 10), (mode, 20), (mode, 30)])
    try bench.run(all[0])
    all[1].close()
    try bench.settle()
    try bench.wait(all[0], nil)
    #expect(all[2].receiveAll().last == "RUN 30")
    #expect(bench.log == [])
  }

  @Test(arguments: ScriptedClient.Mode.allCases)
  func theTurnOfAClientThatGoesPassesOn(mode: ScriptedClient.Mode) throws {
    let bench = try Bench(clients: 2)
    let all = try bench.waiting([(mode, 10), (mode, 30)])
    try bench.run(all[0])
    all[0].schedule?.currentTime = SimulationTime(nanoseconds: 25)
    all[0].close()
    try bench.settle()
    #expect(bench.controller.now.nanoseconds == 30)
    #expect(all[1].receiveAll().last == "RUN 30")
    #expect(bench.log == [])
  }

  @Test func aClientThatGoesWhileItBootsPassesOn() throws {
    let bench = try Bench(clients: 2)
    let a = try bench.connect(1)
    let b = try bench.connect(2)
    try bench.start(a)
    try bench.start(b)
    a.close()
    try bench.settle()
    #expect(b.receiveAll() == ["ACK 2"])
  }

  @Test func aClientThatGoesBeforeItStartsIsStillWaitedFor() throws {
    let bench = try Bench(clients: 2)
    let a = try bench.connect(1)
    let b = try bench.connect(2)
    try bench.start(a)
    b.close()
    try bench.settle()
    #expect(a.receiveAll() == [])
    let c = try bench.connect(3)
    // Its place is taken again.
    try bench.start(c)
    #expect(a.receiveAll() == ["ACK 1"])
    try bench.wait(a, nil)
    #expect(c.receiveAll() == ["ACK 2"])
    // One that has asked to be started and goes does not come back either.
    let d = try bench.connect(4)
    try bench.start(d)
    d.close()
    try bench.settle()
    c.send(.wait)
    try bench.settle()
    #expect(bench.endings == [.finished])
    #expect(bench.log == [])
  }

  @Test func whoWaitsForARunnerThatGoesIsAnswered() throws {
    let bench = try Bench(clients: 3)
    let all = try bench.waiting([(.message, 10), (.message, 100), (.message, 200)])
    try bench.run(all[0])
    for client in all { _ = client.receiveAll() }
    all[1].send(.request, time: 50)
    try bench.settle()
    all[2].send(.request, time: 40)
    try bench.settle()
    #expect(all[0].receiveAll() == ["FREE_UNTIL 50", "FREE_UNTIL 40"])
    #expect(all[1].receiveAll() == [])
    all[0].close()
    try bench.settle()
    #expect(all[1].receiveAll() == ["ACK 0"])
    #expect(all[2].receiveAll() == ["ACK 0", "FREE_UNTIL 50", "RUN 40"])
    #expect(bench.log == [])
  }

  @Test func whoWaitsForARunnerThatWaitsInsteadIsAnsweredBeforeItRuns() throws {
    let bench = try Bench(clients: 2)
    let all = try bench.waiting([(.message, 10), (.message, 100)])
    try bench.run(all[0])
    for client in all { _ = client.receiveAll() }
    all[1].send(.request, time: 50)
    try bench.settle()
    // It waits before it reads the bound.
    all[0].send(.wait)
    try bench.settle()
    // UML would take a RUN before this ACK for the answer, and then wait for RUN for ever.
    #expect(all[1].receiveAll() == ["ACK 0", "FREE_UNTIL \(far(50))", "RUN 50"])
    let bound = try #require(all[0].receive())
    #expect(bound.summary == "FREE_UNTIL 50")
    #expect(all[0].receiveAll() == ["ACK 0"])
    all[0].acknowledge(bound.sequence)
    try bench.settle()
    #expect(all[1].receiveAll() == [])
    #expect(bench.controller.clientCount == 2)
    #expect(bench.log == [])
  }

  @Test func aBoundUnderWayBindsNobody() throws {
    let bench = try Bench(clients: 2)
    let all = try bench.waiting([(.message, 10), (.message, 100)])
    try bench.run(all[0])
    for client in all { _ = client.receiveAll() }
    all[1].send(.request, time: 50)
    try bench.settle()
    // Its FREE_UNTIL 50 has been sent, and it has not read it.
    all[0].send(.update, time: 80)
    try bench.settle()
    #expect(bench.log == [])
    let bound = try #require(all[0].receive())
    #expect(bound.summary == "FREE_UNTIL 50")
    #expect(all[0].receiveAll() == ["ACK 0"])
    all[0].acknowledge(bound.sequence)
    try bench.settle()
    try bench.wait(all[0], nil)
    // The request was not in the past when it was made.
    #expect(all[1].receiveAll() == ["ACK 0", "FREE_UNTIL \(far(80))", "RUN 80"])
    #expect(bench.log == [])
  }

  @Test func aLocalClientThatIsLetGoLeaves() throws {
    let bench = try Bench(clients: 1)
    var local: LocalClient? = bench.controller.makeLocalClient(name: 50)
    local?.requestWake(at: SimulationTime(nanoseconds: 5))
    let remote = try bench.waiting([(.message, 10)])[0]
    #expect(remote.receiveAll() == [])  // it is the local one's turn
    local = nil
    try bench.settle()
    #expect(remote.receiveAll() == ["FREE_UNTIL \(far(10))", "RUN 10"])
  }

  @Test func aPassiveClientKeepsNobodyGoing() throws {
    let bench = try Bench(clients: 1)
    let local = bench.controller.makeLocalClient(name: 50, priority: 0, isPassive: true)
    var turns: [SimulationTime] = []
    local.onTurn = {
      turns.append(local.now)
      local.finishTurn(next: SimulationTime(nanoseconds: 500))
    }
    local.requestWake(at: SimulationTime(nanoseconds: 10))
    let remote = try bench.waiting([(.shared, 10)])[0]
    // Its priority puts it first; the other one is bound by what it wants next.
    #expect(turns == [SimulationTime(nanoseconds: 10)])
    #expect(try bench.run(remote) == ["RUN 10"])
    #expect(remote.schedule?.freeUntil == SimulationTime(nanoseconds: 500))
    remote.close()
    try bench.settle()
    #expect(turns.count == 1 && bench.endings == [.finished])
    #expect(bench.controller.now == SimulationTime(nanoseconds: 10))
  }

  @Test(arguments: [ScriptedClient.Mode.message, .shared])
  func whoLosesItsPowerIsForgottenAtOnce(mode: ScriptedClient.Mode) throws {
    let bench = try Bench(clients: 2)
    let all = try bench.waiting([(mode, 10), (mode, 20)])
    try bench.run(all[0])
    #expect(bench.controller.isPresent(name: 1) && !bench.controller.isPresent(name: 3))
    // In its own turn; it is still connected, and nothing that it says counts.
    bench.controller.dismiss(name: 1)
    all[0].send(.update, time: 15)
    try bench.settle()
    #expect(!bench.controller.isPresent(name: 1))
    #expect(bench.controller.now == SimulationTime(nanoseconds: 20))
    #expect(try bench.run(all[1]).last == "RUN 20")
    bench.controller.dismiss(name: 1)
    #expect(bench.controller.clientCount == 1 && bench.log == [])
  }

  @Test func aWakeMayBeReplacedByALaterOneOrNone() throws {
    let bench = try Bench(clients: 1)
    let local = bench.controller.makeLocalClient(name: 0)
    var turns: [SimulationTime] = []
    local.onTurn = {
      turns.append(local.now)
      local.finishTurn(next: nil)
    }
    local.requestWake(at: SimulationTime(nanoseconds: 5))
    local.replaceWake(by: SimulationTime(nanoseconds: 30))
    let remote = try bench.waiting([(.message, 20)])[0]
    #expect(turns.isEmpty)
    try bench.run(remote)
    local.replaceWake(by: nil)
    try bench.wait(remote, nil)
    #expect(turns.isEmpty && bench.endings == [.finished])
  }

  @Test func identifiersAreUsedAgain() throws {
    let bench = try Bench(clients: 2)
    let all = try bench.waiting([(.shared, 10), (.shared, 20)])
    #expect(all.map(\.slot) == [1, 2])
    all[0].close()
    try bench.settle()
    let next = try bench.connect(9, .shared)
    try bench.start(next)
    try bench.run(all[1])
    try bench.wait(all[1], nil)
    try bench.boot(next)
    #expect(next.slot == 1)
    #expect(next.schedule?.request(of: 1) == nil)
    #expect(bench.log == [])
  }

  @Test func theControllerMayGoFirst() throws {
    var bench: Bench? = try Bench(clients: 1)
    let client = try #require(try bench?.waiting([(.message, 10)]))[0]
    let local = bench?.controller.makeLocalClient(name: 3)
    bench = nil
    _ = client.receiveAll()
    #expect(client.isClosed)
    local?.requestWake(at: .zero)
    local?.finishTurn(next: nil)
    #expect(local?.now == .zero)
  }
}
