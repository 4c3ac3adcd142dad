// What lanes of one disk owe each other, step by step.
import DiskImage
import Glibc
import Simulation
import Synchronization
import Telemetry
import Testing

@testable import BlockDevice
@testable import BlockIO

@Suite("A disk with lanes") struct SharedDeviceTests {
  let folder = DiskFolder()

  func device(_ shape: DiskShape = .cow) throws -> SharedDevice {
    SharedDevice(name: "vda", image: try shape.make(folder, seed: 0, engine: SynchronousEngine()).0)
  }

  @Test("a request over mixed runs is one batch") func batch() throws {
    let device = try device()
    let rig = try Rig(device)
    rig.submit(.write, 4096, 4096, tag: 1, fill: 7)
    rig.submit(.writeZeroes, 8192, 4096, tag: 2)
    try rig.finish()
    rig.submit(.write, 16384, 4096, tag: 3, fill: 9)
    try rig.finish()
    let memory = rig.submit(.read, 0, 24576, tag: 4, fill: 1)
    #expect(rig.engine.kinds == [.read, .read, .read, .read, .read])
    #expect(Set(rig.engine.entries.map(\.batch)).count == 1)
    let base = LaneBench.content(24576, first: 1 << 20)
    while !rig.engine.entries.isEmpty { try rig.engine.complete(rig.engine.entries.count - 1) }
    try rig.run()
    #expect(rig.answers == [1: .ok, 2: .ok, 3: .ok, 4: .ok])
    #expect(memory[5000] == 7 && memory[9000] == 0 && memory[17000] == 9)
    #expect(memory[..<4096].elementsEqual(base[..<4096]))
    #expect(memory[20480...].elementsEqual(base[20480...]))
  }

  @Test("a write waits for another one's first touch of its page, on whichever lane; a read does not")
  func gate() throws {
    let device = try device()
    let (first, second) = (try Rig(device), try Rig(device))
    first.submit(.write, 512, 512, tag: 1, fill: 1)
    // The edges are being read.
    #expect(first.engine.kinds == [.read, .read])
    second.submit(.write, 4096 - 512, 1024, tag: 2, fill: 2)
    second.submit(.write, 8192, 4096, tag: 3, fill: 3)
    second.submit(.read, 0, 4096, tag: 4)
    second.submit(.discard, 0, 4096, tag: 5)
    #expect(second.engine.kinds == [.write, .read])
    try second.engine.complete()
    try second.engine.complete()
    try second.run()
    #expect(second.answers == [3: .ok, 4: .ok])
    #expect(second.lane.inFlight == 2)

    try first.engine.complete()
    try first.engine.complete()
    try first.run()
    #expect(first.engine.kinds == [.write])
    #expect(first.engine.entries[0].operation.count == 4096)
    try second.run()
    #expect(second.engine.underWay == 0)
    try first.engine.complete()
    try first.run()
    #expect(first.answers == [1: .ok])
    // Woken.
    try second.finish()
    #expect(second.answers == [2: .ok, 3: .ok, 4: .ok, 5: .ok])
  }

  @Test("a first touch that fails leaves the page as it was, and lets the others go on")
  func failedTouch() throws {
    let device = try device()
    let (first, second) = (try Rig(device), try Rig(device))
    first.submit(.write, 0, 4096, tag: 1, fill: 1)
    second.submit(.write, 512, 512, tag: 2, fill: 2)
    try first.engine.complete(code: ENOSPC)
    try first.run()
    #expect(first.answers == [1: .ioError])
    try second.finish()
    #expect(second.answers == [2: .ok])
    let memory = second.submit(.read, 0, 4096, tag: 3)
    try second.finish()
    let base = LaneBench.content(4096, first: 1 << 20)
    #expect(memory[600] == 2 && memory[..<512].elementsEqual(base[..<512]))
    #expect(memory[1024...].elementsEqual(base[1024...]))
  }

  @Test("flushes that come while one is under way share the next one", arguments: [DiskShape.raw, .cow])
  func groupFlush(shape: DiskShape) throws {
    let device = try device(shape)
    let (first, second) = (try Rig(device), try Rig(device))
    func write(_ rig: Rig, _ tag: UInt64) throws {
      rig.submit(.write, 4096 * tag, 4096, tag: tag, fill: 1)
      try rig.engine.complete()
      try rig.run()
      #expect(rig.answers[tag] == .ok)
    }
    // Nothing to be made durable.
    first.submit(.flush, tag: 90)
    try first.run()
    #expect(first.answers[90] == .ok)

    try write(first, 1)
    first.submit(.flush, tag: 10)
    #expect(first.engine.kinds == [.synchronize])
    // Covered by the one under way.
    second.submit(.flush, tag: 11)
    try write(second, 2)
    second.submit(.flush, tag: 12)
    first.submit(.flush, tag: 13)
    #expect(second.engine.underWay == 0)
    let steps = shape == .raw ? 1 : 3
    for step in 0..<steps {
      #expect(first.engine.kinds == [step == 1 ? .write : .synchronize])
      try first.engine.complete()
      try first.run()
      try second.run()
    }
    #expect(first.answers[10] == .ok && second.answers[11] == .ok)
    #expect(first.answers[13] == nil && second.answers[12] == nil)
    // The first of those who waited leads, on its own engine.
    #expect(first.engine.underWay == 0)
    for _ in 0..<steps {
      try second.engine.complete()
      try second.run()
    }
    try first.run()
    #expect(first.answers[13] == .ok && second.answers[12] == .ok)
    first.submit(.flush, tag: 14)
    try first.run()
    #expect(first.answers[14] == .ok)
    #expect(first.lane.inFlight + second.lane.inFlight == 0)
  }

  @Test("a bit that is set after a flush began reaches the file with the next one") func bits() throws {
    let device = try device()
    let rig = try Rig(device)
    rig.submit(.write, 0, 4096, tag: 1)
    try rig.engine.complete()
    try rig.run()
    rig.submit(.flush, tag: 2)
    rig.submit(.write, 4096, 4096, tag: 3)
    try rig.engine.complete(1)
    try rig.run()
    #expect(rig.answers[3] == .ok)
    try rig.engine.complete()
    try rig.run()
    var bytes = rig.engine.entries[0].parts.flatMap {
      Array(UnsafeRawBufferPointer(start: $0.iov_base, count: $0.iov_len))
    }
    #expect(bytes[..<3] == [0xff, 0, 0])
    try rig.finish()
    rig.submit(.flush, tag: 4)
    try rig.engine.complete()
    try rig.run()
    bytes = rig.engine.entries[0].parts.flatMap {
      Array(UnsafeRawBufferPointer(start: $0.iov_base, count: $0.iov_len))
    }
    #expect(bytes[..<3] == [0xff, 0xff, 0])
    try rig.finish()
    #expect(rig.answers == [1: .ok, 2: .ok, 3: .ok, 4: .ok])
  }

  @Test(
    "after a flush that could not synchronise every later one fails; one that could not write is tried again")
  func failedFlush() throws {
    let device = try device()
    let rig = try Rig(device)
    func write(_ tag: UInt64) throws {
      rig.submit(.write, tag * 4096, 4096, tag: tag)
      try rig.engine.complete()
      try rig.run()
    }
    try write(1)
    rig.submit(.flush, tag: 10)
    try rig.engine.complete()
    try rig.run()
    try rig.engine.complete(code: ENOSPC)
    try rig.run()
    #expect(rig.answers[10] == .ioError)
    rig.submit(.flush, tag: 11)
    try rig.finish()
    #expect(rig.answers[11] == .ok)

    try write(2)
    rig.submit(.flush, tag: 12)
    try rig.engine.complete(code: EIO)
    try rig.run()
    #expect(rig.answers[12] == .ioError)
    rig.submit(.flush, tag: 13)
    try rig.run()
    #expect(rig.answers[13] == .ioError && rig.engine.underWay == 0)
    rig.submit(.read, 0, 512, tag: 14)
    try rig.finish()
    #expect(rig.answers[14] == .ok)
  }

  @Test("what must be durable completes after a flush that covers it", arguments: [false, true])
  func durable(isWriteThrough: Bool) throws {
    let device = try device()
    let rig = try Rig(device)
    device.isWriteThrough = isWriteThrough
    rig.submit(.write, 0, 4096, tag: 1, isDurable: !isWriteThrough)
    for kind in [IOOperation.Kind.write, .synchronize, .write, .synchronize] {
      #expect(rig.answers.isEmpty && rig.engine.kinds == [kind])
      try rig.engine.complete()
      try rig.run()
    }
    #expect(rig.answers == [1: .ok])
  }

  @Test("what cannot be is refused before anything moves") func refusals() throws {
    let device = try device(.raw)
    let size = device.size
    let rig = try Rig(device)
    rig.submit(.read, size - 512, 1024, tag: 1)
    rig.submit(.write, .max - 511, 1024, tag: 2)
    rig.submit(.discard, size, 512, tag: 3)
    rig.submit(.read, 0, 0, tag: 4)
    let request = BlockRequest(operation: .read, offset: 0, length: 512, tag: 5)
    rig.lane.submit(request, data: UnsafeBufferPointer(start: nil, count: 0), at: .zero)
    try rig.run()
    #expect(rig.answers == [1: .ioError, 2: .ioError, 3: .ioError, 4: .ok, 5: .ioError])
    #expect(rig.engine.runs == 1)
    #expect(rig.lane.statistics.errors == 4 && rig.lane.statistics.reads == 3)
  }

  @Test("a disk that is read-only refuses changes, and has nothing to flush") func readOnly() throws {
    _ = try DiskShape.raw.make(folder, seed: 0, engine: SynchronousEngine())
    let image = try openImage(
      path: "\(folder.path)/disk", options: ImageOptions(readOnly: true), registry: FileRegistry())
    let device = SharedDevice(name: "d", image: image)
    #expect(!device.offersDiscard && device.isReadOnly)
    let rig = try Rig(device)
    rig.submit(.write, 0, 512, tag: 1)
    rig.submit(.discard, 0, 512, tag: 2)
    rig.submit(.flush, tag: 3)
    rig.submit(.read, 0, 512, tag: 4)
    try rig.finish()
    #expect(rig.answers == [1: .ioError, 2: .ioError, 3: .ok, 4: .ok])
  }

  @Test("a guest cannot make a raw disk of a guessed format look like another one") func disguise() throws {
    let device = try device(.rawGuessed)
    let rig = try Rig(device)
    let lines = Lines()
    device.log = { line in lines.list.withLock { $0.append(line) } }
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 512, alignment: 512)
    defer { memory.deallocate() }
    memory.copyBytes(from: [0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3])
    var part = iovec(iov_base: memory.baseAddress, iov_len: 512)
    withUnsafePointer(to: &part) {
      rig.lane.submit(
        BlockRequest(operation: .write, offset: 0, length: 512, tag: 1),
        data: UnsafeBufferPointer(start: $0, count: 1), at: .zero)
    }
    rig.submit(.write, 0, 512, tag: 2, fill: 3)
    try rig.finish()
    #expect(rig.answers == [1: .ioError, 2: .ok])
    #expect(lines.list.withLock { $0 }.first?.contains("look like another format") == true)
  }

  @Test("a file that has grown is a disk that has; what is beyond a new end fails") func resize() throws {
    let device = try device(.raw)
    let rig = try Rig(device)
    let size = device.size
    #expect(try !device.refreshSize())
    #expect(truncate("\(folder.path)/disk", Int(size) + 8000) == 0)
    #expect(try device.refreshSize())
    #expect(device.size == size + 8192)
    rig.submit(.write, size, 8192, tag: 1)
    try rig.finish()
    #expect(truncate("\(folder.path)/disk", 4096) == 0)
    #expect(try device.refreshSize())
    rig.submit(.read, 4096, 512, tag: 2)
    try rig.finish()
    #expect(rig.answers == [1: .ok, 2: .ioError])
  }

  @Test("failures are logged, not too many of them") func log() throws {
    let device = try device(.raw)
    let rig = try Rig(device)
    let lines = Lines()
    device.log = { line in lines.list.withLock { $0.append(line) } }
    func fail(_ count: Int, at now: UInt64) throws {
      for _ in 0..<count {
        rig.submit(.write, 512, 512, tag: 1, at: now)
        try rig.engine.complete(code: ENOSPC)
        try rig.run(at: now)
      }
    }
    try fail(12, at: 1_000_000_000)
    try fail(1, at: 12_000_000_000)
    let text = "disk 'vda': write of 512 bytes at 512 failed: No space left on device"
    #expect(
      lines.list.withLock { $0 }
        == Array(repeating: text, count: 5) + [text + " (7 more failures before it)"])
  }

  @Test("latencies are counted from submission to the turn that brings the answer") func latencies() throws {
    let device = try device(.raw)
    let rig = try Rig(device)
    rig.submit(.read, 0, 512, tag: 1, at: 100)
    try rig.engine.complete()
    try rig.run(at: 1100)
    #expect(rig.lane.statistics.latency.mean.nanoseconds == 1000)
    #expect(rig.lane.statistics.bytesRead == 512)
  }

  @Test("descriptors of the caller are reported by their tags") func descriptors() throws {
    let device = try device(.raw)
    let rig = try Rig(device)
    var ends: [CInt] = [0, 0]
    #expect(pipe(&ends) == 0)
    defer { for end in ends { Glibc.close(end) } }
    try rig.lane.watch(ends[0], tag: 77)
    try rig.run()
    #expect(rig.ready.isEmpty)
    #expect(write(ends[1], "x", 1) == 1)
    try rig.run()
    #expect(rig.ready == [77])
    rig.lane.unwatch(ends[0])
    try rig.run()
    #expect(rig.ready == [77])
  }

  @Test("space is reused only when nothing is under way that may still name it; nobody waits for ever")
  func quiet() throws {
    let device = try device(.qcow2Small)
    let (first, second) = (try Rig(device), try Rig(device))
    first.submit(.write, 0, 512, tag: 1, fill: 1)
    try first.run()
    first.submit(.flush, tag: 2)
    try first.run()
    first.submit(.read, 0, 512, tag: 3)
    #expect(first.engine.kinds == [.read])
    second.submit(.discard, 0, 512, tag: 4)
    try second.run()
    #expect(second.answers == [4: .ok])
    // It frees a cluster that a read may be reading.
    second.submit(.flush, tag: 5)
    first.submit(.read, 4096, 512, tag: 6)
    second.submit(.write, 8192, 512, tag: 7)
    try second.run()
    #expect(second.answers == [4: .ok])
    #expect(first.engine.kinds == [.read])
    try first.engine.complete()
    try first.run()
    #expect(first.answers[3] == .ok)
    try second.finish()
    try first.finish()
    #expect(second.answers == [4: .ok, 5: .ok, 7: .ok])
    #expect(first.answers[6] == .ok)
  }

  @Test("where the host refuses to punch, zeros are written, few at a time, and discard is no longer offered")
  func refusal() throws {
    _ = try DiskShape.cow.make(folder, seed: 0, engine: SynchronousEngine())
    #expect(truncate("\(folder.path)/base", 16 << 20) == 0)
    unlink("\(folder.path)/disk")
    try UMLCOW.create(
      path: "\(folder.path)/disk", backing: "\(folder.path)/base", registry: folder.registry)
    let image = try DiskShape.cow.reopen(folder)
    let device = SharedDevice(name: "d", image: image)
    let lines = Lines()
    device.onLimitsChange = { lines.list.withLock { $0.append("changed") } }
    let rig = try Rig(device)
    rig.submit(.discard, 4096, 8 << 20, tag: 1)
    #expect(rig.engine.entries.map(\.operation.count) == [8 << 20])
    #expect(device.offersDiscard)
    image.files[0].refusals.unmap.store(true, ordering: .relaxed)
    try rig.finish()
    #expect(!device.offersDiscard && rig.answers == [1: .ok])
    rig.submit(.discard, 4096, 2 << 20, tag: 2)
    #expect(rig.engine.entries.map(\.operation.count) == [1 << 20])
    try rig.finish()
    #expect(rig.answers[2] == .ok)
    #expect(lines.list.withLock { $0 } == ["changed"])
  }

  @Test("much that waits in memory is flushed unasked; if that fails, once") func ownFlush() throws {
    folder.write("base", [])
    #expect(truncate("\(folder.path)/base", 400 * 16 << 20) == 0)
    try UMLCOW.create(
      path: "\(folder.path)/disk", backing: "\(folder.path)/base", registry: folder.registry)
    let device = SharedDevice(name: "d", image: try DiskShape.cow.reopen(folder))
    let rig = try Rig(device)
    func write(_ pages: Range<UInt64>) throws {
      for page in pages {
        rig.submit(.write, page * 16 << 20, 4096, tag: page)
        try rig.engine.complete(rig.engine.entries.count - 1)
        try rig.run()
      }
    }
    try write(0..<128)
    #expect(rig.lane.inFlight == 0)
    try write(128..<130)
    #expect(rig.engine.kinds == [.synchronize] && rig.lane.inFlight == 1)
    try rig.finish()
    #expect(rig.lane.inFlight == 0 && rig.answers.count == 130)
    try write(130..<259)
    try rig.engine.complete(code: EIO)
    try rig.run()
    try write(259..<270)
    #expect(rig.engine.underWay == 0 && rig.lane.inFlight == 0)
    #expect(rig.answers.values.allSatisfy { $0 == .ok })
  }

  final class Lines: Sendable {
    let list = Mutex<[String]>([])
  }
}
