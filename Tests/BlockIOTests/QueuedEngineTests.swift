// Every engine, in every way to reach a file, against arrays of bytes.
import Glibc
import Simulation
import Testing

@testable import BlockIO

@Suite("Engines with a queue") struct QueuedEngineTests {
  @Test(
    "do what an array does, one operation at a time, wherever the memory and the bytes are",
    arguments: EngineKind.allCases, Access.allCases)
  func model(kind: EngineKind, access: Access) throws {
    for mischief in [nil, 7] as [UInt64?] {
      var random = RandomStream(seed: mischief ?? 1, name: "queued")
      var model = random.bytes(30_011)
      let temporary = TemporaryFile(model, folder: Access.folder)
      let file = try access.open(temporary)
      let rig = try EngineRig(kind, mischief: mischief)
      for _ in 0..<200 {
        let unit = [1, 1, 512, 4096][random.below(4)]
        let offset = random.below(50_000) / unit * unit
        let count = random.below(12_000) / unit * unit
        let misalignment = [0, 0, 1, 512, 100][random.below(5)]
        let lengths = [[.max], [512], [4096, 512], [1, 0, 700, 33], [random.below(5000) + 1]][random.below(5)]
        switch random.below(8) {
        case 0..<3:
          let memory = Memory(count: count, misalignment: misalignment)
          #expect(try rig.perform(.read, file, at: UInt64(offset), memory, parts: lengths) == 0)
          let end = min(model.count, offset + count)
          let expected = offset < end ? Array(model[offset..<end]) : []
          #expect(memory.bytes == expected + [UInt8](repeating: 0, count: count - expected.count))
          #expect(memory.isIntact)
        case 3..<6:
          let bytes = random.bytes(count)
          let memory = Memory(bytes, misalignment: misalignment)
          #expect(try rig.perform(.write, file, at: UInt64(offset), memory, parts: lengths) == 0)
          #expect(memory.bytes == bytes && memory.isIntact)
          guard count > 0 else { continue }
          model += [UInt8](repeating: 0, count: max(0, offset + count - model.count))
          model.replaceSubrange(offset..<offset + count, with: bytes)
        case 6: #expect(try rig.perform(.synchronize, file) == 0)
        default:
          let operation: IOOperation.Kind = random.below(2) == 0 ? .zero : .zeroAndUnmap
          #expect(try rig.perform(operation, file, at: UInt64(offset), count: UInt64(count)) == 0)
          for index in offset..<max(offset, min(offset + count, model.count)) { model[index] = 0 }
        }
        #expect(try file.status().size == model.count)
      }
      #expect(try SynchronousEngine().get(model.count, file, at: 0, parts: [.max]) == model)
    }
  }
}

@Suite("Engines with much under way") struct QueuedBatchTests {
  /// Disjoint ranges, neighbours in one sector or block among them, all under way at once.
  @Test(
    "keep thousands of neighbours apart, whatever the kernel moves at a time",
    arguments: EngineKind.allCases, Access.allCases)
  func neighbours(kind: EngineKind, access: Access) throws {
    for mischief in [nil, 3] as [UInt64?] {
      var random = RandomStream(seed: 5, name: "neighbours")
      var model = random.bytes(150_100)
      let temporary = TemporaryFile(model, folder: Access.folder)
      let file = try access.open(temporary)
      let rig = try EngineRig(kind, depth: 32, mischief: mischief)
      var reads: [(Range<Int>, Memory)] = []
      var memories: [Memory] = []
      var position = 0
      let before = model
      while position < model.count {
        let count = min(model.count - position, 1 + random.below(150))
        let range = position..<position + count
        position += count
        switch random.below(8) {
        case 0: break
        case 1..<3:
          let memory = Memory(count: count, misalignment: random.below(600))
          rig.start(.read, file, at: UInt64(range.lowerBound), memory, parts: [random.below(75) + 1])
          reads.append((range, memory))
        case 3:
          rig.start(
            random.below(2) == 0 ? .zero : .zeroAndUnmap, file, at: UInt64(range.lowerBound),
            count: UInt64(count))
          model.replaceSubrange(range, with: repeatElement(0, count: count))
        default:
          let bytes = random.bytes(count)
          let memory = Memory(bytes, misalignment: random.below(600))
          rig.start(.write, file, at: UInt64(range.lowerBound), memory, parts: [random.below(75) + 1])
          memories.append(memory)
          model.replaceSubrange(range, with: bytes)
        }
      }
      #expect(rig.engine.underWay > 1000)
      let events = try rig.drain()
      #expect(events.allSatisfy { $0.code == 0 } && Set(events.map(\.tag)).count == events.count)
      for (range, memory) in reads {
        #expect(memory.bytes == Array(before[range]) && memory.isIntact)
      }
      #expect(try SynchronousEngine().get(model.count, file, at: 0, parts: [.max]) == model)
    }
  }

  @Test("move megabytes at once", arguments: EngineKind.allCases, Access.allCases)
  func large(kind: EngineKind, access: Access) throws {
    let temporary = TemporaryFile([], folder: Access.folder)
    let file = try access.open(temporary)
    let rig = try EngineRig(kind)
    var random = RandomStream(seed: 6, name: "large")
    let bytes = random.bytes(3 << 20)
    for (misalignment, lengths, offset) in [(0, [4096], 4096), (1, [.max], 512), (0, [100_001], 77)] {
      let source = Memory(bytes, misalignment: misalignment)
      #expect(try rig.perform(.write, file, at: UInt64(offset), source, parts: lengths) == 0)
      let target = Memory(count: bytes.count + 5000, misalignment: misalignment)
      #expect(try rig.perform(.read, file, at: UInt64(offset), target, parts: lengths) == 0)
      #expect(Array(target.bytes[..<bytes.count]) == bytes && target.isIntact)
    }
    // Empty parts, and none at all.
    #expect(try rig.perform(.write, file, at: 10, Memory(count: 0)) == 0)
    #expect(try rig.perform(.read, file, at: 10, Memory(count: 3), parts: [0, 1]) == 0)
    #expect(try rig.perform(.zero, file, at: 10, count: 0) == 0)
  }

  /// Each engine changes its own bytes of blocks that all of them change.
  @Test(
    "several engines change the same blocks of one file and lose nothing",
    arguments: [Access.direct, .directLarge])
  func sharedBlocks(access: Access) throws {
    let temporary = TemporaryFile([UInt8](repeating: 0xff, count: 40_000), folder: Access.folder)
    let file = try access.open(temporary)
    let rigs = try EngineKind.allCases.map { try EngineRig($0, depth: 8) }
    var memories: [Memory] = []
    for position in stride(from: 0, to: 40_000, by: 100) {
      for (index, rig) in rigs.enumerated() {
        let memory = Memory([UInt8](repeating: UInt8(index), count: 25))
        memories.append(memory)
        rig.start(.write, file, at: UInt64(position + 25 * index), memory)
      }
    }
    // One thread, by turns: an engine that waits for another's range must not hold up the thread.
    var events: [IOEvent] = []
    while rigs.contains(where: { $0.engine.underWay > 0 }) {
      for rig in rigs { try rig.engine.run(.no, into: &events) }
    }
    #expect(events.count == memories.count && events.allSatisfy { $0.code == 0 })
    let expected = (0..<40_000).map { UInt8($0 / 25 % 4) }
    #expect(try SynchronousEngine().get(40_000, file, at: 0, parts: [.max]) == expected)
  }

  @Test("a file of whole sectors does without ranges, and refuses what is not whole")
  func sectors() throws {
    let temporary = TemporaryFile([UInt8](repeating: 1, count: 8192), folder: Access.folder)
    let file = try FileRegistry().open(temporary.path, writable: true)
    try file.useDirect()
    try file.useDirect()
    try #require(file.direct?.alignment == 512)
    #expect(file.direct?.locks == nil)
    for kind in EngineKind.allCases {
      let rig = try EngineRig(kind)
      #expect(try rig.perform(.write, file, at: 512, Memory(count: 512, misalignment: 3)) == 0)
      #expect(try rig.perform(.write, file, at: 5, Memory(count: 512)) == EINVAL)
      let memory = Memory(count: 7, misalignment: 3)
      #expect(try rig.perform(.read, file, at: 510, memory) == 0)
      #expect(memory.bytes == [1, 1, 0xee, 0xee, 0xee, 0xee, 0xee])
    }
  }
}
