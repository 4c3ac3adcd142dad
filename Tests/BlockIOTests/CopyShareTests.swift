// Transfers through the page cache.
import Foundation
import Simulation
import Testing

@testable import BlockIO

@Suite("Transfers through the page cache") struct CopyShareTests {
  private let large = Limits.largeCopyBytes

  @Test("workers take large reads while there are others to copy, and only so many")
  func workers() {
    var share = CopyShare()
    func offer(_ kind: Step.Kind, _ bytes: UInt64, othersWait: Bool = true) -> Bool {
      share.handsOver(kind, bytes: bytes, othersWait: othersWait)
    }
    share.begin(underWay: 8)
    let refused = [
      "the only one": offer(.read, large, othersWait: false), "a small one": offer(.read, large - 1),
      "a write": offer(.write, large),
    ]
    #expect(refused.allSatisfy { !$0.value }, "\(refused)")
    let taken = (0..<Limits.handedOverMax + 1).map { _ in offer(.read, large) }
    #expect(taken == [true, true, true, false])
    #expect(share.isEnough, "the owner copied three")
    share.workerIsDone()
    let isTakenAgain = offer(.read, large)
    #expect(isTakenAgain)
  }

  @Test("a run copies half of what is under way, and two at least, whatever their size")
  func halves() {
    for (underWay, enough) in [(1, 2), (8, 4), (32, 16)] {
      var share = CopyShare()
      for bytes in [4096, large] {
        share.begin(underWay: underWay)
        for _ in 0..<enough {
          #expect(!share.isEnough)
          _ = share.handsOver(.write, bytes: bytes, othersWait: true)
        }
        #expect(share.isEnough)
      }
    }
  }

  @Test("a ring says when it has left copies to its next run, and that run waits for nobody")
  func leftWork() throws {
    let temporary = TemporaryFile([UInt8](repeating: 7, count: 32 * 4096), folder: "/dev/shm")
    let file = try FileRegistry().open(temporary.path, writable: true)
    let engine = try makeQueuedEngine(.uring, depth: 32)
    let rig = EngineRig(engine)
    #expect(!engine.leftWork)
    for number in 0..<8 {
      rig.start(.read, file, at: UInt64(number * 4096), Memory(count: 4096), parts: [.max])
    }
    var events: [IOEvent] = []
    var counts: [Int] = []
    repeat {
      try engine.run(counts.isEmpty ? .no : .forever, into: &events)
      counts.append(events.count)
    } while engine.leftWork
    #expect(counts == [4, 6, 8])
    #expect(events.allSatisfy { $0.code == 0 } && engine.underWay == 0)
    withExtendedLifetime(rig) {}
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
    let block = 128 << 10
    // Blocks that differ, made without a look at each byte: there are sanitizers.
    func pattern(_ number: Int) -> Memory { Memory(count: block, misalignment: 1, fill: UInt8(number)) }
    let temporary = TemporaryFile([], folder: folder)
    let file = try FileRegistry().open(temporary.path, writable: true)
    let rig = try EngineRig(.uring, depth: 32, mischief: mischief)
    func read(_ numbers: Range<Int>) throws {
      let memories = numbers.map { _ in Memory(count: block, misalignment: 1) }
      for (number, memory) in zip(numbers, memories) {
        rig.start(.read, file, at: UInt64(number * block), memory, parts: [1000, .max])
      }
      #expect(try rig.drain().map(\.code) == numbers.map { _ in 0 })
      for (number, memory) in zip(numbers, memories) {
        #expect(memory.isIntact && memory.isEqual(to: pattern(number)))
      }
    }
    let sources = (0..<32).map(pattern)
    for (number, memory) in sources.enumerated() {
      rig.start(.write, file, at: UInt64(number * block), memory)
    }
    #expect(try rig.drain().map(\.code) == [CInt](repeating: 0, count: 32))
    #expect(try file.status().size == 32 * block)
    for number in 0..<4 { try read(number..<number + 1) }
    try read(0..<32)
    #expect(hasWorkers)
  }
}
