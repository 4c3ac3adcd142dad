// What goes wrong, and where it shows.
import CLinux
import Glibc
import Linux
import Simulation
import Synchronization
import Testing

@testable import BlockIO

@Suite("Engines with a queue, when things go wrong") struct QueuedFaultTests {
  @Test("say what the kernel says", arguments: EngineKind.allCases, Access.allCases)
  func codes(kind: EngineKind, access: Access) throws {
    let temporary = TemporaryFile([UInt8](repeating: 1, count: 8192), folder: Access.folder)
    let rig = try EngineRig(kind)
    let readable = try access.open(temporary, writable: false)
    #expect(try rig.perform(.write, readable, Memory(count: 4096)) == EBADF)
    #expect(try rig.perform(.zero, readable, count: 4096) == EBADF)
    #expect(try rig.perform(.read, readable, Memory(count: 4096)) == 0)
    #expect(try rig.perform(.synchronize, readable) == 0)

    let file = try access.open(temporary)
    let nothing = mmap(nil, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    defer { munmap(nothing, 8192) }
    let part = iovec(iov_base: nothing, iov_len: 4096)
    for operation in [IOOperation.Kind.read, .write] {
      let events = try withUnsafePointer(to: part) {
        rig.engine.enqueue(
          IOOperation(operation, file, count: 4096, tag: 1), parts: UnsafeBufferPointer(start: $0, count: 1))
        return try rig.drain()
      }
      #expect(events == [IOEvent(tag: 1, code: EFAULT)])
    }
    #expect(try rig.perform(.write, file, at: .max, Memory(count: 1)) == EFBIG)
    #expect(try rig.perform(.read, file, at: UInt64(Int64.max), Memory(count: 1)) == EFBIG)
    #expect(try rig.perform(.zero, file, at: 1, count: .max) == EFBIG)
    // One that fails lets the others be.
    let tags = (0..<20).map { index in
      rig.start(index % 2 == 0 ? .read : .write, index % 2 == 0 ? file : readable, Memory.kept(4096))
    }
    let events = try rig.drain().sorted { $0.tag < $1.tag }
    #expect(events.map(\.tag) == tags && events.map(\.code) == (0..<20).map { $0 % 2 == 0 ? 0 : EBADF })
  }

  @Test("a full file system says so", arguments: EngineKind.allCases)
  func full(kind: EngineKind) throws {
    // A small file system would need privileges, a limit of the process would meet other tests.
    let temporary = TemporaryFile([1], folder: Access.folder)
    let file = try FileRegistry().open(temporary.path, writable: true)
    let rig = try EngineRig(kind)
    #expect(try rig.perform(.write, file, at: UInt64(Int64.max) - 4096, Memory(count: 2)) == EFBIG)
    // libaio asks more of a file than this one has.
    guard kind != .aio else { return }
    // A device that is always full, as a file.
    let device = FullDevice()
    let full = try #require(device.file)
    for lengths in [[Int.max], [10, 20]] {
      #expect(try rig.perform(.write, full, Memory(count: 4096), parts: lengths) == ENOSPC)
    }
    let memory = Memory(count: 5)
    #expect(try rig.perform(.read, full, memory) == 0)
    #expect(memory.bytes == [0, 0, 0, 0, 0])
  }

  @Test("zeros are written where the file system cannot make them", arguments: EngineKind.allCases)
  func zeros(kind: EngineKind) throws {
    for mischief in [nil, 9] as [UInt64?] {
      // tmpfs has no ZERO_RANGE.
      let count = 3_000_000
      let temporary = TemporaryFile([UInt8](repeating: 1, count: count), folder: "/dev/shm")
      let file = try FileRegistry().open(temporary.path, writable: true)
      let rig = try EngineRig(kind, mischief: mischief)
      #expect(!file.refusesToZero)
      #expect(try rig.perform(.zero, file, at: 1000, count: UInt64(count) - 2000) == 0)
      #expect(file.refusesToZero && !file.refusesToUnmap)
      #expect(try rig.perform(.zero, file, at: UInt64(count) - 500, count: 1 << 30) == 0)
      #expect(try rig.perform(.zero, file, at: UInt64(count) + 500, count: 1 << 30) == 0)
      #expect(try rig.perform(.zeroAndUnmap, file, at: 500, count: 100) == 0)
      var expected = [UInt8](repeating: 1, count: count)
      for range in [1000..<count - 1000, count - 500..<count, 500..<600] {
        expected.replaceSubrange(range, with: repeatElement(0, count: range.count))
      }
      #expect(try SynchronousEngine().get(count, file, at: 0, parts: [.max]) == expected)
      #expect(try file.status().size == count)
    }
  }

  @Test("zeros that must be written go around the page cache too", arguments: EngineKind.allCases)
  func directZeros(kind: EngineKind) throws {
    let count = 2_500_123
    let temporary = TemporaryFile([UInt8](repeating: 1, count: count), folder: Access.folder)
    let file = try Access.directLarge.open(temporary)
    file.refusals.zero.store(true, ordering: .relaxed)
    file.refusals.unmap.store(true, ordering: .relaxed)
    let rig = try EngineRig(kind)
    #expect(try rig.perform(.zero, file, at: 1001, count: 2_000_000) == 0)
    #expect(try rig.perform(.zeroAndUnmap, file, at: 2_400_000, count: 200_000) == 0)
    var expected = [UInt8](repeating: 1, count: count)
    for range in [1001..<2_001_001, 2_400_000..<count] {
      expected.replaceSubrange(range, with: repeatElement(0, count: range.count))
    }
    #expect(try SynchronousEngine().get(count, file, at: 0, parts: [.max]) == expected)
    #expect(try file.status().size == count)
  }

  @Test("a file system without direct I/O is named")
  func notDirect() throws {
    let file = try FileRegistry().open("/proc/self/maps", writable: false)
    let error = #expect(throws: BlockIOError.self) { try file.useDirect() }
    #expect(error?.description.contains("no direct I/O") == true)
    #expect(file.direct == nil)
  }

  @Test("the double fails what it was told to, and answers in any order", arguments: 0..<UInt64(20))
  func double(seed: UInt64) throws {
    let temporary = TemporaryFile([UInt8](repeating: 0, count: 8192))
    let file = try FileRegistry().open(temporary.path, writable: true)
    let faulty = FaultyQueuedEngine(over: try makeQueuedEngine(.synchronous, depth: 64), seed: seed)
    let rig = EngineRig(faulty)
    faulty.fail(.write, skipping: 1, code: EIO, done: 100)
    faulty.fail(.synchronize, code: ENOSPC)
    let one = Memory([UInt8](repeating: 1, count: 512))
    let two = Memory([UInt8](repeating: 2, count: 512))
    rig.start(.write, file, at: 0, one)
    let failing = rig.start(.write, file, at: 512, two, parts: [60])
    let synchronize = rig.start(.synchronize, file)
    for index in 2..<10 { rig.start(.write, file, at: UInt64(512 * index), one) }
    let events = try rig.drain()
    #expect(events.count == 11 && Set(events.map(\.tag)).count == 11)
    #expect(
      Dictionary(uniqueKeysWithValues: events.filter { $0.code != 0 }.map { ($0.tag, $0.code) }) == [
        failing: EIO, synchronize: ENOSPC,
      ])
    let bytes = try SynchronousEngine().get(1024, file, at: 0, parts: [.max])
    #expect(bytes[512..<612].allSatisfy { $0 == 2 } && bytes[612...].allSatisfy { $0 == 0 })
    #expect(faulty.log.count == 11)

    faulty.failOne(in: 4, code: EIO)
    for _ in 0..<100 { rig.start(.read, file, Memory.kept(512)) }
    let failed = try rig.drain().filter { $0.code == EIO }.count
    #expect((5..<60).contains(failed))
  }

  @Test("every way to move bytes is found, and one is chosen with a reason")
  func choice() throws {
    let cached = TemporaryFile([1], folder: Access.folder)
    let file = try FileRegistry().open(cached.path, writable: true)
    #expect([.uring, .threads].contains(chooseEngine(for: file).kind))
    try file.useDirect()
    #expect(chooseEngine(for: file).kind != .synchronous && !chooseEngine(for: file).why.isEmpty)
    let memory = TemporaryFile([1], folder: "/dev/shm")
    let inMemory = try FileRegistry().open(memory.path, writable: true)
    #expect(inMemory.isInMemory && !file.isInMemory)
    let hasRing = (try? makeQueuedEngine(.uring, depth: 1)) != nil
    #expect(chooseEngine(for: inMemory).kind == (hasRing ? .uring : .synchronous))
    #expect(EngineKind.allCases.map(\.rawValue) == ["io_uring", "libaio", "threads", "synchronous"])
  }

  @Test("writes that wait go through the ring for a while, and longer each time")
  func patience() {
    var patience = Patience()
    func leftToRing() -> Int {
      var count = 0
      while !patience.allows() { count += 1 }
      return count
    }
    #expect(leftToRing() == 0)
    patience.wrote(in: 1000)
    #expect(leftToRing() == 0)
    for expected in [256, 512, 1024] {
      patience.wrote(in: 5_000_000)
      #expect(leftToRing() == expected)
    }
    for _ in 0..<256 { patience.wrote(in: 1000) }
    patience.wrote(in: 5_000_000)
    #expect(leftToRing() == 256)
  }
}

/// `/dev/full`, as if it were a file.
struct FullDevice {
  let file: ImageFile?

  init() {
    let descriptor = open("/dev/full", O_RDWR)
    let temporary = TemporaryFile([1])
    guard let status = try? FileRegistry().status(of: temporary.path), descriptor >= 0 else {
      file = nil
      return
    }
    file = ImageFile(
      owning: Descriptor(owning: descriptor), path: "/dev/full", isReadOnly: false, status: status)
  }
}

extension Memory {
  /// For operations whose bytes nobody looks at; it outlives them all.
  static func kept(_ count: Int) -> Memory {
    let memory = Memory(count: count)
    _ = Unmanaged.passRetained(memory)
    return memory
  }
}
