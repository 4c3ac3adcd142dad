// What a repair changes, and what it does not.
import BlockIO
import Glibc
import Simulation
import Testing

@testable import DiskImage

@Suite("Repairing images") struct RepairTests {
  let scratch = Scratch()
  let registry = FileRegistry()

  func repair(
    _ options: Repair.Options = .init(mixedPages: true, leaks: true), saving: String = "saved",
    engine: any BlockEngine = SynchronousEngine()
  ) throws -> Repair.Outcome {
    try Repair.run(
      path: scratch.file("cow"), options: options, savingTo: scratch.file(saving), registry: registry,
      engine: engine, progress: Progress())
  }

  func kinds(_ findings: [Finding]) -> [String] { findings.map(\.kind.rawValue).sorted() }

  func contents() throws -> [UInt8] {
    try openImage(path: scratch.file("cow"), options: ImageOptions(readOnly: true), registry: registry).all()
  }

  func sample(seed: UInt64, _ shape: COWSample.Shape = .v3) -> COWSample {
    COWSample(
      shape, size: 16 * 4096 + [1536, 512, 100, 0][Int(seed % 4)], path: scratch.file("base"), seed: seed)
  }

  func start(_ sample: COWSample) {
    scratch.write("base", sample.backing)
    scratch.write("cow", sample.file)
    unlink(scratch.file("saved"))
  }

  @Test("everything is put right, the disk shows the same, and undo brings back every byte", arguments: 0..<8)
  func all(seed: UInt64) throws {
    let sample = sample(seed: seed, seed % 2 == 0 ? .v3 : .v3Align512)
    start(sample)
    let outcome = try repair()
    #expect(outcome.repaired.contains { $0.kind == .mixedPages })
    #expect(outcome.remaining == [] && outcome.saved == scratch.file("saved"))
    #expect(try contents() == sample.ideal)
    let info = try #require(try ImageInfo(path: scratch.file("cow"), registry: registry).cow)
    #expect(info.mixedPages == 0)
    #expect(try repair(saving: "again").saved == nil)
    try Repair.undo(path: scratch.file("cow"), from: scratch.file("saved"), registry: registry)
    #expect(Array(readFile(scratch.file("cow")).prefix(sample.file.count)) == sample.file)
    #expect(try contents() == sample.ideal)
  }

  @Test("what a killed repair left is removed by the next, whenever that is") func abandoned() throws {
    start(sample(seed: 1))
    scratch.write("cow.repair-20200101-000000.new-999999999", [1])
    scratch.write("cow.repair-20200101-000000", [1])
    _ = try repair(saving: "cow.repair-20300101-000000")
    #expect(scratch.names == ["base", "cow", "cow.repair-20200101-000000", "cow.repair-20300101-000000"])
  }

  @Test("a dry run changes nothing and says the same") func dryRun() throws {
    let sample = sample(seed: 0)
    start(sample)
    let outcome = try repair(.init(mixedPages: true, leaks: true, dryRun: true))
    #expect(outcome.saved == nil && scratch.names == ["base", "cow"])
    #expect(readFile(scratch.file("cow")) == sample.file)
    #expect(try repair().repaired == outcome.repaired)
  }

  @Test("nothing is done that was not asked for") func little() throws {
    let sample = sample(seed: 0)
    start(sample)
    let outcome = try repair(.init())
    #expect(outcome.repaired.map(\.kind) == [.strayBits])
    #expect(kinds(outcome.remaining) == ["leaks", "mixed-pages"])
    var expected = sample.file
    expected[sample.bitmapOffset + sample.bitmapCount - 1] &= 0b111
    #expect(readFile(scratch.file("cow")) == expected)
  }

  @Test("what was saved is never overwritten, and nothing is changed then") func exists() throws {
    let sample = sample(seed: 0)
    start(sample)
    scratch.write("saved", [1])
    #expect(throws: DiskImageError.exists(path: scratch.file("saved"))) { try repair() }
    #expect(readFile(scratch.file("cow")) == sample.file && readFile(scratch.file("saved")) == [1])
  }

  @Test("a changed backing file keeps pages from being completed, and nothing else") func staleBacking()
    throws
  {
    let sample = sample(seed: 0)
    start(sample)
    touch(scratch.file("base"), 5)
    let outcome = try repair()
    #expect(kinds(outcome.repaired) == ["leaks", "stray-bits"])
    #expect(kinds(outcome.remaining) == ["backing", "mixed-pages"])
    touch(scratch.file("base"), 1_700_000_000)
    #expect(try contents() == sample.ideal)
  }

  @Test("a file that is too short gets its length, if nothing is missing") func short() throws {
    var sample = sample(seed: 3)
    sample.bits[sample.bits.count - 1] = false
    sample.bits[sample.bits.count - 2] = false
    sample.build()
    start(sample)
    truncate(scratch.file("cow"), off_t(sample.file.count - 1000))
    let outcome = try repair()
    #expect(outcome.repaired.contains { $0.kind == .short } && outcome.remaining == [])
    #expect(status(of: scratch.file("cow")).st_size == sample.file.count)
    #expect(try contents() == sample.ideal)
  }

  @Test("old versions are not touched", arguments: [COWSample.Shape.v1, .v2, .v3Broken])
  func old(shape: COWSample.Shape) {
    let sample = sample(seed: 1, shape)
    start(sample)
    #expect(throws: DiskImageError.self) { try repair() }
    #expect(readFile(scratch.file("cow")) == sample.file && scratch.names == ["base", "cow"])
  }

  @Test("undo takes only what was saved of this file, and all of it") func undoRefusals() throws {
    let sample = sample(seed: 0)
    start(sample)
    _ = try repair()
    let (after, saved) = (readFile(scratch.file("cow")), readFile(scratch.file("saved")))
    func undo() throws {
      try Repair.undo(path: scratch.file("cow"), from: scratch.file("bad"), registry: registry)
    }
    var far = saved
    far.replaceSubrange(8..<10, with: [0x7f, 0xff])
    var larger = saved
    larger[8 + 16 + 18] += 1
    let bads: [[UInt8]] = [
      [], [1, 2], Array(saved.dropLast(1)), Array(saved.prefix(8)), far, larger, saved.reversed(),
    ]
    for bad in bads {
      scratch.write("bad", bad)
      #expect(throws: DiskImageError.self) { try undo() }
      #expect(readFile(scratch.file("cow")) == after)
    }
  }

  @Test("noise in what was saved never ends badly") func noise() throws {
    let sample = sample(seed: 0)
    start(sample)
    _ = try repair()
    let (after, saved) = (readFile(scratch.file("cow")), readFile(scratch.file("saved")))
    for seed in UInt64(0)..<150 {
      var random = RandomStream(seed: seed, name: "noise")
      var bad = saved
      for _ in 0..<1 + random.next() % 3 {
        let place = random.next() % 3 == 0 ? random.next() % 24 : random.next() % UInt64(bad.count)
        bad[Int(place)] = UInt8(truncatingIfNeeded: random.next())
      }
      writeFile(scratch.file("bad"), bad)
      writeFile(scratch.file("cow"), after)
      try? Repair.undo(path: scratch.file("cow"), from: scratch.file("bad"), registry: registry)
      #expect(status(of: scratch.file("cow")).st_size == after.count)
    }
  }

  @Test("undo is refused once somebody wrote to the image, and not if he wrote elsewhere in a page")
  func undoAfterWrites() throws {
    var sample = sample(seed: 3)
    for sector in 0..<24 { sample.bits[sector] = sector == 3 }
    sample.build()
    start(sample)
    _ = try repair()
    func write(at offset: UInt64) throws {
      let disk = try openImage(path: scratch.file("cow"), registry: registry)
      try disk.put([UInt8](repeating: 0xd1, count: 512), at: offset)
      try disk.close()
    }
    func undo() throws {
      try Repair.undo(path: scratch.file("cow"), from: scratch.file("saved"), registry: registry)
    }
    let repaired = readFile(scratch.file("cow"))
    // A page that was not there, and a sector that the repair filled.
    for offset in [8192, 512] as [UInt64] {
      writeFile(scratch.file("cow"), repaired)
      try write(at: offset)
      let written = readFile(scratch.file("cow"))
      #expect(throws: DiskImageError.self) { try undo() }
      #expect(readFile(scratch.file("cow")) == written)
    }
    // A sector that was there before stays written.
    writeFile(scratch.file("cow"), repaired)
    try write(at: 3 * 512)
    try undo()
    #expect(try contents()[3 * 512..<4 * 512].allSatisfy { $0 == 0xd1 })
  }

  @Test("what was saved of one image is not put into another one on the same backing file") func undoOther()
    throws
  {
    let sample = sample(seed: 0)
    start(sample)
    _ = try repair()
    let other = COWSample(.v3, size: sample.backing.count, path: scratch.file("base"), seed: 77)
    scratch.write("cow", other.file)
    #expect(throws: DiskImageError.self) {
      try Repair.undo(path: scratch.file("cow"), from: scratch.file("saved"), registry: registry)
    }
    #expect(readFile(scratch.file("cow")) == other.file)
  }

  @Test("the power may go at any moment of a repair", arguments: UInt64(0)..<3 * soak)
  func power(seed: UInt64) throws {
    let sample = sample(seed: seed)
    var runs = 0
    try cutPowerEverywhere(
      seed: seed, start: { start(sample) },
      operation: { engine in
        runs += 1
        _ = try repair(saving: "saved-\(runs)", engine: engine)
      },
      after: { moment in
        #expect(try contents() == sample.ideal, "\(moment)")
        // What was saved is whole, or is not there.
        if access(scratch.file("saved-\(runs)"), F_OK) == 0 {
          let file = try registry.open(scratch.file("saved-\(runs)"), writable: false)
          try SavedPieces.forEach(in: file, limit: .max, engine: SynchronousEngine()) { _, _ in }
        }
      },
      completed: {
        #expect(try contents() == sample.ideal)
        let report = try Check.run(path: scratch.file("cow"), registry: registry, progress: Progress())
        #expect(!report.isImperfect)
      })
  }

  @Test("the power may go at any moment of an undo", arguments: UInt64(0)..<2 * soak)
  func undoPower(seed: UInt64) throws {
    let sample = sample(seed: seed)
    start(sample)
    _ = try repair()
    let repaired = readFile(scratch.file("cow"))
    try cutPowerEverywhere(
      seed: seed, start: { scratch.write("cow", repaired) },
      operation: { engine in
        try Repair.undo(
          path: scratch.file("cow"), from: scratch.file("saved"), registry: registry, engine: engine)
      },
      after: { moment in
        let bytes = try contents()
        #expect(bytes == sample.ideal, "\(moment)")
      },
      completed: { #expect(readFile(scratch.file("cow")) == sample.file) })
  }
}
