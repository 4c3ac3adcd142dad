// The order of turns: the same whatever carries the requests.
import Simulation
import TestKit
import Testing
import TimeTravel

/// A simulation made up from a seed: some parties with events of their own, which kick each other.
private struct Script {
  var names: [UInt64]
  var events: [[UMLClient.Event]]
  var priorities: [UInt64: UInt8]
  var seed: UInt64

  init(seed: UInt64) {
    self.seed = seed
    var random = RandomStream(seed: seed, name: "script")
    let count = Int.random(in: 2...6, using: &random)
    names = (0..<count).map { UInt64($0) * 10 + 3 }.shuffled(using: &random)
    priorities = [:]
    if random.next() % 2 == 0 {
      for name in names { priorities[name] = UInt8.random(in: 99...101, using: &random) }
    }
    var identifier: UInt64 = 0
    events = []
    for _ in 0..<count {
      var own: [UMLClient.Event] = []
      for _ in 0..<Int.random(in: 0...4, using: &random) {
        identifier += 1
        // Few distinct times, so that there are many ties.
        own.append(.init(time: UInt64.random(in: 0...6, using: &random) * 10, identifier: identifier))
      }
      events.append(own)
    }
  }

  /// What an event does depends on its identifier alone. The generation is in the upper bits, so that it
  /// ends.
  func actions(of event: UMLClient.Event, by party: Int) -> [Action] {
    let generation = event.identifier >> 56
    guard generation < 3 else { return [] }
    var random = RandomStream(seed: seed ^ event.identifier, name: "actions")
    return (0..<Int.random(in: 0...3, using: &random)).map { index in
      var child = RandomStream(seed: event.identifier &* 8 &+ UInt64(index), name: "child")
      let identifier = (generation + 1) << 56 | child.next() >> 8
      let delay = [0, 0, 1, 10, 20, 25].randomElement(using: &random) ?? 0
      let target = Int.random(in: 0..<names.count, using: &random)
      if target == party { return .schedule(identifier, delay: UInt64(delay)) }
      return .kick(party: target, identifier, delay: UInt64(delay))
    }
  }

  func run(_ kinds: [Party.Kind], transport: Controller.Transport) throws -> World {
    var options = Controller.Options()
    options.transport = transport
    options.priorities = priorities
    var random = RandomStream(seed: seed, name: "connecting")
    let parties = names.indices.map { Party(name: names[$0], kind: kinds[$0], events: events[$0]) }
    let order = Array(names.indices).shuffled(using: &random)
    if !kinds.contains(.other) {
      let world = try World(parties, options: options, connectOrder: order)
      world.actions = { party, event in actions(of: event, by: party) }
      try world.run()
      return world
    }
    let path = temporarySocketPath()
    let world = try World(
      parties, options: options, connectOrder: order, path: path,
      makeOther: { try SeparateDevice(parties[$0], index: $0, world: $1, path: path) })
    world.actions = { party, event in actions(of: event, by: party) }
    try world.run()
    return world
  }
}

@Suite struct OrderTests {
  /// What TIME-TRAVEL.md section 5 calls order2: A runs, kicks B; B asks for T first, A asks for T second.
  /// The reference controller runs B first in message mode and A first in shared memory.
  @Test(arguments: [
    [Party.Kind.uml(.message), .uml(.message)], [.uml(.shared), .uml(.shared)],
    [.uml(.message), .uml(.shared)],
    [.uml(.shared), .uml(.message)], [.local, .uml(.message)], [.uml(.message), .local],
    [.uml(.shared), .local],
    [.local, .uml(.shared)],
  ])
  func tiesGoByNameWhoeverAskedFirst(kinds: [Party.Kind]) throws {
    for (first, second) in [(1, 2), (2, 1)] as [(UInt64, UInt64)] {
      let world = try World([
        Party(name: first, kind: kinds[0], events: [.init(time: 100, identifier: 1)]),
        Party(name: second, kind: kinds[1]),
      ])
      world.actions = { _, event in
        event.identifier == 1 ? [.kick(party: 1, 2, delay: 50), .schedule(3, delay: 50)] : []
      }
      try world.run()
      let expected: [UInt64] = first < second ? [1, 3, 2] : [1, 2, 3]
      #expect(world.trace.map(\.identifier) == expected)
      #expect(world.log.isEmpty)
      #expect(world.checker.violations.isEmpty)
    }
  }

  @Test func aLowerPriorityNumberGoesBeforeALowerName() throws {
    for kind in [Party.Kind.uml(.message), .uml(.shared), .local] {
      var options = Controller.Options()
      options.priorities = [7: 5, 8: 4]
      let world = try World(
        [9, 7, 8].map { Party(name: $0, kind: kind, events: [.init(time: 10, identifier: $0)]) },
        options: options)
      try world.run()
      #expect(world.trace.map(\.name) == [8, 7, 9])
    }
  }

  @Test func namesakesGoInTheOrderOfTheirArrival() throws {
    for kind in [Party.Kind.uml(.message), .uml(.shared), .local] {
      let world = try World(
        [1, 2, 3].map { Party(name: 5, kind: kind, events: [.init(time: 10, identifier: $0)]) },
        connectOrder: [2, 0, 1])
      try world.run()
      #expect(world.trace.map(\.identifier) == [1, 2, 3])
    }
  }

  @Test func randomScriptsHappenInOneOrderInEveryTransport() throws {
    var occurrences = 0
    for seed in 0..<UInt64(40) {
      let script = Script(seed: seed)
      let count = script.names.count
      func all(_ kind: Party.Kind) -> [Party.Kind] { Array(repeating: kind, count: count) }
      let reference = try script.run(all(.uml(.shared)), transport: .sharedMemory)
      occurrences += reference.trace.count
      var random = RandomStream(seed: seed, name: "mix")
      let chosen = Int.random(in: 0..<count, using: &random)
      var embeddedShared = all(.uml(.shared))
      embeddedShared[chosen] = .local
      var embeddedMessage = all(.uml(.message))
      embeddedMessage[chosen] = .local
      let mixed = (0..<count).map { _ in
        [Party.Kind.uml(.message), .uml(.shared)].randomElement(using: &random) ?? .local
      }
      let mixedEmbedded = (0..<count).map { _ in
        [Party.Kind.uml(.message), .uml(.shared), .local].randomElement(using: &random) ?? .local
      }
      var separate = embeddedShared
      separate[chosen] = .other
      var separateMixed = mixed
      separateMixed[chosen] = .other
      var separateMessage = embeddedMessage
      separateMessage[chosen] = .other
      let others: [(String, [Party.Kind], Controller.Transport)] = [
        ("one a process of its own, shared", separate, .sharedMemory),
        ("one a process of its own, mixed", separateMixed, .sharedMemory),
        ("one a process of its own, message", separateMessage, .message),
        ("one a process of its own, message guests", separateMessage, .sharedMemory),
        ("message", all(.uml(.message)), .message),
        ("message, shared offered", all(.uml(.message)), .sharedMemory),
        ("mixed", mixed, .sharedMemory), ("shared refused", all(.uml(.shared)), .message),
        ("one embedded, shared", embeddedShared, .sharedMemory),
        ("one embedded, message", embeddedMessage, .message),
        ("all embedded", all(.local), .message), ("anything", mixedEmbedded, .sharedMemory),
      ]
      #expect(reference.checker.violations.isEmpty, "seed \(seed), shared")
      #expect(reference.log.isEmpty, "seed \(seed), shared")
      for (name, kinds, transport) in others {
        do {
          let world = try script.run(kinds, transport: transport)
          #expect(world.trace == reference.trace, "seed \(seed), \(name)")
          #expect(world.checker.violations.isEmpty, "seed \(seed), \(name)")
          #expect(world.log.isEmpty, "seed \(seed), \(name)")
        } catch {
          Issue.record(error, "seed \(seed), \(name), \(kinds)")
        }
      }
    }
    print("seeds 0..<40: \(occurrences) occurrences in each of thirteen transports")
  }
}
