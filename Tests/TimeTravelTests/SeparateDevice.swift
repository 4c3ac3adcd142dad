// A device in a thread of its own, as if in another process.
import Foundation
import Linux
import Simulation
import TestKit
import TimeTravel

/// A party that is a real `Client`, in a thread of its own: what blocks it blocks nobody else.
///
/// The world tells it of kicks and it tells the world of its events, over a socket, each answered as a
/// vhost-user message is.
final class SeparateDevice: Player {
  private static let kick: UInt64 = 1
  private static let schedule: UInt64 = 2
  private static let finish: UInt64 = 3
  private static let done: UInt64 = 4
  private static let turn: UInt64 = 5

  private unowned let world: World
  private let index: Int
  private let wire: Wire
  private var token: EventLoop.Token?
  private let device: Device
  private(set) var isRunnable = false
  private var isAnswered = false
  private var current: (event: UMLClient.Event, now: UInt64)?

  init(_ party: Party, index: Int, world: World, path: String) throws {
    self.world = world
    self.index = index
    var ends: [CInt] = []
    try UnixSocket.pair().split { ends = [$0.release(), $1.release()] }
    wire = Wire(ends[0])
    device = Device(party: party, path: path, wire: Wire(ends[1]))
    token = try world.loop.add(ends[0]) { [unowned self] in
      guard let (kind, a, b) = wire.receive() else {
        if let token { self.world.loop.remove(token) }
        token = nil
        return
      }
      if kind == Self.done {
        isAnswered = true
      } else {
        current = (UMLClient.Event(time: a, identifier: b), a)
        isRunnable = true
      }
    }
  }

  /// Messages of its client so far; for after the end.
  var messageCount: UInt64 { device.messageCount }
  var failures: [String] { device.failures }
  var wasShared: Bool { device.wasShared }

  func start() {
    let device = device
    Thread.detachNewThread { device.run() }
    // START has been sent when it says so.
    try? world.wait { isAnswered }
  }

  func interrupt(_ identifier: UInt64, delay: UInt64) throws {
    isAnswered = false
    wire.send(Self.kick, identifier, delay)
    try world.wait { isAnswered }
  }

  func resume() throws {
    isRunnable = false
    guard let (event, now) = current else { return }
    for one in try world.perform(event, of: index, at: now) {
      wire.send(Self.schedule, one.time, one.identifier)
    }
    wire.send(Self.finish, 0, 0)
  }

  /// Waits for the end of the thread, which comes when the controller has gone.
  func join() {
    let isEnded = device.ended.wait(timeout: .now() + 60) == .success
    precondition(isEnded, "the device did not notice that the controller has gone")
  }

  /// Messages of three words. The far end may go at any time.
  private final class Wire: @unchecked Sendable {
    let descriptor: CInt
    init(_ descriptor: CInt) { self.descriptor = descriptor }
    deinit { close(descriptor) }
    func send(_ kind: UInt64, _ a: UInt64, _ b: UInt64) {
      _ = [kind, a, b].withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL))
      }
    }
    func receive() -> (UInt64, UInt64, UInt64)? {
      var words: [UInt64] = [0, 0, 0]
      let count = words.withUnsafeMutableBytes {
        recv(descriptor, $0.baseAddress, $0.count, CInt(MSG_WAITALL))
      }
      return count == 24 ? (words[0], words[1], words[2]) : nil
    }
  }

  /// What lives in the thread.
  private final class Device: @unchecked Sendable {
    let party: Party
    let path: String
    let wire: Wire
    let ended = DispatchSemaphore(value: 0)
    var messageCount: UInt64 = 0
    var failures: [String] = []
    var wasShared = false
    private var events: [UMLClient.Event] = []

    init(party: Party, path: String, wire: Wire) {
      self.party = party
      self.path = path
      self.wire = wire
    }

    func insert(_ event: UMLClient.Event) {
      events.insert(event, at: events.firstIndex { $0.time > event.time } ?? events.count)
    }

    func run() {
      defer { ended.signal() }
      do {
        let loop = try EventLoop()
        let client = try Client(controllerPath: path, identifier: party.name, loop: loop)
        for event in party.events { insert(event) }
        if let first = events.first { client.requestWake(at: SimulationTime(nanoseconds: first.time)) }
        var isOver = false
        client.onFailure = { [unowned self] in
          failures.append("\($0)")
          isOver = true
        }
        client.onTurn = { [unowned self, unowned client] in
          guard let first = events.first, first.time <= client.now.nanoseconds else {
            return client.finishTurn(next: nextTime)
          }
          events.removeFirst()
          wire.send(SeparateDevice.turn, client.now.nanoseconds, first.identifier)
        }
        let token = try loop.add(wire.descriptor) { [unowned self] in
          guard let (kind, a, b) = wire.receive() else {
            isOver = true
            return
          }
          switch kind {
          case SeparateDevice.kick:
            let time = client.now.nanoseconds + b
            insert(.init(time: time, identifier: a))
            client.requestWake(at: SimulationTime(nanoseconds: time))
            wire.send(SeparateDevice.done, 0, 0)
          case SeparateDevice.schedule: insert(.init(time: a, identifier: b))
          default: client.finishTurn(next: nextTime)
          }
        }
        wire.send(SeparateDevice.done, 0, 0)
        while !isOver { try loop.runOnce(timeout: 10_000) }
        messageCount = client.messageCount
        wasShared = client.isShared
        loop.remove(token)
      } catch {
        failures.append("\(error)")
      }
      wire.send(SeparateDevice.done, 0, 0)
    }

    private var nextTime: SimulationTime? { events.first.map { SimulationTime(nanoseconds: $0.time) } }
  }
}
