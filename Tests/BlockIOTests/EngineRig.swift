// An engine with its owner, for tests.
import Glibc
import Simulation
import Testing

@testable import BlockIO

/// Memory for one operation, at any address, with bytes around it that nobody may touch.
final class Memory {
  let base: UnsafeMutableRawPointer
  let count: Int
  private let whole: UnsafeMutableRawBufferPointer

  init(count: Int, misalignment: Int = 0, fill: UInt8 = 0xee) {
    self.count = count
    whole = .allocate(byteCount: count + misalignment + 128, alignment: 4096)
    whole.initializeMemory(as: UInt8.self, repeating: 0xa5)
    base = whole.baseAddress! + misalignment
    memset(base, Int32(fill), count)
  }

  convenience init(_ bytes: some Collection<UInt8>, misalignment: Int = 0) {
    self.init(count: bytes.count, misalignment: misalignment)
    UnsafeMutableRawBufferPointer(start: base, count: count).copyBytes(from: bytes)
  }

  deinit { whole.deallocate() }

  var bytes: [UInt8] { Array(UnsafeRawBufferPointer(start: base, count: count)) }
  var isIntact: Bool {
    let start = base - whole.baseAddress!
    return whole[..<start].allSatisfy { $0 == 0xa5 } && whole[(start + count)...].allSatisfy { $0 == 0xa5 }
  }
  func isEqual(to other: Memory) -> Bool {
    count == other.count && withExtendedLifetime((self, other)) { memcmp(base, other.base, count) == 0 }
  }
  func parts(_ lengths: [Int]) -> [iovec] {
    cut(UnsafeMutableRawBufferPointer(start: base, count: count), lengths)
  }
}

/// One engine and what it said.
final class EngineRig {
  let engine: any QueuedEngine
  private(set) var events: [IOEvent] = []
  private var lastTag: UInt64 = 1000
  /// What the engine reads or fills, whether the test looks at it or not.
  private var memories: [Memory] = []

  init(_ engine: any QueuedEngine) { self.engine = engine }

  convenience init(_ kind: EngineKind, depth: Int = 16, mischief: UInt64? = nil) throws {
    self.init(
      try makeQueuedEngine(kind, depth: depth, mischief: mischief.map { Mischief(seed: $0) }))
  }

  @discardableResult
  func start(
    _ kind: IOOperation.Kind, _ file: ImageFile, at offset: UInt64 = 0, _ memory: Memory? = nil,
    parts lengths: [Int] = [.max], count: UInt64 = 0
  ) -> UInt64 {
    lastTag += 1
    let parts = memory?.parts(lengths) ?? []
    if let memory { memories.append(memory) }
    let operation = IOOperation(
      kind, file, offset: offset, count: memory.map { UInt64($0.count) } ?? count, tag: lastTag)
    parts.withUnsafeBufferPointer { engine.enqueue(operation, parts: $0) }
    return lastTag
  }

  /// Runs until nothing is under way, and gives all events.
  @discardableResult
  func drain() throws -> [IOEvent] {
    while engine.underWay > 0 { try engine.run(.forever, into: &events) }
    defer { events = [] }
    memories = []
    return events
  }

  /// What another thread's `collect` got.
  private(set) var collected: [IOEvent] = []

  /// Runs until there were events with so many tags.
  func collect(_ count: Int) {
    while Set(collected.map(\.tag)).count < count {
      guard (try? engine.run(.forever, into: &collected)) != nil else { return }
    }
  }

  func run(_ wait: Wait) throws -> [IOEvent] {
    var events: [IOEvent] = []
    try engine.run(wait, into: &events)
    return events
  }

  /// Carries out one operation alone.
  func perform(
    _ kind: IOOperation.Kind, _ file: ImageFile, at offset: UInt64 = 0, _ memory: Memory? = nil,
    parts lengths: [Int] = [.max], count: UInt64 = 0
  ) throws -> CInt {
    let tag = start(kind, file, at: offset, memory, parts: lengths, count: count)
    let events = try drain()
    try #require(events.count == 1 && events[0].tag == tag)
    return events[0].code
  }
}

/// How a file is reached.
enum Access: CaseIterable, Sendable {
  case cached
  /// As the file system has it: blocks of 512 bytes, as a rule; any request all the same.
  case direct
  /// As if the file wanted 4096.
  case directLarge

  /// Somewhere with direct I/O.
  static let folder = "/var/tmp"

  func open(_ temporary: TemporaryFile, writable: Bool = true) throws -> ImageFile {
    let file = try FileRegistry().open(temporary.path, writable: writable, lock: false)
    switch self {
    case .cached: break
    case .direct: try file.useDirect(unit: 1)
    case .directLarge: try file.useDirect(unit: 1, alignment: 4096)
    }
    return file
  }
}

extension RandomStream {
  mutating func bytes(_ count: Int) -> [UInt8] {
    (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) }
  }
  mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
}
