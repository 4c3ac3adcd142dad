// A controller in the test's own thread, and raw clients beside it.
import Linux
import Simulation
import TestKit
import Testing

@testable import TimeTravel

/// A controller and its loop; the test says what every client does, message by message.
final class Bench {
  let loop: EventLoop
  let controller: Controller
  private(set) var log: [String] = []
  private(set) var endings: [Controller.Ending] = []
  /// A client that nobody mentions any more is still there.
  private var clients: [ScriptedClient] = []

  init(
    clients: Int, transport: Controller.Transport = .sharedMemory, timeAtStart: UInt64 = 0,
    priorities: [UInt64: UInt8] = [:]
  ) throws {
    loop = try EventLoop()
    var options = Controller.Options()
    options.expectedClients = clients
    options.transport = transport
    options.timeAtStart = timeAtStart
    options.priorities = priorities
    controller = try Controller(options: options, path: nil, loop: loop)
    controller.log = { [unowned self] in log.append($0) }
    controller.onEnd = { [unowned self] in endings.append($0) }
  }

  /// A connected client that has said nothing yet.
  func connect(_ name: UInt64, _ mode: ScriptedClient.Mode = .message) throws -> ScriptedClient {
    var mine: CInt = -1
    var theirs: CInt = -1
    try UnixSocket.pair().split {
      mine = $0.release()
      theirs = $1.release()
    }
    try controller.adopt(UnixSocket(owning: Descriptor(owning: theirs)))
    let client = try ScriptedClient(
      name: name, mode: mode, socket: UnixSocket(owning: Descriptor(owning: mine)))
    clients.append(client)
    return client
  }

  /// Lets the controller do all that it can do now.
  func settle() throws {
    var rounds = 0
    while try loop.runOnce(timeout: 0) {
      rounds += 1
      try #require(rounds < 100_000, "the controller does not come to rest")
    }
  }

  /// Sends START; the answer, if it comes at once, is left in the socket.
  func start(_ client: ScriptedClient) throws {
    client.send(.start, time: client.name)
    try settle()
  }

  /// Takes START's acknowledgement and maps the schedule if the client's mode says so.
  @discardableResult
  func boot(_ client: ScriptedClient) throws -> Message {
    let answer = try #require(client.receive())
    #expect(answer.operation == .acknowledge)
    client.acceptSchedule(answer)
    client.schedule?.setCapable(client.slot)
    return answer
  }

  /// Clients 1, 2, … that have booted and wait for the times given, nil for none.
  func waiting(_ clients: [(mode: ScriptedClient.Mode, request: UInt64?)]) throws -> [ScriptedClient] {
    let all = try clients.enumerated().map { try connect(UInt64($0.offset) + 1, $0.element.mode) }
    for client in all { try start(client) }
    for (client, (_, request)) in zip(all, clients) {
      try boot(client)
      try wait(client, request)
      if !client.isShared { #expect(client.receive()?.operation == .acknowledge) }
    }
    return all
  }

  /// Asks for `request` and gives the turn away; WAIT's acknowledgement is left in the socket.
  func wait(_ client: ScriptedClient, _ request: UInt64?) throws {
    if let request {
      if client.isShared {
        client.schedule?.setRequest(of: client.slot, to: SimulationTime(nanoseconds: request))
      } else {
        client.send(.request, time: request)
        try settle()
        #expect(client.receive()?.operation == .acknowledge)
      }
    }
    client.send(.wait)
    try settle()
  }

  /// Takes RUN, with FREE_UNTIL before it in message mode; returns what came.
  @discardableResult
  func run(_ client: ScriptedClient) throws -> [String] {
    var result: [String] = []
    while let message = client.receive() {
      result.append(message.summary)
      if !client.isShared, message.operation != .acknowledge { client.acknowledge(message.sequence) }
      if client.isShared { client.schedule?.setRequest(of: client.slot, to: nil) }
    }
    try settle()
    return result
  }
}

extension ScriptedClient {
  var isShared: Bool { schedule != nil }
}

/// A mark that stands for a far bound in messages: now + 2^62.
func far(_ now: UInt64) -> UInt64 { now + 1 << 62 }
