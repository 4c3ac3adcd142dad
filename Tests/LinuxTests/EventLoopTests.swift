// One thread's wait for many descriptors.
import Foundation
import Linux
import Testing

/// An event counter and how often it was seen.
private final class Probe {
  let descriptor: Descriptor
  var count = 0
  var token: EventLoop.Token?

  init() throws { descriptor = try Descriptor.eventCounter() }

  func signal() {
    var one: UInt64 = 1
    _ = write(descriptor.rawValue, &one, 8)
  }

  func clear() {
    var value: UInt64 = 0
    _ = read(descriptor.rawValue, &value, 8)
  }
}

@Suite struct EventLoopTests {
  @Test func handlersAreCalledInTheOrderOfRegistration() throws {
    let loop = try EventLoop()
    let probes = try (0..<20).map { _ in try Probe() }
    var order: [Int] = []
    func add(_ index: Int) throws {
      probes[index].token = try loop.add(probes[index].descriptor.rawValue) {
        order.append(index)
        probes[index].clear()
      }
    }
    for index in 0..<20 { try add(index) }
    // Registered again, they are at the end, whatever place they take.
    for index in [3, 0, 7] { loop.remove(try #require(probes[index].token)) }
    for index in [7, 0, 3] { try add(index) }
    for index in (0..<20).reversed() { probes[index].signal() }
    #expect(try loop.runOnce(timeout: 0))
    #expect(order == (0..<20).filter { ![0, 3, 7].contains($0) } + [7, 0, 3])
    #expect(try !loop.runOnce(timeout: 0))
  }

  @Test func aHandlerMayRemoveOthersAndItself() throws {
    let loop = try EventLoop()
    let probes = try (0..<3).map { _ in try Probe() }
    for probe in probes { probe.signal() }
    for (index, probe) in probes.enumerated() {
      probe.token = try loop.add(probe.descriptor.rawValue) {
        probe.count += 1
        if index == 0 { for other in probes { if let token = other.token { loop.remove(token) } } }
      }
    }
    while try loop.runOnce(timeout: 0) {}
    #expect(probes.map(\.count) == [1, 0, 0])
  }

  @Test func aHandlerMayReuseThePlaceOfOneThatIsDue() throws {
    let loop = try EventLoop()
    let probes = try (0..<3).map { _ in try Probe() }
    probes[0].signal()
    probes[1].signal()
    probes[0].token = try loop.add(probes[0].descriptor.rawValue) {
      probes[0].clear()
      if let token = probes[1].token { loop.remove(token) }
      // It takes the place of 1, whose event is in this batch.
      probes[2].token = try? loop.add(probes[2].descriptor.rawValue) { probes[2].count += 1 }
    }
    probes[1].token = try loop.add(probes[1].descriptor.rawValue) { probes[1].count += 1 }
    while try loop.runOnce(timeout: 0) {}
    #expect(probes.map(\.count) == [0, 0, 0])
    probes[2].signal()
    try loop.runOnce(timeout: 0)
    #expect(probes[2].count == 1)
  }

  @Test func anOldTokenDoesNothing() throws {
    let loop = try EventLoop()
    let probe = try Probe()
    let old = try loop.add(probe.descriptor.rawValue) {}
    loop.remove(old)
    loop.remove(old)
    probe.token = try loop.add(probe.descriptor.rawValue) {
      probe.count += 1
      probe.clear()
    }
    loop.remove(old)
    try loop.setActive(old, false)
    probe.signal()
    try loop.runOnce(timeout: 0)
    #expect(probe.count == 1)
  }

  @Test func anInactiveDescriptorIsSilentUntilItIsActiveAgain() throws {
    let loop = try EventLoop()
    let pair = try UnixSocket.pair()
    var seen = 0
    let token = try loop.add(pair.reader.rawValue) { seen += 1 }
    try loop.setActive(token, false)
    try loop.setActive(token, false)
    // Closed by the peer: the kernel reports that even to who asks for nothing.
    shutdown(pair.writer.rawValue, CInt(SHUT_RDWR))
    #expect(try !loop.runOnce(timeout: 0))
    #expect(seen == 0)
    try loop.setActive(token, true)
    try loop.runOnce(timeout: 0)
    #expect(seen == 1)
    // Within one batch too.
    let first = try Probe()
    let second = try Probe()
    first.signal()
    second.signal()
    loop.remove(token)
    first.token = try loop.add(first.descriptor.rawValue) {
      first.clear()
      if let token = second.token { try? loop.setActive(token, false) }
    }
    second.token = try loop.add(second.descriptor.rawValue) { second.count += 1 }
    try loop.runOnce(timeout: 0)
    #expect(second.count == 0)
    loop.remove(try #require(second.token))
  }

  @Test func whatIsPutOffComesAfterTheHandlersAndDoesNotWait() throws {
    let loop = try EventLoop()
    let probes = try (0..<2).map { _ in try Probe() }
    var order: [String] = []
    for (index, probe) in probes.enumerated() {
      probe.token = try loop.add(probe.descriptor.rawValue) {
        probe.clear()
        order.append("handler \(index)")
        loop.afterHandlers { order.append("after \(index)") }
      }
      probe.signal()
    }
    try loop.runOnce(timeout: 0)
    #expect(order == ["handler 0", "handler 1", "after 0", "after 1"])

    // Without anything readable and without a limit: it has to come back.
    var isDone = false
    loop.afterHandlers { isDone = true }
    while !isDone { #expect(try loop.runOnce()) }

    // A chain of such things leaves descriptors their turn.
    var rounds = 0
    func again() {
      rounds += 1
      if probes[0].count == 0 { loop.afterHandlers { again() } }
    }
    loop.remove(try #require(probes[0].token))
    probes[0].token = try loop.add(probes[0].descriptor.rawValue) { probes[0].count += 1 }
    loop.afterHandlers { again() }
    probes[0].signal()
    while probes[0].count == 0 { try loop.runOnce() }
    #expect(rounds < 10)
  }

  @Test func moreThanOneBatchIsServedInTheEnd() throws {
    let loop = try EventLoop()
    let probes = try (0..<300).map { _ in try Probe() }
    for probe in probes {
      probe.token = try loop.add(probe.descriptor.rawValue) {
        probe.count += 1
        probe.clear()
      }
      probe.signal()
    }
    while try loop.runOnce(timeout: 0) {}
    #expect(probes.allSatisfy { $0.count == 1 })
  }

  @Test func whatCannotBeWatchedIsAnError() throws {
    let loop = try EventLoop()
    #expect(throws: LinuxError.self) { _ = try loop.add(-1) {} }
    let probe = try Probe()
    _ = try loop.add(probe.descriptor.rawValue) {}
    do {
      _ = try loop.add(probe.descriptor.rawValue) {}
      Issue.record("the same descriptor twice")
    } catch {
      #expect(error.code == EEXIST)
    }
    probe.signal()
    #expect(try loop.runOnce(timeout: 0))
  }
}
