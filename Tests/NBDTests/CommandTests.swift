// What each command does, with and without structured replies.
import BlockDevice
import BlockIO
import Glibc
import Testing

@testable import NBD

@Suite("Commands") struct CommandTests {
  static let size = 4 << 20

  /// 64 KiB of data, holes, and 64 KiB of data at 1 MiB.
  static func disk(_ scratch: Scratch, _ name: String = "d") -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: size)
    for start in [0, 1 << 20] {
      for index in start..<start + 65536 {
        bytes[index] = UInt8(truncatingIfNeeded: index * 7 + index >> 8 | 1)
      }
    }
    scratch.shell("truncate -s \(size) \(name)")
    let descriptor = open(scratch.file(name), O_WRONLY | O_CLOEXEC)
    for start in [0, 1 << 20] {
      _ = bytes.withUnsafeBytes { pwrite(descriptor, $0.baseAddress! + start, 65536, off_t(start)) }
    }
    close(descriptor)
    return bytes
  }

  @Test("reads and writes at any byte", arguments: EngineKind.allCases, [false, true])
  func transfers(engine: EngineKind, structured: Bool) throws {
    let scratch = Scratch()
    var bytes = Self.disk(scratch)
    let server = try TestServer(scratch, disks: ["d"], engine: engine)
    let client = try TestClient(server.address)
    let flags = try client.enter(structured: structured)
    #expect(flags.contains(.sendDF) == structured)
    for (offset, count) in [
      (0, 1), (3, 5), (65530, 20), (511, 4098), (0, 1 << 20), (Self.size - 1, 1), (7, 0),
    ] {
      #expect(try client.read(UInt64(offset), UInt32(count)) == Array(bytes[offset..<offset + count]))
      let new = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ offset) }
      #expect(try client.write(UInt64(offset), new) == 0)
      bytes.replaceSubrange(offset..<offset + count, with: new)
      #expect(try client.read(UInt64(offset), UInt32(count)) == new)
    }
    #expect(try client.perform(.flush) == 0)
    #expect(try client.read(0, UInt32(Self.size)) == bytes)
    server.close()
    #expect(scratch.bytes("d") == bytes)
    #expect(server.lines.all == [])
  }

  @Test func `holes are not sent, unless in one piece or in simple replies`() throws {
    let scratch = Scratch()
    let bytes = Self.disk(scratch)
    let server = try TestServer(scratch, disks: ["d"])
    let client = try TestClient(server.address)
    try client.enter()
    var cookie = try client.request(.read, 32768, 2 << 20)
    let some = try client.collect(cookie, 32768, 2 << 20)
    #expect(some.bytes == Array(bytes[32768..<32768 + 2 << 20]))
    #expect(some.holes == 2)
    cookie = try client.request(.read, 2 << 20, 1 << 20)
    let none = try client.collect(cookie, 2 << 20, 1 << 20)
    #expect(none.bytes == [UInt8](repeating: 0, count: 1 << 20))
    #expect(none.holes == 1)
    cookie = try client.request(.read, 32768, 2 << 20, flags: .df)
    let whole = try client.collect(cookie, 32768, 2 << 20)
    #expect(whole.bytes == some.bytes)
    #expect(whole.holes == 0)
  }

  @Test func `what was data and became a hole is sent as zeros, and told as a hole`() throws {
    let scratch = Scratch()
    let bytes = Self.disk(scratch)
    let server = try TestServer(scratch, disks: ["d"])
    let client = try TestClient(server.address)
    try client.enter()
    #expect(try client.read(0, 65536) == Array(bytes[..<65536]))
    #expect(try client.perform(.trim, 0, 65536) == 0)
    // The kernel is not asked again about a run of data: what was read is sent.
    let cookie = try client.request(.read, 0, 65536)
    let again = try client.collect(cookie, 0, 65536)
    #expect(again.bytes == [UInt8](repeating: 0, count: 65536))
    #expect(again.holes == 0)
    #expect(try client.status(0, 65536).map(\.1) == [3])
    // What is looked at anew is known.
    let later = try client.request(.read, 0, 65536)
    #expect(try client.collect(later, 0, 65536).holes == 1)
  }

  @Test func `zeros are made with and without holes`() throws {
    let scratch = Scratch()
    var bytes = Self.disk(scratch)
    let server = try TestServer(scratch, disks: ["d"])
    let client = try TestClient(server.address)
    try client.enter()
    #expect(try client.perform(.writeZeroes, 4096, 8192) == 0)
    #expect(try client.perform(.writeZeroes, 20001, 9999, flags: [.noHole, .fua]) == 0)
    #expect(try client.perform(.trim, 1 << 20, 32768, flags: .fua) == 0)
    #expect(try client.perform(.writeZeroes, 1 << 20 + 40000, 3, flags: .fastZero) == 0)
    for (start, count) in [(4096, 8192), (20001, 9999), (1 << 20, 32768), (1 << 20 + 40000, 3)] {
      bytes.replaceSubrange(start..<start + count, with: repeatElement(0, count: count))
    }
    #expect(try client.read(0, 2 << 20) == Array(bytes[..<(2 << 20)]))
    #expect(try client.perform(.cache, 0, UInt32(Self.size)) == 0)
    #expect(try client.status(1 << 20, 65536).map(\.0) == [32768, 32768])
  }

  @Test func `block status tells holes, in as many descriptors as are wanted`() throws {
    let scratch = Scratch()
    _ = Self.disk(scratch)
    let server = try TestServer(scratch, disks: ["d"])
    let client = try TestClient(server.address)
    try client.enter()
    let all = try client.status(0, UInt32(Self.size))
    #expect(all.map(\.0) == [65536, 1 << 20 - 65536, 65536, UInt32(Self.size) - 1 << 20 - 65536])
    #expect(all.map(\.1) == [0, 3, 0, 3])
    let one = try client.status(65530, UInt32(Self.size) - 65530, flags: .reqOne)
    #expect(one.map(\.0) == [6])
    #expect(try client.status(UInt64(Self.size) - 1, 1).map(\.1) == [3])
    #expect(try client.status(0, 0).isEmpty)
    let plain = try TestClient(server.address)
    try plain.enter(context: false)
    #expect(try plain.perform(.blockStatus, 0, 512) == ErrorCode.invalid.rawValue)
    let simple = try TestClient(server.address)
    try simple.enter(structured: false)
    #expect(try simple.perform(.blockStatus, 0, 512) == ErrorCode.invalid.rawValue)
  }

  @Test func `a disk in small pieces is told in bounded answers that go on`() throws {
    let scratch = Scratch()
    // More pieces than one answer has.
    let count = 5000
    scratch.shell("truncate -s \(count * 16384) d")
    let descriptor = open(scratch.file("d"), O_WRONLY | O_CLOEXEC)
    for index in 0..<count { _ = pwrite(descriptor, "x", 1, off_t(index * 16384)) }
    close(descriptor)
    let server = try TestServer(scratch, disks: ["d"])
    let client = try TestClient(server.address)
    try client.enter()
    var position: UInt64 = 0
    var states: [UInt32] = []
    var answers = 0
    while position < server.devices[0].size {
      let found = try client.status(position, UInt32(server.devices[0].size - position))
      #expect((1...Limits.descriptorsMax).contains(found.count))
      guard !found.isEmpty else { return }
      for (length, state) in found {
        position += UInt64(length)
        if states.last != state { states.append(state) }
      }
      answers += 1
    }
    #expect(position == server.devices[0].size)
    #expect(answers > 1)
    #expect(states.count == 2 * count)
  }

  @Test func `a read-only export says so, and reads`() throws {
    let scratch = Scratch()
    let bytes = Self.disk(scratch)
    let server = try TestServer(scratch, disks: ["d"], readOnly: true)
    let client = try TestClient(server.address)
    let flags = try client.enter()
    #expect(flags.contains(.readOnly))
    #expect(flags.isDisjoint(with: [.sendTrim, .sendWriteZeroes, .sendFastZero, .rotational]))
    #expect(flags.isSuperset(of: [.hasFlags, .sendFlush, .sendFUA, .canMultiConn, .sendCache, .sendDF]))
    #expect(try client.write(0, [1, 2, 3]) == ErrorCode.notPermitted.rawValue)
    #expect(try client.perform(.trim, 0, 512) == ErrorCode.notPermitted.rawValue)
    #expect(try client.perform(.writeZeroes, 0, 512) == ErrorCode.notPermitted.rawValue)
    #expect(try client.perform(.flush) == 0)
    #expect(try client.read(0, 65536) == Array(bytes[..<65536]))
  }

  @Test("qcow2 and UML COW disks are served, with their holes", arguments: ["qcow2", "cow"])
  func formats(format: String) throws {
    let scratch = Scratch()
    let bytes = Self.disk(scratch, "base")
    try makeDisk(scratch, format)
    let server = try TestServer(scratch, disks: ["d"], format: nil, engine: .uring)
    let client = try TestClient(server.address)
    try client.enter()
    #expect(try client.read(0, UInt32(Self.size)) == bytes)
    #expect(try client.write(1 << 21, [UInt8](repeating: 9, count: 65536)) == 0)
    #expect(try client.perform(.writeZeroes, 0, 65536) == 0)
    let states = try client.status(0, UInt32(Self.size))
    #expect(states.reduce(0) { $0 + $1.0 } == UInt32(Self.size))
    #expect(states.first?.1 ?? 0 & AllocationState.zero != 0)
    #expect(states.filter { $0.1 == 0 }.reduce(0) { $0 + $1.0 } == 131072)
    let read = try client.read(0, UInt32(Self.size))
    #expect(read?.prefix(65536).allSatisfy { $0 == 0 } == true)
    #expect(read?[1 << 21] == 9)
    server.close()
    #expect(scratch.bytes("base") == bytes)
  }

  @Test func `a disk that fails costs the request`() throws {
    let scratch = Scratch()
    _ = Self.disk(scratch)
    for (host, code) in [
      (EIO, .io), (ENOSPC, .noSpace), (EDQUOT, .noSpace), (EROFS, .notPermitted), (ENXIO, .io),
    ] as [(CInt, ErrorCode)] {
      let server = try TestServer(
        scratch, disks: ["d"], makeEngine: { () throws(BlockIOError) in FailingEngine(host) })
      let client = try TestClient(server.address)
      try client.enter()
      #expect(try client.write(0, [1, 2, 3]) == code.rawValue)
      #expect(try client.read(0, 512) == nil)
      #expect(try client.perform(.writeZeroes, 0, 4096) == code.rawValue)
      // Nothing is complete that would have to be durable.
      #expect(try client.perform(.flush) == 0)
      #expect(try client.status(0, 512).count == 1)
    }
  }
}

/// A double: fails everything.
final class FailingEngine: QueuedEngine {
  let kind = EngineKind.synchronous
  private let code: CInt
  private let inner = try? makeQueuedEngine(.synchronous, depth: 4)
  private var failed: [UInt64] = []

  init(_ code: CInt) { self.code = code }

  var underWay: Int { failed.count }
  func enqueue(_ operation: IOOperation, parts: UnsafeBufferPointer<iovec>) { failed.append(operation.tag) }
  func watch(_ descriptor: CInt, tag: UInt64) throws(BlockIOError) {
    try inner?.watch(descriptor, tag: tag)
  }
  func unwatch(_ descriptor: CInt) { inner?.unwatch(descriptor) }
  func run(_ wait: Wait, into events: inout [IOEvent]) throws(BlockIOError) {
    for tag in failed { events.append(IOEvent(tag: tag, code: code)) }
    let isDone = !failed.isEmpty
    failed = []
    try inner?.run(isDone ? .no : wait, into: &events)
  }
}
