// Engines against arrays of bytes.
import BlockIO
import Glibc
import Simulation
import Testing

@testable import BlockIO

/// A file that goes with its owner.
final class TemporaryFile {
  let path: String

  init(_ bytes: [UInt8] = [], folder: String = "/tmp") {
    var template = Array("\(folder)/ttblk-test.XXXXXX".utf8CString)
    let descriptor = template.withUnsafeMutableBufferPointer { mkstemp($0.baseAddress!) }
    precondition(descriptor >= 0)
    path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    precondition(write(descriptor, bytes, bytes.count) == bytes.count)
    close(descriptor)
  }

  deinit { unlink(path) }
}

extension BlockEngine {
  /// Writes bytes in parts of the given lengths.
  func put(_ bytes: [UInt8], _ file: ImageFile, at offset: UInt64, parts lengths: [Int]) throws(BlockIOError)
  {
    var copy = bytes
    try copy.withUnsafeMutableBufferPointer { (buffer) throws(BlockIOError) in
      let parts = cut(UnsafeMutableRawBufferPointer(buffer), lengths)
      try parts.withUnsafeBufferPointer { (parts) throws(BlockIOError) in
        try write(file, at: offset, from: parts)
      }
    }
  }

  func get(_ count: Int, _ file: ImageFile, at offset: UInt64, parts lengths: [Int]) throws(BlockIOError)
    -> [UInt8]
  {
    var result = [UInt8](repeating: 0xee, count: count)
    try result.withUnsafeMutableBufferPointer { (buffer) throws(BlockIOError) in
      let parts = cut(UnsafeMutableRawBufferPointer(buffer), lengths)
      try parts.withUnsafeBufferPointer { (parts) throws(BlockIOError) in
        try read(file, at: offset, into: parts)
      }
    }
    return result
  }
}

/// Parts of the given lengths, again and again; zero lengths included.
func cut(_ buffer: UnsafeMutableRawBufferPointer, _ lengths: [Int]) -> [iovec] {
  var parts: [iovec] = []
  var position = 0
  while position < buffer.count {
    let count = min(lengths[parts.count % lengths.count], buffer.count - position)
    parts.append(iovec(iov_base: buffer.baseAddress! + position, iov_len: count))
    position += count
  }
  return parts
}

@Suite("Engines") struct EngineTests {
  enum Kind: CaseIterable, Sendable {
    case plain, oneByte, sevenBytes, memory, faulty, volatile

    var engine: any BlockEngine {
      switch self {
      case .plain: SynchronousEngine()
      case .oneByte: SynchronousEngine(bytesPerCall: 1)
      case .sevenBytes: SynchronousEngine(bytesPerCall: 7)
      case .memory: MemoryEngine()
      case .faulty: FaultyEngine()
      case .volatile: FaultyEngine(holdsUnsynchronized: true)
      }
    }
  }

  @Test(
    "every engine does what an array does, whatever the parts and however little the kernel moves",
    arguments: Kind.allCases)
  func model(kind: Kind) throws {
    var random = RandomStream(seed: 1, name: "engine")
    var model: [UInt8] = (0..<3000).map { UInt8(truncatingIfNeeded: $0) }
    let temporary = TemporaryFile(model)
    let file = try FileRegistry().open(temporary.path, writable: true)
    let engine = kind.engine
    for _ in 0..<300 {
      let offset = Int(random.next() % 5000)
      let count = Int(random.next() % 600)
      let lengths = (0..<4).map { _ in Int(random.next() % 40) } + [1 + Int(random.next() % 200)]
      switch random.next() % 8 {
      case 0..<3:
        let end = min(model.count, offset + count)
        let expected = offset < end ? Array(model[offset..<end]) : []
        let bytes = try engine.get(count, file, at: UInt64(offset), parts: lengths)
        #expect(bytes == expected + [UInt8](repeating: 0, count: count - expected.count))
      case 3..<6:
        let bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        try engine.put(bytes, file, at: UInt64(offset), parts: lengths)
        guard count > 0 else { continue }
        if offset + count > model.count {
          model += [UInt8](repeating: 0, count: offset + count - model.count)
        }
        model.replaceSubrange(offset..<offset + count, with: bytes)
      case 6: try engine.synchronize(file)
      default:
        let range = UInt64(offset)..<UInt64(offset + count)
        try engine.zero(file, range, unmap: random.next() % 2 == 0)
        for index in offset..<max(offset, min(offset + count, model.count)) { model[index] = 0 }
      }
    }
    #expect(try engine.get(model.count, file, at: 0, parts: [1000]) == model)
  }

  @Test("more parts than the kernel takes at once are no matter")
  func manyParts() throws {
    let temporary = TemporaryFile()
    let file = try FileRegistry().open(temporary.path, writable: true)
    let bytes = (0..<5000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    for engine in [SynchronousEngine(), SynchronousEngine(bytesPerCall: 3)] {
      try engine.put(bytes, file, at: 10, parts: [1])
      #expect(try engine.get(5000, file, at: 10, parts: [0, 1]) == bytes)
    }
  }

  @Test("zeros are written where the file system cannot make them")
  func fallback() throws {
    // tmpfs has no ZERO_RANGE.
    let temporary = TemporaryFile([UInt8](repeating: 1, count: 200_000), folder: "/dev/shm")
    let file = try FileRegistry().open(temporary.path, writable: true)
    let engine = SynchronousEngine()
    try engine.zero(file, 1000..<199_000, unmap: false)
    try engine.zero(file, 199_500..<1_000_000, unmap: false)
    let bytes = try engine.get(200_001, file, at: 0, parts: [65536])
    #expect(bytes[..<1000].allSatisfy { $0 == 1 } && bytes[1000..<199_000].allSatisfy { $0 == 0 })
    #expect(bytes[199_000..<199_500].allSatisfy { $0 == 1 } && bytes[199_500...].allSatisfy { $0 == 0 })
    #expect(try file.status().size == 200_000)
  }

  @Test("errors of the kernel arrive with place and reason")
  func errors() throws {
    let temporary = TemporaryFile([1, 2, 3])
    let file = try FileRegistry().open(temporary.path, writable: false)
    let engine = SynchronousEngine()
    let expected = BlockIOError.transfer(.write, path: temporary.path, offset: 5, count: 2, code: EBADF)
    #expect(throws: expected) { try engine.put([1, 2], file, at: 5, parts: [2]) }
    #expect(
      expected.description == "write of 2 bytes at 5 in '\(temporary.path)' failed: Bad file descriptor")
    #expect(expected.code == EBADF)
    #expect(throws: BlockIOError.self) { try engine.put([1], file, at: .max, parts: [1]) }
    #expect(throws: BlockIOError.self) { try engine.put([1], file, at: UInt64(Int64.max), parts: [1]) }
    #expect(throws: BlockIOError.self) { try engine.zero(file, 0..<UInt64.max, unmap: true) }
    #expect(throws: BlockIOError.self) { try engine.zero(file, 0..<10, unmap: true) }
  }

  @Test("a file size limit of the process fails the write, and a part may be there")
  func sizeLimit() throws {
    // A write beyond the largest file of the file system.
    let temporary = TemporaryFile([1])
    let file = try FileRegistry().open(temporary.path, writable: true)
    let engine = SynchronousEngine()
    #expect(throws: BlockIOError.self) {
      try engine.put([1, 2], file, at: UInt64(Int64.max) - 2, parts: [2])
    }
    #expect(try engine.get(2, file, at: 0, parts: [2]) == [1, 0])
  }

  @Test("the faulty engine fails what it was told to, once, and writes as much as it was told to")
  func faults() throws {
    let temporary = TemporaryFile([0, 0, 0, 0])
    let file = try FileRegistry().open(temporary.path, writable: true)
    let engine = FaultyEngine()
    engine.fail(.write, skipping: 1, code: ENOSPC, done: 2)
    try engine.put([1], file, at: 0, parts: [1])
    #expect(throws: BlockIOError.transfer(.write, path: temporary.path, offset: 0, count: 4, code: ENOSPC)) {
      try engine.put([5, 6, 7, 8], file, at: 0, parts: [3])
    }
    #expect(try engine.get(4, file, at: 0, parts: [4]) == [5, 6, 0, 0])
    try engine.put([9], file, at: 3, parts: [1])
    #expect(engine.log.map(\.operation) == [.write, .write, .read, .write])
  }

  @Test("what was not synchronised is lost when the power goes")
  func volatile() throws {
    let temporary = TemporaryFile([0, 0, 0, 0])
    let registry = FileRegistry()
    let file = try registry.open(temporary.path, writable: true)
    let engine = FaultyEngine(holdsUnsynchronized: true)
    try engine.put([1, 1], file, at: 0, parts: [2])
    try engine.synchronize(file)
    try engine.put([2, 2, 2], file, at: 1, parts: [2])
    try engine.put([3], file, at: 3, parts: [1])
    #expect(try engine.get(4, file, at: 0, parts: [4]) == [1, 2, 2, 3])
    #expect(engine.unsynchronizedCount == 2)
    try engine.crash { index, _ in index == 0 ? 1 : 0 }
    #expect(throws: BlockIOError.self) { try engine.get(1, file, at: 0, parts: [1]) }
    #expect(try SynchronousEngine().get(4, file, at: 0, parts: [4]) == [1, 2, 0, 0])
  }

  @Test("the memory engine leaves the file alone")
  func memory() throws {
    let temporary = TemporaryFile([1, 2, 3])
    let file = try FileRegistry().open(temporary.path, writable: true)
    let engine = MemoryEngine()
    try engine.put([9], file, at: 5, parts: [1])
    #expect(try engine.contents(of: file) == [1, 2, 3, 0, 0, 9])
    #expect(try SynchronousEngine().get(6, file, at: 0, parts: [6]) == [1, 2, 3, 0, 0, 0])
  }

  @Test("segments of several files and of nothing fill the parts in order", arguments: 0..<UInt64(20))
  func segments(seed: UInt64) throws {
    var random = RandomStream(seed: seed, name: "segments")
    let contents = (0..<2).map { _ in (0..<500).map { _ in UInt8(truncatingIfNeeded: random.next()) } }
    let temporaries = contents.map { TemporaryFile($0) }
    let registry = FileRegistry()
    let files = try temporaries.map { try registry.open($0.path, writable: false) }
    var segments: [Segment] = []
    var expected: [UInt8] = []
    for _ in 0...random.next() % 6 {
      let offset = Int(random.next() % 400)
      let count = 1 + Int(random.next() % 99)
      let file = Int(random.next() % 3)
      segments.append(
        Segment(file == 2 ? .zeroes : .file(UInt8(file)), offset: UInt64(offset), count: UInt64(count)))
      expected +=
        file == 2 ? [UInt8](repeating: 0, count: count) : Array(contents[file][offset..<offset + count])
    }
    var bytes = [UInt8](repeating: 0xee, count: expected.count)
    var slices = IOVectorList(capacity: 1)
    let engine = SynchronousEngine()
    try bytes.withUnsafeMutableBufferPointer { (buffer) throws(BlockIOError) in
      let parts = cut(UnsafeMutableRawBufferPointer(buffer), [3, 0, 50, 1])
      try parts.withUnsafeBufferPointer { (parts) throws(BlockIOError) in
        try engine.read(segments, of: files, into: parts, slices: &slices)
      }
    }
    #expect(bytes == expected)
  }
}
