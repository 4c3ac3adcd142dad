// Any bytes as what a front-end says.
import CLinux
import Glibc
import Linux
import TestKit
import VhostUser

/// A device that completes every second chain at once, and the others when its ring stops.
private final class Device: DeviceBackend {
  let deviceFeatures: UInt64 = 1 << 9
  let queueCount = 2
  var configurationSpace = [UInt8](repeating: 7, count: 96)
  var held: [(queue: Virtqueue, head: UInt16)] = []
  var parity = false
  var hasEnded = false

  func writeConfiguration(offset: Int, bytes: [UInt8], isMigration: Bool) -> Bool {
    offset == 32 && bytes.count == 1
  }

  func negotiated(features: UInt64, session: Session) {}

  func queueNotified(_ queue: Virtqueue, session: Session) {
    precondition(!hasEnded)
    while let chain = queue.nextChain() {
      parity.toggle()
      if parity {
        chain.lastWritable?.storeBytes(of: 1, as: UInt8.self)
        let isKnown = queue.complete(head: chain.head, written: 1)
        precondition(isKnown)
      } else {
        held.append((queue, chain.head))
      }
    }
  }

  func queueStopping(_ queue: Virtqueue, session: Session) {
    for one in held where one.queue === queue { queue.complete(head: one.head, written: 0) }
    held.removeAll { $0.queue === queue }
  }

  func sessionEnded(_ session: Session, reason: String?) {
    precondition(!hasEnded)
    hasEnded = true
  }
}

/// The first byte chooses the options; then come steps: a byte that says what, and what belongs to it.
///
/// | step & 7 | meaning |
/// |-|-|
/// | 0...3 | a message: request (1), flags (1), payload length (1), payload; bits 3-4: descriptors with it |
/// | 0...3, bit 5 | the same, whose header announces 257 times as many bytes |
/// | 4 | raw bytes: length (1), bytes |
/// | 5 | an answer on the back-end channel: raw 20 bytes |
/// | 6 | bytes into guest memory: offset (2), length (1), bytes |
/// | 7 | a correct set-up with two running rings |
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzMessages(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  guard count > 1 else { return 0 }
  var input = Input(bytes: UnsafeBufferPointer(start: bytes, count: count))
  let options = input.byte()
  do {
    let loop = try EventLoop()
    let memory = try MockMemory(regionByteCount: 1 << 16)
    var ends: [CInt] = []
    try UnixSocket.pair().split { ends = [$0.release(), $1.release()] }
    let driver = MockDriver(socket: UnixSocket(owning: Descriptor(owning: ends[1])), memory: memory) {
      () throws(LinuxError) in try loop.runOnce(timeout: 0)
    }
    driver.patience = 4
    let device = Device()
    let session = try Session(
      socket: UnixSocket(owning: Descriptor(owning: ends[0])), loop: loop, backend: device,
      options: SessionOptions(
        inBand: options & 1 != 0, callReply: options & 2 != 0 ? .beforeKickReply : .afterKickReply,
        packed: options & 8 != 0)
    ) { precondition(!$0.isEmpty) }
    driver.answersCalls = options & 4 != 0
    while !input.isEmpty, !device.hasEnded {
      do { try step(&input, driver, loop) } catch {}
    }
    session.end()
    for _ in 0..<4 { try loop.runOnce(timeout: 0) }
    precondition(device.hasEnded)
  } catch {
    preconditionFailure("\(error)")
  }
  return 0
}

private func step(_ input: inout Input, _ driver: MockDriver, _ loop: EventLoop) throws {
  let kind = input.byte()
  switch kind & 7 {
  case 4: try driver.sendBytes(input.bytes(Int(input.byte())))
  case 5:
    let answer = input.bytes(20)
    if answer.count == 20 {
      let header = answer.withUnsafeBytes {
        MessageHeader(
          request: $0.loadUnaligned(as: UInt32.self),
          flags: $0.loadUnaligned(fromByteOffset: 4, as: UInt32.self),
          size: $0.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
      }
      try driver.answer(header, value: 0)
    }
  case 6:
    let offset = UInt64(input.byte()) | UInt64(input.byte()) << 8
    driver.memory.write(input.bytes(Int(input.byte())), at: MockMemory.guestBase + offset)
  case 7: try driver.handshake(MockDriver.Handshake(queueCount: 2, queueSize: 16))
  default:
    let request = UInt32(input.byte())
    let flags = UInt32(input.byte())
    let payload = input.bytes(Int(input.byte()))
    var message: [UInt8] = []
    MessageHeader(request: request, flags: flags & 0xf | 1, size: UInt32(payload.count)).encode(
      into: &message)
    let descriptors = [CInt](repeating: driver.memory.descriptor.rawValue, count: Int(kind >> 3 & 3))
    try driver.sendBytes(message + payload, descriptors: descriptors)
  }
  for _ in 0..<3 { try loop.runOnce(timeout: 0) }
  var reply = [UInt8](repeating: 0, count: 4096)
  _ = reply.withUnsafeMutableBytes {
    recv(driver.socket.descriptor.rawValue, $0.baseAddress, $0.count, UnixSocket.withoutWaiting)
  }
  try driver.pollCalls()
}

/// The rest of the input.
private struct Input {
  private var rest: Slice<UnsafeBufferPointer<UInt8>>

  init(bytes: UnsafeBufferPointer<UInt8>) { rest = bytes[...] }

  var isEmpty: Bool { rest.isEmpty }

  mutating func byte() -> UInt8 { rest.popFirst() ?? 0 }

  mutating func bytes(_ count: Int) -> [UInt8] {
    let taken = [UInt8](rest.prefix(count))
    rest = rest.dropFirst(count)
    return taken
  }
}
