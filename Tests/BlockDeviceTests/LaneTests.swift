// Lanes against a model, on one thread, from a seed.
import BlockIO
import DiskImage
import Glibc
import Simulation
import Testing

@testable import BlockDevice

/// How many times the usual number of seeds: ten times `TTBLK_LONG`, which `Tests/run.sh --long` sets.
let soak = max(1, 10 * (getenv("TTBLK_LONG").flatMap { UInt64(String(cString: $0)) } ?? 0))

@Suite("Lanes") struct LaneTests {
  static func bench(
    _ shape: DiskShape, seed: UInt64, lanes: Int, scratch: DiskFolder, medium: VolatileMedium
  ) throws -> LaneBench {
    let (image, bytes) = try shape.make(scratch, seed: seed, engine: medium)
    let engines = (0..<lanes).map {
      ShuffledEngine(medium, seed: seed, name: "engine \($0)", unit: UInt64(UnitModel.unit))
    }
    return try LaneBench(
      SharedDevice(name: "d", image: image), engines, bytes: bytes,
      random: RandomStream(seed: seed, name: "lanes"))
  }

  @Test("do what an array does", arguments: DiskShape.allCases, [1, 2, 3])
  func model(shape: DiskShape, lanes: Int) throws {
    for seed in 0..<8 * soak {
      let scratch = DiskFolder()
      let medium = VolatileMedium()
      let bench = try Self.bench(shape, seed: seed, lanes: lanes, scratch: scratch, medium: medium)
      bench.device.isWriteThrough = seed % 5 == 4
      for _ in 0..<300 {
        let lane = Int(bench.random.next() % UInt64(lanes))
        if bench.random.next() % 5 < 2, bench.lanes[lane].inFlight < 12 { bench.submit(lane: lane) }
        if bench.random.next() % 2 == 0 { try bench.run(lane: lane) }
      }
      try bench.drain()
      let wrong = bench.model.wrong(try bench.contents(), afterCrash: false)
      #expect(wrong == nil, "\(shape), seed \(seed)")
      bench.lanes = []
      try bench.device.close()
      try medium.settle()
      let after = try shape.reopen(scratch)
      let bytes = try readAll(after)
      let wrongAfter = bench.model.wrong(bytes, afterCrash: false)
      #expect(wrongAfter == nil, "\(shape), seed \(seed), after closing")
      try after.close()
    }
  }
}
