// Many clients, and clients that say anything.
import Foundation
import Linux
import Simulation
import TestKit
import Testing

@testable import TimeTravel

@Suite struct ScaleTests {
  /// Room for the sockets of this test; false if the host does not allow it.
  private func raiseDescriptorLimit(to count: UInt) -> Bool {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    guard limit.rlim_max >= count else { return false }
    limit.rlim_cur = max(limit.rlim_cur, rlim_t(count))
    return setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0
  }

  @Test func aThousandClientsRunInOrder() throws {
    try #require(raiseDescriptorLimit(to: 4096), "the host does not allow 4,096 descriptors")
    let count = 1000
    let seed: UInt64 = 1
    print("seed \(seed)")
    var random = RandomStream(seed: seed, name: "thousand")
    let path = NSTemporaryDirectory() + "ttblk-\(getpid())-\(UInt64.random(in: .min ... .max)).sock"
    let loop = try EventLoop()
    var options = Controller.Options()
    options.expectedClients = count
    let controller = try Controller(options: options, path: path, loop: loop)
    var log: [String] = []
    var ending: Controller.Ending?
    controller.log = { log.append($0) }
    controller.onEnd = { ending = $0 }
    func settle() throws { while try loop.runOnce(timeout: 0) {} }

    var clients: [ScriptedClient] = []
    for name in (0..<UInt64(count)).shuffled(using: &random) {
      let mode: ScriptedClient.Mode = random.next() % 2 == 0 ? .message : .shared
      let client = try ScriptedClient(name: name, mode: mode, socket: UnixSocket.connect(to: path))
      client.send(.start, time: name)
      clients.append(client)
    }
    try settle()
    #expect(controller.clientCount == count)
    clients.sort { $0.name < $1.name }
    // Three turns each; few distinct times, so that most are ties.
    let times = clients.map { _ in
      (0..<3).map { UInt64($0) * 100 + UInt64.random(in: 1...20, using: &random) }
    }
    func wait(_ client: ScriptedClient, turn: Int) throws {
      let time = turn < 3 ? times[Int(client.name)][turn] : Limits.idleForever
      if client.isShared {
        client.schedule?.setRequest(of: client.slot, to: SimulationTime(nanoseconds: time))
      } else {
        client.send(.request, time: time)
        try settle()
        #expect(client.receive()?.operation == .acknowledge)
      }
      client.send(.wait)
      try settle()
      if !client.isShared { #expect(client.receive()?.operation == .acknowledge) }
    }
    for client in clients {
      let answer = try #require(client.receive(), "client \(client.name) did not boot in its turn")
      client.acceptSchedule(answer)
      client.schedule?.setCapable(client.slot)
      try wait(client, turn: 0)
    }
    var order: [(time: UInt64, name: Int, turn: Int)] = []
    for name in 0..<count { for turn in 0..<3 { order.append((times[name][turn], name, turn)) } }
    order.sort { ($0.time, $0.name) < ($1.time, $1.name) }
    for (time, name, turn) in order {
      let client = clients[name]
      if !client.isShared { client.acknowledge(try #require(client.receive()).sequence) }
      let run = try #require(client.receive(), "client \(name) does not run at \(time)")
      #expect(run.operation == .run && run.time == time)
      if !client.isShared { client.acknowledge(run.sequence) }
      try wait(client, turn: turn + 1)
    }
    guard case .stuck(let lines) = ending else {
      Issue.record("ended as \(String(describing: ending))")
      return
    }
    #expect(lines.count == count)
    #expect(log == [])
    clients = []
    try settle()
    #expect(controller.clientCount == 0)
  }

  @Test func oneClientTooManyIsTurnedAwayWithOneLine() throws {
    try #require(raiseDescriptorLimit(to: 8192), "the host does not allow 8,192 descriptors")
    let bench = try Bench(clients: 1)
    func adopt() throws {
      // The other end is closed at once; the controller hears of it only when its loop runs.
      var theirs: CInt = -1
      try UnixSocket.pair().split { theirs = $1.release() }
      try bench.controller.adopt(UnixSocket(owning: Descriptor(owning: theirs)))
    }
    for _ in 0..<Limits.clientsMax { try adopt() }
    #expect(bench.log == [])
    #expect(bench.controller.clientCount == 4095)
    try adopt()
    #expect(bench.log == ["a client was turned away: all 4095 places are taken"])
    #expect(bench.controller.clientCount == 4095)
    try bench.settle()
    #expect(bench.controller.clientCount == 0)
    let client = try bench.connect(1)
    try bench.start(client)
    #expect(try bench.boot(client).time == 1)
  }

  @Test func anyMessagesFromAnybodyNeitherStopTheControllerNorAnHonestClient() throws {
    let seeds = 0..<UInt64(200)
    print("seeds \(seeds)")
    for seed in seeds {
      var random = RandomStream(seed: seed, name: "fuzz")
      let bench = try Bench(clients: 1, transport: random.next() % 4 == 0 ? .message : .sharedMemory)
      let honest = try bench.connect(1)
      honest.send(.start, time: 1)
      var others: [ScriptedClient] = []
      var turns = 0
      var hasStarted = false
      /// Does what a client has to do.
      func serve() throws {
        while let message = honest.receive() {
          switch message.operation {
          case .acknowledge where !hasStarted:
            hasStarted = true
            honest.send(.wait)
          case .acknowledge: break
          case .run:
            turns += 1
            honest.acknowledge(message.sequence)
            honest.send(.wait)
          default: honest.acknowledge(message.sequence)
          }
          try bench.settle()
        }
      }
      for _ in 0..<Int.random(in: 10...120, using: &random) {
        if others.isEmpty || random.next() % 8 == 0 {
          others.append(
            try bench.connect(UInt64(others.count) + 2, random.next() % 2 == 0 ? .message : .shared))
          others.last?.send(.start, time: UInt64(others.count) + 1)
        }
        guard let one = others.randomElement(using: &random) else { continue }
        let times = [0, 1, bench.controller.now.nanoseconds, random.next() % 1000, random.next(), .max]
        let time = times.randomElement(using: &random) ?? 0
        switch random.next() % 16 {
        case 0: one.close()
        case 1:
          one.send(
            bytes: (0..<Int.random(in: 1...40, using: &random)).map { _ in UInt8(random.next() & 255) })
        case 2:
          if let memory = try? Mapping(sharing: one.memoryDescriptor, count: 4096 + 16 * 128) {
            let slot = Int.random(in: 0..<24, using: &random)
            let offset = slot < 16 ? 4096 + Int(one.slot) * 128 + slot * 8 : (slot - 16) * 8
            memory.base.storeBytes(of: random.next(), toByteOffset: offset, as: UInt64.self)
          }
        case 3: one.acknowledge(UInt32(truncatingIfNeeded: random.next() % 8))
        case 4, 5, 6:
          // As it should.
          while let message = one.receive() {
            if !one.isShared, one.acceptSchedule(message) { one.schedule?.setCapable(one.slot) }
            if message.operation != .acknowledge { one.acknowledge(message.sequence) }
          }
        default:
          let operation = TimeTravel.Operation.allCases.randomElement(using: &random) ?? .get
          one.send(operation, time: time)
        }
        try bench.settle()
        try serve()
      }
      for one in others { one.close() }
      try bench.settle()
      try serve()
      #expect(!honest.isClosed, "seed \(seed): \(bench.log)")
      #expect(hasStarted || bench.endings.count == 1, "seed \(seed)")
      #expect(bench.endings == [.finished] || bench.endings.count == 1, "seed \(seed): \(bench.log)")
    }
  }
}
