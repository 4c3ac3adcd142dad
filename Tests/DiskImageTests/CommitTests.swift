// A COW file into its backing file, at every moment.
import BlockIO
import Glibc
import Simulation
import Testing

@testable import DiskImage

@Suite("Committing") struct CommitTests {
  let scratch = Scratch()
  let registry = FileRegistry()

  func sample(_ seed: UInt64, size: Int) -> COWSample {
    let sample = COWSample(
      seed % 2 == 0 ? .v3 : .v3Align512, size: size, path: scratch.file("base"), seed: seed,
      uniform: seed % 3 == 0, density: 3)
    scratch.write("base", sample.backing)
    scratch.write("cow", sample.file)
    return sample
  }

  func commit(engine: any BlockEngine = SynchronousEngine()) throws(DiskImageError) -> Commit.Outcome {
    try Commit.run(path: scratch.file("cow"), registry: registry, engine: engine, progress: Progress())
  }

  func expectDone(_ sample: COWSample) throws {
    #expect(readFile(scratch.file("base")) == Array(sample.ideal[..<sample.backing.count]))
    let info = try #require(try ImageInfo(path: scratch.file("cow"), registry: registry).cow)
    #expect(info.problem == nil && info.allocated == 0)
    let disk = try openImage(path: scratch.file("cow"), registry: registry)
    #expect(try disk.all() == sample.ideal)
  }

  @Test("moves everything, and leaves an empty COW file that fits", arguments: 0..<6 as Range<UInt64>)
  func whole(seed: UInt64) throws {
    let sample = sample(seed, size: 40 * 4096 + [0, 512, 1536, 100][Int(seed % 4)])
    let outcome = try commit()
    #expect(!outcome.wasContinued && outcome.backing == scratch.file("base"))
    try expectDone(sample)
    // And once more: nothing to do.
    #expect(try commit().count == 0)
    try expectDone(sample)
  }

  @Test("keeps its space if it is told to, and a compaction gives it back")
  func space() throws {
    let sample = sample(0, size: 1 << 20)
    let before = status(of: scratch.file("cow")).st_blocks
    _ = try Commit.run(
      path: scratch.file("cow"), keepingSpace: true, registry: registry, progress: Progress())
    #expect(status(of: scratch.file("cow")).st_blocks > before / 2)
    try expectDone(sample)
    _ = try Compact.run(path: scratch.file("cow"), registry: registry, progress: Progress())
    #expect(status(of: scratch.file("cow")).st_blocks < before / 2)
    try expectDone(sample)
  }

  @Test("goes on after any failure and any loss of power", arguments: 0..<24 * soak)
  func power(seed: UInt64) throws {
    var random = RandomStream(seed: seed, name: "commit")
    let sample = sample(seed, size: 24 * 4096 + [0, 512, 1536, 100][Int(seed % 4)])
    let operations: [BlockOperation] = [.write, .synchronize, .zero, .read]
    var isDone = false
    for _ in 0..<4 where !isDone {
      let engine = FaultyEngine(holdsUnsynchronized: true)
      let operation = operations[Int(random.next() % 4)]
      engine.fail(operation, skipping: Int(random.next() % (operation == .write ? 24 : 6)), code: EIO)
      do throws(DiskImageError) {
        _ = try commit(engine: engine)
        isDone = true
      } catch {
        #expect(!error.description.isEmpty)
      }
      try engine.cutPower(&random)
      // Whoever may open it sees the disk; whoever may not is told how to go on.
      do throws(DiskImageError) {
        let disk = try openImage(
          path: scratch.file("cow"), options: ImageOptions(readOnly: true), registry: registry)
        #expect(try disk.all() == sample.ideal, "seed \(seed)")
      } catch {
        #expect(error == .commitUnfinished(path: scratch.file("cow")), "seed \(seed)")
      }
    }
    _ = try commit()
    try expectDone(sample)
  }

  @Test("is stopped at a safe place, says so, and goes on")
  func stopped() throws {
    let sample = sample(2, size: 4 << 20)
    let progress = Progress()
    var steps = 0
    progress.onStep = { _ in
      steps += 1
      return steps < 8
    }
    #expect(throws: DiskImageError.interrupted) {
      try Commit.run(path: scratch.file("cow"), registry: registry, progress: progress)
    }
    let problem = try ImageInfo(path: scratch.file("cow"), registry: registry).cow?.problem
    #expect(problem?.contains("ttblk image commit") == true)
    #expect(try commit().wasContinued)
    try expectDone(sample)
  }

  @Test("does not take another's change of the backing file for its own")
  func changed() throws {
    _ = sample(0, size: 65536)
    touch(scratch.file("base"), 1_700_000_777)
    guard case .backingModified = #expect(throws: DiskImageError.self, performing: { try commit() }) else {
      return #expect(Bool(false)) as Void
    }
    touch(scratch.file("base"), 1_700_000_000)
    _ = try commit()
    // Done: the note is gone, and a change counts again.
    touch(scratch.file("base"), 1_700_000_777)
    guard case .backingModified = #expect(throws: DiskImageError.self, performing: { try commit() }) else {
      return #expect(Bool(false)) as Void
    }
  }

  @Test("keeps a guest from making the backing file look like another format")
  func disguise() throws {
    var sample = sample(0, size: 65536)
    sample.bits[0] = true
    sample.data.replaceSubrange(0..<8, with: [0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3])
    sample.build()
    scratch.write("cow", sample.file)
    #expect(throws: DiskImageError.wouldChangeFormat(path: scratch.file("base"))) { try commit() }
    #expect(readFile(scratch.file("base")) == sample.backing)
    // Nothing was begun: the COW file is as it was, and excuses no change of the backing file.
    #expect(readFile(scratch.file("cow")) == sample.file)
  }

  @Test("goes into a COW file beneath, and both stay valid")
  func chain() throws {
    let lower = sample(3, size: 65536)
    var upper = COWSample(.v3, size: 65536, path: scratch.file("cow"), seed: 9)
    upper.backing = lower.ideal
    scratch.write("upper", upper.file)
    _ = try Commit.run(path: scratch.file("upper"), registry: registry, progress: Progress())
    let disk = try openImage(path: scratch.file("upper"), registry: registry)
    #expect(try disk.all() == upper.ideal)
    try disk.close()
    #expect(try openImage(path: scratch.file("cow"), registry: registry).all() == upper.ideal)
    #expect(readFile(scratch.file("base")) == lower.backing)
  }

  @Test("refuses old versions, raw files, and files in use, and changes nothing")
  func refusals() throws {
    let old = COWSample(.v2, size: 65536, path: scratch.file("base"), seed: 5)
    scratch.write("base", old.backing)
    scratch.write("cow", old.file)
    #expect(throws: DiskImageError.self) { try commit() }
    #expect(readFile(scratch.file("cow")) == old.file)
    #expect(throws: DiskImageError.self) {
      try Commit.run(path: scratch.file("base"), registry: registry, progress: Progress())
    }
    _ = sample(0, size: 65536)
    let user = try openImage(path: scratch.file("cow"), registry: registry)
    #expect(throws: DiskImageError.self) { try commit() }
    try user.close()
  }
}
