// Descriptors beside operations.
import Glibc
import Linux
import Testing

@testable import BlockIO

@Suite("Watched descriptors") struct WatchTests {
  @Test("an eventfd is reported as long as it is readable", arguments: EngineKind.allCases)
  func level(kind: EngineKind) throws {
    let rig = try EngineRig(kind)
    let counter = try Descriptor.eventCounter()
    ring(counter.rawValue)
    // Readable before it is watched, and watched before the engine runs.
    try rig.engine.watch(counter.rawValue, tag: 7)
    for _ in 0..<3 { #expect(try awaited(rig) == [IOEvent(tag: 7, code: 0)]) }
    empty(counter.rawValue)
    #expect(try looks(rig, 40) == [])
    for _ in 0..<3 {
      ring(counter.rawValue)
      #expect(try awaited(rig) == [IOEvent(tag: 7, code: 0)])
      empty(counter.rawValue)
      #expect(try looks(rig, 2).isEmpty)
    }
    #expect(try rig.run(.milliseconds(1)) == [])
    rig.engine.unwatch(counter.rawValue)
  }

  @Test("what is no longer watched is not reported, whatever it holds", arguments: EngineKind.allCases)
  func unwatch(kind: EngineKind) throws {
    let rig = try EngineRig(kind)
    let one = try Descriptor.eventCounter()
    let two = try Descriptor.eventCounter()
    rig.engine.unwatch(one.rawValue)
    try rig.engine.watch(one.rawValue, tag: 1)
    rig.engine.unwatch(one.rawValue)
    try rig.engine.watch(one.rawValue, tag: 2)
    #expect(throws: BlockIOError.self) { try rig.engine.watch(one.rawValue, tag: 3) }
    try rig.engine.watch(two.rawValue, tag: 4)
    #expect(try looks(rig, 3) == [])
    ring(one.rawValue)
    rig.engine.unwatch(one.rawValue)
    ring(two.rawValue)
    #expect(try awaited(rig) == [IOEvent(tag: 4, code: 0)])
    // Again, with another tag, and readable all the time.
    try rig.engine.watch(one.rawValue, tag: 5)
    #expect(try Set(looks(rig, 10).map(\.tag)) == [4, 5])
    rig.engine.unwatch(two.rawValue)
    #expect(try Set(looks(rig, 10).map(\.tag)) == [5])
    rig.engine.unwatch(one.rawValue)
    rig.engine.unwatch(one.rawValue)
    #expect(try looks(rig, 10) == [])
    // Nothing is under way, nothing is watched: nobody waits for ever.
    #expect(try rig.run(.forever) == [])
  }

  @Test("sockets: data, what is left of it, and a peer that closed", arguments: EngineKind.allCases)
  func sockets(kind: EngineKind) throws {
    let rig = try EngineRig(kind)
    var ends: [CInt] = [-1, -1]
    try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
    try rig.engine.watch(ends[0], tag: 9)
    #expect(try looks(rig, 2) == [])
    write(ends[1], "abc", 3)
    for _ in 0..<3 {
      #expect(try awaited(rig) == [IOEvent(tag: 9, code: 0)])
      var byte: UInt8 = 0
      #expect(read(ends[0], &byte, 1) == 1)
    }
    #expect(try looks(rig, 2) == [])
    // Unwatched and closed: the peer learns of it.
    try rig.engine.watch(ends[1], tag: 10)
    rig.engine.unwatch(ends[0])
    close(ends[0])
    #expect(try awaited(rig) == [IOEvent(tag: 10, code: 0)])
    #expect(try awaited(rig) == [IOEvent(tag: 10, code: 0)])
    rig.engine.unwatch(ends[1])
    close(ends[1])
    #expect(throws: BlockIOError.self) { try rig.engine.watch(ends[1], tag: 11) }
  }

  @Test("descriptors have their turn while operations never end", arguments: EngineKind.allCases)
  func both(kind: EngineKind) throws {
    let temporary = TemporaryFile([UInt8](repeating: 1, count: 65536), folder: Access.folder)
    let file = try FileRegistry().open(temporary.path, writable: true)
    let rig = try EngineRig(kind, depth: 8)
    let counter = try Descriptor.eventCounter()
    try rig.engine.watch(counter.rawValue, tag: 1)
    let memory = Memory(count: 4096)
    for _ in 0..<32 { rig.start(.read, file, memory) }
    var turns = 0
    var operations = 0
    ring(counter.rawValue)
    while turns < 10, operations < 100_000 {
      for event in try rig.run(.forever) {
        if event.tag == 1 {
          turns += 1
        } else {
          operations += 1
          rig.start(.read, file, memory)
        }
      }
    }
    #expect(turns == 10 && operations < 100_000)
    rig.engine.unwatch(counter.rawValue)
    while rig.engine.underWay > 0 { _ = try rig.run(.forever) }
  }

  @Test("many descriptors at once", arguments: EngineKind.allCases)
  func many(kind: EngineKind) throws {
    let rig = try EngineRig(kind, depth: 4)
    let counters = try (0..<30).map { _ in try Descriptor.eventCounter().release() }
    defer { for counter in counters { close(counter) } }
    for (index, counter) in counters.enumerated() { try rig.engine.watch(counter, tag: UInt64(index)) }
    for counter in counters { ring(counter) }
    #expect(try Set(looks(rig, 20).map(\.tag)) == Set(0..<30))
    for counter in counters[..<15] { rig.engine.unwatch(counter) }
    #expect(try Set(looks(rig, 20).map(\.tag)) == Set(15..<30))
    for counter in counters[15...] { rig.engine.unwatch(counter) }
    #expect(try looks(rig, 20) == [])
  }

  @Test("another thread wakes an engine that sleeps", arguments: EngineKind.allCases)
  func thread(kind: EngineKind) throws {
    let rig = try EngineRig(kind)
    let counter = try Descriptor.eventCounter()
    try rig.engine.watch(counter.rawValue, tag: 3)
    let number = counter.rawValue
    var thread = pthread_t()
    let argument = UnsafeMutableRawPointer(bitPattern: Int(number) + 1)
    pthread_create(
      &thread, nil,
      { argument in
        usleep(1000)
        ring(CInt(Int(bitPattern: argument)) - 1)
        return nil
      }, argument)
    #expect(try awaited(rig) == [IOEvent(tag: 3, code: 0)])
    pthread_join(thread, nil)
    rig.engine.unwatch(number)
  }

  @Test("an engine made here works on the thread that runs it first", arguments: EngineKind.allCases)
  func handedOver(kind: EngineKind) throws {
    let temporary = TemporaryFile([UInt8](repeating: 1, count: 65536), folder: Access.folder)
    let file = try FileRegistry().open(temporary.path, writable: true)
    let rig = try EngineRig(kind)
    let counter = try Descriptor.eventCounter()
    try rig.engine.watch(counter.rawValue, tag: 3)
    ring(counter.rawValue)
    let memory = Memory(count: 65536)
    let tag = rig.start(.read, file, memory)
    var thread = pthread_t()
    pthread_create(
      &thread, nil,
      { argument in
        let rig = Unmanaged<EngineRig>.fromOpaque(argument!).takeUnretainedValue()
        rig.collect(2)
        return nil
      }, Unmanaged.passUnretained(rig).toOpaque())
    pthread_join(thread, nil)
    #expect(Set(rig.collected.map(\.tag)).isSuperset(of: [3, tag]))
    #expect(rig.collected.allSatisfy { $0.code == 0 } && memory.bytes.allSatisfy { $0 == 1 })
  }

  /// Waits for events. A wait may end without any: the kernel interrupts a thread that once had a ring when
  /// another one closes that (task work), as a signal would.
  private func awaited(_ rig: EngineRig) throws -> [IOEvent] {
    while true {
      let events = try rig.run(.forever)
      if !events.isEmpty { return events }
    }
  }

  /// Looks several times without waiting: a run may leave descriptors to one of the next.
  private func looks(_ rig: EngineRig, _ count: Int) throws -> [IOEvent] {
    var events: [IOEvent] = []
    for _ in 0..<count { events += try rig.run(.no) }
    return events
  }
}

private func ring(_ counter: CInt) {
  var one: UInt64 = 1
  write(counter, &one, 8)
}

private func empty(_ counter: CInt) {
  var count: UInt64 = 0
  read(counter, &count, 8)
}
