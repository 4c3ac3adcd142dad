// Media that fail under lanes, and power that goes.
import BlockIO
import DiskImage
import Glibc
import Simulation
import Testing

@testable import BlockDevice

@Suite("Lanes in trouble") struct LaneCrashTests {
  @Test(
    "nothing that was flushed is lost, and no metadata is ahead of its data", arguments: DiskShape.allCases,
    [1, 2])
  func power(shape: DiskShape, lanes: Int) throws {
    for seed in 0..<10 * soak {
      let scratch = DiskFolder()
      let medium = VolatileMedium()
      let bench = try LaneTests.bench(shape, seed: seed, lanes: lanes, scratch: scratch, medium: medium)
      bench.device.isWriteThrough = seed % 5 == 4
      bench.expectsFailures = seed % 4 == 3
      if bench.expectsFailures {
        for engine in bench.shuffled {
          engine.failureRate = 20
          engine.synchronizeFailureRate = 8
        }
      }
      for _ in 0..<60 + bench.random.next() % 300 {
        let lane = Int(bench.random.next() % UInt64(lanes))
        if bench.random.next() % 5 < 2, bench.lanes[lane].inFlight < 12 {
          bench.submit(lane: lane, zeroes: seed % 2 == 0)
        }
        if bench.random.next() % 2 == 0 { try bench.run(lane: lane) }
      }
      try medium.crash(&bench.random, unit: UnitModel.unit)
      bench.isCut = true
      try bench.drain()
      bench.lanes = []
      try? bench.device.close()
      if shape.isQCOW2 {
        let report = try QCOW2.check(path: "\(scratch.path)/disk", registry: scratch.registry)
        #expect(report.errors == 0, "\(shape), seed \(seed): \(report.messages)")
      }
      let after = try shape.reopen(scratch)
      let wrong = bench.model.wrong(try readAll(after), afterCrash: true)
      #expect(wrong == nil, "\(shape), seed \(seed)")
      try after.close()
    }
  }

  @Test("a request that fails costs itself only", arguments: DiskShape.allCases, [1, 2])
  func failures(shape: DiskShape, lanes: Int) throws {
    var failed = 0
    for seed in 0..<6 * soak {
      let scratch = DiskFolder()
      let medium = VolatileMedium()
      let bench = try LaneTests.bench(shape, seed: seed, lanes: lanes, scratch: scratch, medium: medium)
      bench.expectsFailures = true
      for engine in bench.shuffled { engine.failureRate = 8 }
      for _ in 0..<300 {
        let lane = Int(bench.random.next() % UInt64(lanes))
        if bench.random.next() % 5 < 2, bench.lanes[lane].inFlight < 12 { bench.submit(lane: lane) }
        if bench.random.next() % 2 == 0 { try bench.run(lane: lane) }
      }
      try bench.drain()
      failed += bench.failed
      #expect(bench.failed <= bench.shuffled.reduce(0) { $0 + $1.failures } * 8)
      for engine in bench.shuffled { engine.failureRate = 0 }
      let wrong = bench.model.wrong(try bench.contents(), afterCrash: false)
      #expect(wrong == nil, "\(shape), seed \(seed)")
      bench.lanes = []
      try bench.device.close()
      try medium.settle()
      let after = try shape.reopen(scratch)
      let wrongAfter = bench.model.wrong(try readAll(after), afterCrash: false)
      #expect(wrongAfter == nil, "\(shape), seed \(seed), after closing")
      try after.close()
    }
    #expect(failed > 10)
  }
}
