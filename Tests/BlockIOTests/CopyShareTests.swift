// Large transfers through the page cache.
import Foundation
import Simulation
import Testing

@testable import BlockIO

@Suite("Large transfers through the page cache") struct CopyShareTests {
  private let large = Limits.largeCopyBytes

  @Test("workers take large reads while there are others to copy, and only so many")
  func workers() {
    var share = CopyShare()
    share.begin(underWay: 8)
    #expect(!share.handsOver(.read, bytes: large, othersWait: false), "the only one")
    #expect(!share.handsOver(.read, bytes: large - 1, othersWait: true), "a small one")
    #expect(!share.handsOver(.write, bytes: large, othersWait: true), "a write")
    for _ in 0..<Limits.handedOverMax { #expect(share.handsOver(.read, bytes: large, othersWait: true)) }
    #expect(!share.handsOver(.read, bytes: large, othersWait: true), "all workers are busy")
    #expect(share.isEnough, "the owner copied three")
    share.workerIsDone()
    #expect(share.handsOver(.read, bytes: large, othersWait: true))
  }

  @Test("a run copies half of what is under way, and four at least; small ones do not count")
  func halves() {
    for (underWay, enough) in [(1, 4), (8, 4), (32, 16)] {
      var share = CopyShare()
      share.begin(underWay: underWay)
      for _ in 0..<100 { _ = share.handsOver(.write, bytes: 4096, othersWait: true) }
      for _ in 0..<enough {
        #expect(!share.isEnough)
        _ = share.handsOver(.write, bytes: large, othersWait: true)
      }
      #expect(share.isEnough)
      share.begin(underWay: underWay)
      #expect(!share.isEnough)
    }
  }

  /// Whether the process has threads of the kernel that work for its rings.
  private var hasWorkers: Bool {
    let tasks = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/task")) ?? []
    return tasks.contains {
      let name = FileManager.default.contents(atPath: "/proc/self/task/\($0)/comm") ?? Data()
      return name.starts(with: Data("iou-wrk-".utf8))
    }
  }

  @Test(
    "a ring has workers for large reads, and all bytes are right",
    arguments: [Access.folder, "/dev/shm"], [nil, 9] as [UInt64?])
  func ring(folder: String, mischief: UInt64?) throws {
    var random = RandomStream(seed: 8, name: "copies")
    let block = 128 << 10
    let bytes = random.bytes(32 * block)
    let temporary = TemporaryFile(bytes, folder: folder)
    let file = try FileRegistry().open(temporary.path, writable: true)
    let rig = try EngineRig(.uring, depth: 32, mischief: mischief)
    func read(_ numbers: Range<Int>) throws {
      let memories = numbers.map { _ in Memory(count: block, misalignment: 1) }
      for (number, memory) in zip(numbers, memories) {
        rig.start(.read, file, at: UInt64(number * block), memory, parts: [1000, .max])
      }
      #expect(try rig.drain().map(\.code) == numbers.map { _ in 0 })
      for (number, memory) in zip(numbers, memories) {
        #expect(memory.isIntact && memory.bytes == Array(bytes[number * block..<(number + 1) * block]))
      }
    }
    for number in 0..<4 { try read(number..<number + 1) }
    try read(0..<32)
    #expect(hasWorkers)
    let memories = (0..<32).map { Memory([UInt8](repeating: UInt8($0), count: block)) }
    for (number, memory) in memories.enumerated() {
      rig.start(.write, file, at: UInt64(number * block), memory)
    }
    #expect(try rig.drain().map(\.code) == memories.map { _ in 0 })
    let written = try SynchronousEngine().get(bytes.count, file, at: 0, parts: [.max])
    #expect(written == memories.flatMap(\.bytes))
  }
}
