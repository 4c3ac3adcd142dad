// Lanes on threads of their own.
import BlockIO
import DiskImage
import Foundation
import Glibc
import Simulation
import Testing

@testable import BlockDevice

@Suite("Lanes on threads") struct LaneThreadTests {
  /// Each thread has units of its own, which share pages and clusters with those of the other ones.
  static func stripes(_ count: Int, of units: Int, random: inout RandomStream) -> [[Range<Int>]] {
    var stripes = [[Range<Int>]](repeating: [], count: count)
    var start = 0
    while start < units {
      let end = min(units, start + 8 * Int(1 + random.next() % 20))
      stripes[Int(random.next() % UInt64(count))].append(start..<end)
      start = end
    }
    return stripes
  }

  @Test("none loses what it wrote, and all get their answers", arguments: DiskShape.allCases)
  func threads(shape: DiskShape) throws {
    for seed in 0..<3 * soak { try Self.run(shape, seed: seed) { SystemCallEngine() } }
  }

  @Test(
    "so it is with every engine, past the page cache and through it",
    arguments: [DiskShape.rawGuessed, .cow, .cowOnCompressed, .qcow2Compressed, .qcow2Small],
    EngineKind.allCases)
  func engines(shape: DiskShape, kind: EngineKind) throws {
    // Not every kernel lets us have every engine.
    guard (try? makeQueuedEngine(kind, depth: 1)) != nil else { return }
    for seed in 0..<2 * soak {
      try Self.run(shape, seed: seed, isDirect: seed % 2 == 0) { try makeQueuedEngine(kind, depth: 4) }
    }
  }

  static func run(
    _ shape: DiskShape, seed: UInt64, isDirect: Bool = false, engine: () throws -> any QueuedEngine
  ) throws {
    let scratch = DiskFolder()
    let (image, bytes) = try shape.make(scratch, seed: seed, engine: SynchronousEngine())
    // Where the file system can.
    if isDirect { try? image.files[0].useDirect(unit: 64) }
    let device = SharedDevice(name: "d", image: image)
    var random = RandomStream(seed: seed, name: "threads")
    let stripes = Self.stripes(2, of: bytes.count / UnitModel.unit, random: &random)
    let benches = try stripes.enumerated().map { index, stripes in
      try LaneBench(
        device, [try engine()], bytes: bytes, stripes: stripes,
        random: RandomStream(seed: seed, name: "thread \(index)"))
    }
    let label = "\(shape), seed \(seed), \(benches[0].engines[0].kind), direct: \(isDirect)"
    device.log = { Issue.record("\(label): \($0)") }
    let threads = benches.map { bench in
      bench.label = label
      bench.mayTear = image.files[0].direct == nil
      return Runner { try serve(bench) }
    }
    for thread in threads { try thread.join() }
    for bench in benches { bench.close() }
    try device.close()
    let after = try shape.reopen(scratch)
    let all = try readAll(after)
    for bench in benches {
      let wrong = bench.model.wrong(all, afterCrash: false, within: bench.stripes)
      #expect(wrong == nil, "\(shape), seed \(seed), after closing")
    }
    try after.close()
  }

  private static func serve(_ bench: LaneBench) throws {
    for _ in 0..<100 {
      while bench.lanes[0].inFlight < 8 { bench.submit(lane: 0) }
      try bench.run(lane: 0, .forever)
    }
    while bench.lanes[0].inFlight > 0 { try bench.run(lane: 0, .forever) }
    // One thread owns an engine.
    let wrong = bench.model.wrong(try bench.contents(), afterCrash: false, within: bench.stripes)
    #expect(wrong == nil, "\(bench.label)")
  }
}

/// A thread that can be waited for, and what it ended with.
final class Runner: @unchecked Sendable {
  private let done = DispatchSemaphore(value: 0)
  private var failure: (any Error)?

  init(_ body: @escaping () throws -> Void) {
    let box = Box(body)
    let thread = Thread { [self] in
      do { try box.body() } catch { failure = error }
      done.signal()
    }
    thread.stackSize = 1 << 20
    thread.start()
  }

  func join() throws {
    done.wait()
    if let failure { throw failure }
  }

  private struct Box: @unchecked Sendable {
    let body: () throws -> Void
    init(_ body: @escaping () throws -> Void) { self.body = body }
  }
}
