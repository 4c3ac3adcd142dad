// A session, a device that remembers, and a driver, all in one thread.
import CLinux
import Glibc
import Linux
import TestKit
import Testing
import VhostUser

/// A device that answers at once, or keeps chains until it is told to answer.
final class TestDevice: DeviceBackend {
  enum Manner { case answer, hold, ignore }

  struct Held {
    var queue: Virtqueue
    var head: UInt16
    var writable: Int
    var status: UnsafeMutableRawPointer?
  }

  var deviceFeatures: UInt64 = 1 << 9 | 1 << 12
  var queueCount = 1
  var configurationSpace = [UInt8](0..<96)
  var manner = Manner.answer
  var events: [String] = []
  var held: [Held] = []
  var reason: String??
  var served = 0
  /// Of each write to the configuration space, whether it was for a migration.
  var writes: [Bool] = []
  var onChain: ((Chain) -> Void)?
  /// Where the rings are served, if not here.
  var home: ThreadedHome?

  func home(ofQueue index: Int) -> (any RingHome)? { home }

  func writeConfiguration(offset: Int, bytes: [UInt8], isMigration: Bool) -> Bool {
    guard offset == 32, bytes.count == 1 else { return false }
    configurationSpace[32] = bytes[0]
    writes.append(isMigration)
    return true
  }

  func negotiated(features: UInt64, session: Session) {
    events.append("features \(String(features, radix: 16))")
  }

  func queueNotified(_ queue: Virtqueue, session: Session) {
    events.append("notified \(queue.index)")
    guard manner != .ignore else { return }
    while let chain = queue.nextChain() {
      served += 1
      onChain?(chain)
      held.append(
        Held(queue: queue, head: chain.head, writable: chain.writableCount, status: chain.lastWritable))
      if manner == .answer { completeOne() }
    }
    events.append("done \(queue.index)")
  }

  func completeOne() { complete(at: 0) }

  func complete(at place: Int) {
    let one = held.remove(at: place)
    one.status?.storeBytes(of: 0, as: UInt8.self)
    #expect(one.queue.complete(head: one.head, written: UInt32(one.writable)))
  }

  func queueStopping(_ queue: Virtqueue, session: Session) {
    events.append("stopping \(queue.index)")
    held.removeAll { $0.queue === queue }
  }

  func sessionEnded(_ session: Session, reason: String?) {
    #expect(self.reason == nil, "the end is told once")
    self.reason = .some(reason)
  }
}

final class Rig {
  let loop: EventLoop
  let device: TestDevice
  let driver: MockDriver
  let memory: MockMemory
  private(set) var session: Session
  let lines: Lines

  final class Lines { var all: [String] = [] }

  init(
    inBand: Bool = true, callReply: CallReplyOrder = .afterKickReply, device: TestDevice = TestDevice(),
    layout: Layout = .split, memory shared: MockMemory? = nil
  ) throws {
    loop = try EventLoop()
    memory = try shared ?? MockMemory()
    self.device = device
    lines = Lines()
    var ends: [CInt] = []
    try UnixSocket.pair().split {
      ends = [$0.release(), $1.release()]
    }
    let (loop, lines) = (loop, lines)
    session = try Session(
      socket: UnixSocket(owning: Descriptor(owning: ends[0])), loop: loop, backend: device,
      options: SessionOptions(inBand: inBand, callReply: callReply, packed: layout == .packed)
    ) { lines.all.append($0) }
    driver = MockDriver(socket: UnixSocket(owning: Descriptor(owning: ends[1])), memory: memory) {
      () throws(LinuxError) in try loop.runOnce(timeout: 0)
    }
  }

  var queue: MockQueue { driver.queues[0] }

  /// Runs the session until it has nothing to do.
  func settle() throws {
    for _ in 0..<1000 where try !loop.runOnce(timeout: 0) { return }
    Issue.record("the loop does not come to rest")
  }

  /// A chain as of a read request: 16 bytes readable, `count` and a status byte writable.
  func submitRead(_ queue: MockQueue? = nil, count: UInt32 = 512, at offset: UInt64 = 0) throws -> UInt16 {
    let base = driver.bufferBase + offset
    return try #require(
      (queue ?? self.queue).submit([
        .init(address: base, count: 16, isWritable: false),
        .init(address: base + 4096, count: count, isWritable: true),
        .init(address: base + 64, count: 1, isWritable: true),
      ]))
  }
}

/// What this process has open. The runtime of the tests opens eventfds, timers and files when it likes: the
/// first are therefore counted apart and compared with some slack, the others left out.
struct OpenDescriptors: Equatable {
  var named: [String] = []
  var counters = 0

  init() {
    guard let directory = opendir("/proc/self/fd") else { return }
    defer { closedir(directory) }
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      var target = [CChar](repeating: 0, count: 256)
      guard readlink("/proc/self/fd/" + name, &target, 255) > 0 else { continue }
      let kind = target.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } ?? "" }
      if kind == "anon_inode:[eventfd]" { counters += 1 }
      if ["socket:", "pipe:", "/memfd:"].contains(where: kind.hasPrefix) { named.append(kind) }
    }
    named.sort()
  }
}

func expectOpen(
  _ before: OpenDescriptors, _ context: String = "", at location: SourceLocation = #_sourceLocation
) {
  let now = OpenDescriptors()
  if now.named != before.named || abs(now.counters - before.counters) > 3 {
    Issue.record("\(context): \(now) instead of \(before)", sourceLocation: location)
  }
}

/// Looks again and again until it is so, for a minute at most: tests run beside others.
@discardableResult
func eventually(_ condition: () throws -> Bool) rethrows -> Bool {
  let end = ContinuousClock.now + .seconds(60)
  while try !condition() {
    guard ContinuousClock.now < end else { return false }
    usleep(500)
  }
  return true
}
