// What the controller answers, message by message.
import CLinux
import Glibc
import Linux
import Simulation
import TestKit
import Testing

@testable import TimeTravel

@Suite struct ProtocolTests {
  @Test func aClientInMessageModeIsServedAllItsOperations() throws {
    let bench = try Bench(clients: 2, timeAtStart: 1_000_000)
    let a = try bench.connect(1)
    let b = try bench.connect(2)
    try bench.start(b)
    try bench.start(a)
    #expect(b.receiveAll() == [])
    #expect(try bench.boot(a).summary == "ACK 1")
    #expect(a.descriptorCount == 2)

    a.send(.getTimeOfDay)
    a.send(.get)
    // Two at once are one too many, but the first is answered before the second is read.
    try bench.settle()
    #expect(a.receiveAll() == ["ACK 1000000", "ACK 0"])
    try bench.wait(a, 500)
    #expect(a.receiveAll() == ["ACK 0"])

    try bench.boot(b)
    #expect(b.descriptorCount == 2)
    try bench.wait(b, 700)
    #expect(b.receiveAll() == ["ACK 0"])

    #expect(try bench.run(a) == ["FREE_UNTIL 700", "RUN 500"])
    a.send(.update, time: 600)
    try bench.settle()
    #expect(a.receiveAll() == ["ACK 0"])
    b.send(.get)
    try bench.settle()
    #expect(b.receiveAll() == ["ACK 600"])
    b.send(.getTimeOfDay)
    try bench.settle()
    #expect(b.receiveAll() == ["ACK 1000600"])

    // An earlier request of another: the runner knows before it is acknowledged.
    b.send(.request, time: 650)
    try bench.settle()
    #expect(b.receiveAll() == [])
    let bound = try #require(a.receive())
    #expect(bound.summary == "FREE_UNTIL 650")
    a.acknowledge(bound.sequence)
    try bench.settle()
    #expect(b.receiveAll() == ["ACK 0"])
    // A later one does not concern the runner.
    b.send(.request, time: 660)
    try bench.settle()
    #expect(b.receiveAll() == ["ACK 0"])
    #expect(a.receiveAll() == [])

    a.send(.broadcast, time: 42)
    try bench.settle()
    #expect(a.receiveAll() == [])
    let broadcast = try #require(b.receive())
    #expect(broadcast.summary == "BROADCAST 42")
    b.acknowledge(broadcast.sequence)
    try bench.settle()
    #expect(a.receiveAll() == ["ACK 0"])

    try bench.wait(a, nil)
    #expect(a.receiveAll() == ["ACK 0"])
    #expect(try bench.run(b) == ["FREE_UNTIL \(far(660))", "RUN 660"])
    try bench.wait(b, nil)
    #expect(bench.endings == [.finished])
    #expect(b.receiveAll() == ["ACK 0"])
    #expect(bench.log == [])
    #expect(bench.controller.messageCount == UInt64(a.messageCount + b.messageCount))
  }

  @Test func aClientInSharedMemoryIsServedAllItsOperations() throws {
    let bench = try Bench(clients: 2, timeAtStart: 1_000_000)
    let all = try bench.waiting([(.shared, 500), (.shared, 700)])
    let (a, b) = (all[0], all[1])
    let fields = try #require(a.schedule)
    #expect(a.descriptorCount == 2)
    #expect(try bench.run(a) == ["RUN 500"])
    #expect(fields.runningSlot == a.slot)
    #expect(fields.currentTime.nanoseconds == 500)
    #expect(fields.freeUntil.nanoseconds == 700)
    #expect(fields.request(of: a.slot) == nil)

    fields.currentTime = SimulationTime(nanoseconds: 600)
    b.send(.get)
    try bench.settle()
    b.send(.getTimeOfDay)
    try bench.settle()
    #expect(b.receiveAll() == ["ACK 600", "ACK 1000600"])
    #expect(bench.controller.now.nanoseconds == 600)

    // Requests are not sent, but may be.
    b.send(.request, time: 650)
    try bench.settle()
    #expect(b.receiveAll() == ["ACK 0"])
    #expect(fields.freeUntil.nanoseconds == 650)
    #expect(fields.request(of: b.slot)?.nanoseconds == 650)
    a.send(.update, time: 620)
    try bench.settle()
    #expect(a.receiveAll() == ["ACK 0"])
    #expect(fields.currentTime.nanoseconds == 620)

    b.send(.broadcast, time: 7)
    try bench.settle()
    let broadcast = try #require(a.receive())
    #expect(broadcast.summary == "BROADCAST 7")
    a.acknowledge(broadcast.sequence)
    try bench.settle()
    #expect(b.receiveAll() == ["ACK 0"])

    try bench.wait(a, nil)
    #expect(a.receiveAll() == [])
    #expect(try bench.run(b) == ["RUN 650"])
    #expect(fields.freeUntil.nanoseconds == far(650))
    try bench.wait(b, nil)
    #expect(fields.runningSlot == 0)
    #expect(bench.endings == [.finished])
    #expect(bench.log == [])
  }

  @Test(arguments: ScriptedClient.Mode.allCases)
  func clientsBootOneByOneInTheOrderOfTheirNames(mode: ScriptedClient.Mode) throws {
    for order in [[3, 1, 2], [1, 2, 3], [2, 3, 1], [3, 2, 1]] as [[UInt64]] {
      let bench = try Bench(clients: 3)
      let connected = try order.map { try bench.connect($0, mode) }
      for client in connected { try bench.start(client) }
      for name in 1...3 {
        for client in connected where client.name > name { #expect(client.receive() == nil) }
        let client = try #require(connected.first { $0.name == name })
        try bench.boot(client)
        // While others have yet to boot, it may not move its clock.
        #expect(
          client.schedule?.freeUntil ?? .zero == (name == 3 ? SimulationTime(nanoseconds: 11) : .zero)
            || mode == .message)
        try bench.wait(client, UInt64(name) + 10)
      }
      #expect(bench.log == [])
    }
  }

  @Test func nobodyBootsBeforeAllAreThere() throws {
    let bench = try Bench(clients: 2)
    let a = try bench.connect(1)
    _ = try bench.connect(9)
    try bench.start(a)
    #expect(a.receiveAll() == [])
    let b = try bench.connect(2)
    try bench.start(b)
    #expect(a.receiveAll() == ["ACK 1"])
    #expect(b.receiveAll() == [])
  }

  @Test func aClientThatIsRefusedTheScheduleStaysInMessageMode() throws {
    let bench = try Bench(clients: 1, transport: .message)
    let client = try bench.connect(1, .shared)
    try bench.start(client)
    let answer = try bench.boot(client)
    // UML of 6.11 and later takes two descriptors for granted: they come, with a version that nobody knows.
    #expect(client.descriptorCount == 2)
    #expect(client.schedule == nil)
    #expect(answer.time == 0)
    let header = try Mapping(sharing: client.memoryDescriptor, count: 4096)
    #expect(CLinux_load32(header.base) != SharedSchedule.version)
    try bench.wait(client, 100)
    #expect(try bench.run(client) == ["ACK 0", "FREE_UNTIL \(far(100))", "RUN 100"])
    // Claiming the capability makes no difference.
    CLinux_store32(header.base, SharedSchedule.version)
    try bench.wait(client, 200)
    #expect(try bench.run(client) == ["ACK 0", "FREE_UNTIL \(far(200))", "RUN 200"])
    #expect(bench.log == [])
  }

  @Test func theScheduleIsLaidOutAsTheKernelHasIt() throws {
    let bench = try Bench(clients: 2)
    let a = try bench.connect(0x1122_3344_5566_7788, .shared)
    let b = try bench.connect(2, .shared)
    try bench.start(a)
    try bench.start(b)
    let answer = try #require(b.receive())
    let memory = Descriptor(owning: dup(b.memoryDescriptor))
    let size = fileSize(memory)
    #expect(size == 4096 + 128 * 4096)
    let mapping = try Mapping(sharing: memory, count: size)
    func word16(_ offset: Int) -> UInt16 { CLinux_load16(mapping.base + offset) }
    func word32(_ offset: Int) -> UInt32 { CLinux_load32(mapping.base + offset) }
    func word64(_ offset: Int) -> UInt64 { CLinux_load64(mapping.base + offset) }
    let slot = Int(answer.time)
    #expect(slot == 2)
    #expect(word32(0) == 2)  // version
    #expect(word32(4) == UInt32(size))  // len
    #expect(word64(8) == 0)  // free_until: another has yet to boot
    #expect(word64(16) == 0)  // current_time
    #expect(word16(24) == UInt16(slot))  // running_id
    #expect(word16(26) == 4096)  // max_clients
    #expect(word32(4096 + 128 * slot) == 0)  // capa: for the client to say
    #expect(word32(4096 + 128 * slot + 4) == 0)  // flags
    #expect(word64(4096 + 128 * slot + 16) == 2)  // name
    #expect(word64(4096 + 128 * 1 + 16) == 0x1122_3344_5566_7788)
    #expect(word32(4096) == 0)  // the controller's own slot claims nothing

    // As a client writes it, byte by byte.
    CLinux_store32(mapping.base + 4096 + 128 * slot, 1)
    CLinux_store64(mapping.base + 4096 + 128 * slot + 8, 777)
    CLinux_store32(mapping.base + 4096 + 128 * slot + 4, 1)
    b.send(.wait)
    try bench.settle()
    #expect(word16(24) == 1)
    try bench.boot(a)
    #expect(word64(8) == 777)
    try bench.wait(a, 900)
    #expect(b.receiveAll() == ["RUN 777"])
    #expect(word16(24) == UInt16(slot))
    #expect(word64(16) == 777)
    #expect(word64(8) == 900)
    #expect(word32(4096 + 128 * slot + 4) == 0)
    b.close()
    try bench.settle()
    for offset in 0..<16 { #expect(word64(4096 + 128 * slot + 8 * offset) == 0) }
    // Its size is sealed: nobody can make the others fault.
    for other in [0, size * 2] {
      let result = ftruncate(memory.rawValue, other)
      let code = errno
      #expect(result == -1 && code == EPERM)
    }
    #expect(bench.log == [])
  }

  private func expect(_ memory: borrowing Descriptor, slot: SharedSchedule.Slot, isKnown: Bool) {
    let known =
      switch SharedSchedule.open(memory, slot: slot) {
      case .some: true
      case .none: false
      }
    #expect(known == isKnown)
  }

  @Test func aViewOfAScheduleOfAnotherKindIsRefused() throws {
    let valid = try SharedSchedule(clientsMax: 3, offered: true)
    let descriptor = Descriptor(owning: dup(valid.memoryDescriptor))
    expect(descriptor, slot: 3, isKnown: true)
    expect(descriptor, slot: 4, isKnown: false)
    let refused = try SharedSchedule(clientsMax: 3, offered: false)
    expect(Descriptor(owning: dup(refused.memoryDescriptor)), slot: 1, isKnown: false)
    // Shorter than its header, shorter than it says, and empty.
    for count in [100, 4096, 0] {
      let short = Descriptor(owning: CLinux_memfd_create_sealable("short"))
      #expect(ftruncate(short.rawValue, count) == 0)
      if count == 4096 {
        let header = try Mapping(sharing: short, count: count)
        CLinux_store32(header.base, 2)
        CLinux_store32(header.base + 4, 8192)
      }
      expect(short, slot: 1, isKnown: false)
    }
    let pipe = try Descriptor.pipe()
    expect(pipe.reader, slot: 1, isKnown: false)
  }

  @Test(arguments: ScriptedClient.Mode.allCases)
  func aLateClientBeginsAtItsOwnZero(mode: ScriptedClient.Mode) throws {
    let bench = try Bench(clients: 1)
    let early = try bench.waiting([(.shared, 5000)])[0]
    let late = try bench.connect(7, mode)
    // Nothing new while somebody runs.
    #expect(try bench.run(early) == ["RUN 5000"])
    try bench.start(late)
    #expect(late.receiveAll() == [])
    early.schedule?.currentTime = SimulationTime(nanoseconds: 5100)
    early.schedule?.setRequest(of: early.slot, to: SimulationTime(nanoseconds: 6000))
    early.send(.wait)
    try bench.settle()
    try bench.boot(late)
    if let fields = late.schedule {
      #expect(fields.currentTime.nanoseconds == 5100)
      // The bound is up to date, so that its first steps cannot pass the others.
      #expect(fields.freeUntil.nanoseconds == 6000)
      fields.setRequest(of: late.slot, to: SimulationTime(nanoseconds: 5100 + 256))
    } else {
      late.send(.get)
      try bench.settle()
      #expect(late.receiveAll() == ["ACK 0"])
      late.send(.getTimeOfDay)
      try bench.settle()
      #expect(late.receiveAll() == ["ACK 5100"])
      late.send(.request, time: 256)
      try bench.settle()
      #expect(late.receiveAll() == ["ACK 0"])
    }
    late.send(.wait)
    try bench.settle()
    // UML takes the time of RUN as its own, in shared memory too.
    #expect(try bench.run(late) == (mode == .shared ? ["RUN 256"] : ["ACK 0", "FREE_UNTIL 900", "RUN 256"]))
    #expect(early.schedule?.currentTime.nanoseconds == 5356)
    late.send(.wait)
    try bench.settle()
    #expect(early.receiveAll() == ["RUN 6000"])
    #expect(bench.log == [])
  }

  /// With `time-travel-start=` UML sends nothing before its first WAIT, and kicks devices long before.
  @Test func aBootingClientIsSeenAndBoundBeforeItsFirstMessage() throws {
    let bench = try Bench(clients: 1)
    let local = bench.controller.makeLocalClient(name: 9)
    local.requestWake(at: SimulationTime(nanoseconds: 1000))
    let client = try bench.connect(1, .shared)
    try bench.start(client)
    try bench.boot(client)
    #expect(client.schedule?.freeUntil.nanoseconds == 1000)
    client.schedule?.currentTime = SimulationTime(nanoseconds: 300)
    #expect(local.now.nanoseconds == 300)
    local.requestWake(at: SimulationTime(nanoseconds: 350))
    #expect(client.schedule?.freeUntil.nanoseconds == 350)
    var turns: [UInt64] = []
    local.onTurn = {
      turns.append(local.now.nanoseconds)
      local.finishTurn(next: nil)
    }
    client.schedule?.currentTime = SimulationTime(nanoseconds: 340)
    try bench.wait(client, 400)
    #expect(turns == [350])
    #expect(client.receiveAll() == ["RUN 400"])
    #expect(bench.log == [])
  }

  @Test func aBroadcastIsAcknowledgedThoughAReceiverGoesAway() throws {
    let bench = try Bench(clients: 3)
    let all = try bench.waiting([(.message, 10), (.message, 20), (.shared, 30)])
    #expect(try bench.run(all[0]).last == "RUN 10")
    all[0].send(.broadcast, time: 1)
    try bench.settle()
    let one = try #require(all[1].receive())
    all[2].close()
    try bench.settle()
    #expect(all[0].receiveAll() == [])
    all[1].acknowledge(one.sequence)
    try bench.settle()
    #expect(all[0].receiveAll() == ["ACK 0"])
    // And to nobody at all.
    all[1].close()
    try bench.settle()
    all[0].send(.broadcast, time: 2)
    try bench.settle()
    #expect(all[0].receiveAll() == ["ACK 0"])
    #expect(bench.log == [])
  }

  @Test func aSimulationWithNothingToDoEnds() throws {
    let bench = try Bench(clients: 2)
    let all = try bench.waiting([(.message, 5), (.shared, nil)])
    try bench.run(all[0])
    #expect(bench.endings == [])
    try bench.wait(all[0], nil)
    #expect(bench.endings == [.finished])
    all[0].close()
    all[1].close()
    try bench.settle()
    #expect(bench.endings == [.finished])
  }

  @Test func clientsThatWaitForEverAreNamed() throws {
    let bench = try Bench(clients: 3)
    _ = try bench.waiting([(.message, Limits.idleForever), (.shared, Limits.idleForever), (.message, nil)])
    #expect(
      bench.endings == [
        .stuck(["client 1 waits for an interrupt, at 0 ns", "client 2 waits for an interrupt, at 0 ns"])
      ])
  }

  @Test func theEndWaitsForWhoHasConnectedAndNotStarted() throws {
    let bench = try Bench(clients: 1)
    let latecomer = try bench.connect(9)
    let waiting = try bench.waiting([(.message, Limits.idleForever)])
    #expect(bench.endings == [])
    latecomer.close()
    try bench.settle()
    #expect(bench.endings == [.stuck(["client 1 waits for an interrupt, at 0 ns"])])
    #expect(!waiting[0].isClosed)
  }
}
