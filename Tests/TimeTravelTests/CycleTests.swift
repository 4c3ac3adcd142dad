// What one request costs in messages: TIME-TRAVEL.md section 6.
import Foundation
import Simulation
import TestKit
import Testing
import TimeTravel

/// A path for one socket.
func temporarySocketPath() -> String {
  NSTemporaryDirectory() + "ttblk-\(getpid())-\(UInt64.random(in: .min ... .max)).sock"
}

@Suite struct CycleTests {
  private struct Cost {
    var guest: Int
    var total: UInt64
    var transcript: [String]
  }

  /// `count` requests at queue depth 1 of a guest, each with a latency.
  private func cost(
    of count: UInt64, guest: ScriptedClient.Mode, device: Party.Kind, transport: Controller.Transport
  ) throws -> Cost {
    let path = temporarySocketPath()
    var options = Controller.Options()
    options.transport = transport
    var separate: SeparateDevice?
    var world: World? = try World(
      [
        Party(
          name: 1, kind: .uml(guest),
          events: [.init(time: 1000, identifier: 1), .init(time: 1 << 40, identifier: 0)]),
        Party(name: 2, kind: device),
      ], options: options, path: path,
      makeOther: device != .other
        ? nil
        : { index, world in
          let made = try SeparateDevice(Party(name: 2, kind: .other), index: index, world: world, path: path)
          separate = made
          return made
        })
    world?.actions = { party, event in
      // Odd: the guest kicks; even: the device calls.
      if party == 0 {
        guard event.identifier > 0, event.identifier < 2 * count else { return [] }
        return [.kick(party: 1, event.identifier + 1, delay: 50_000)]
      }
      return [.kick(party: 0, event.identifier + 1, delay: 0)]
    }
    try world?.run()
    let result = Cost(
      guest: world?.uml(0)?.link.messageCount ?? 0, total: world?.controller.messageCount ?? 0,
      transcript: world?.transcript.map { "\($0)" } ?? [])
    #expect(world?.trace.count == Int(2 * count + 2))
    #expect(world?.trace.last { $0.identifier != 0 }?.time == 1000 + count * 50_000)
    #expect(world?.log == [])
    #expect(world?.checker.violations == [])
    world = nil
    separate?.join()
    return result
  }

  private func perRequest(
    guest: ScriptedClient.Mode, device: Party.Kind, transport: Controller.Transport
  ) throws -> (guest: Int, total: Int, remainder: Int, transcript: [String]) {
    let few = try cost(of: 10, guest: guest, device: device, transport: transport)
    let many = try cost(of: 30, guest: guest, device: device, transport: transport)
    let total = Int(many.total - few.total)
    return ((many.guest - few.guest) / 20, total / 20, total % 20, many.transcript)
  }

  @Test func aSeparateDeviceInMessageModeCosts28MessagesARequest() throws {
    let cost = try perRequest(guest: .message, device: .other, transport: .message)
    #expect(cost.total == 28)
    #expect(cost.remainder == 0)
    #expect(cost.guest == 16)
    let cycle = [
      "1 > UPDATE", "1 < ACK 0", "1 < FREE_UNTIL", "1 > ACK 0", "1 > REQUEST", "1 < ACK 0", "1 > WAIT",
      "1 < ACK 0",
      "1 > GET", "1 < ACK", "1 > REQUEST", "1 < ACK 0", "1 < FREE_UNTIL", "1 > ACK 0", "1 < RUN", "1 > ACK 0",
    ]
    // Ten cycles in the middle.
    let first = try #require(cost.transcript.firstIndex { $0.hasPrefix("1 > UPDATE") })
    for index in 0..<160 {
      #expect(cost.transcript[first + 64 + index].hasPrefix(cycle[index % 16]), "message \(index)")
    }
  }

  @Test func aSeparateDeviceInSharedMemoryCosts4MessagesARequest() throws {
    let cost = try perRequest(guest: .shared, device: .other, transport: .sharedMemory)
    #expect(cost.total == 4)
    #expect(cost.remainder == 0)
    #expect(cost.guest == 2)
    let tail = cost.transcript.suffix(24).prefix(20)
    #expect(tail.allSatisfy { $0 == "1 > WAIT" || $0.hasPrefix("1 < RUN ") })
  }

  @Test func aSharedDeviceOfAMessageGuestCostsTheGuestOnly() throws {
    let cost = try perRequest(guest: .message, device: .other, transport: .sharedMemory)
    // The guest's 16; of the device REQUEST and its ACK, RUN, WAIT.
    #expect(cost.guest == 16)
    #expect(cost.total == 16 + 4)
    #expect(cost.remainder == 0)
  }

  @Test func anEmbeddedDeviceCosts16MessagesARequestInMessageMode() throws {
    for transport in Controller.Transport.allCases {
      let cost = try perRequest(guest: .message, device: .local, transport: transport)
      #expect(cost.total == 16)
      #expect(cost.guest == 16)
      #expect(cost.remainder == 0)
    }
  }

  @Test func anEmbeddedDeviceCosts2MessagesARequestInSharedMemory() throws {
    let cost = try perRequest(guest: .shared, device: .local, transport: .sharedMemory)
    #expect(cost.total == 2)
    #expect(cost.guest == 2)
    #expect(cost.remainder == 0)
  }
}
