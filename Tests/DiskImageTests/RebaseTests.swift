// Other backing files, and other times of the same one.
import BlockIO
import Glibc
import Simulation
import Testing

@testable import DiskImage

private let hasTools = access("/usr/bin/uml_moo", X_OK) == 0

@Suite("Changing what an image stands on") struct RebaseTests {
  let scratch = Scratch()
  let registry = FileRegistry()

  func rebase(
    to backing: String = "other", unsafe: Bool = false, engine: any BlockEngine = SynchronousEngine()
  ) throws -> Rebase.Outcome {
    try Rebase.run(
      path: scratch.file("cow"), backing: scratch.file(backing), unsafe: unsafe, registry: registry,
      engine: engine, progress: Progress())
  }

  func restamp(
    _ evidence: Restamp.Evidence, engine: any BlockEngine = SynchronousEngine()
  ) throws -> Restamp.Outcome {
    try Restamp.run(
      path: scratch.file("cow"), evidence: evidence, registry: registry, engine: engine, progress: Progress())
  }

  func contents() throws -> [UInt8] {
    try openImage(path: scratch.file("cow"), options: ImageOptions(readOnly: true), registry: registry).all()
  }

  func backing() throws -> String? {
    try ImageInfo(path: scratch.file("cow"), registry: registry).cow?.backingPath
  }

  /// A COW file with bits anywhere, and another backing file that differs in a third of the pages.
  func start(
    seed: UInt64, old: String = "base", new: String = "other", density: UInt64 = 3
  ) -> COWSample {
    let size = 20 * 4096 + [0, 512, 1536, 100][Int(seed % 4)]
    let sample = COWSample(
      seed % 2 == 0 ? .v3 : .v3Align512, size: size, path: scratch.file(old), seed: seed, density: density)
    scratch.write(old, sample.backing)
    scratch.write("cow", sample.file)
    var random = RandomStream(seed: seed, name: "other")
    var other = sample.backing
    for page in 0..<size / 4096 {
      switch random.next() % 4 {
      case 0: other.replaceSubrange(page * 4096..<page * 4096 + 512, with: random.bytes(512))
      case 1: for index in page * 4096..<page * 4096 + 4096 { other[index] = 0 }
      default: break
      }
    }
    scratch.write(new, other, modified: 1_600_000_000)
    return sample
  }

  @Test("the disk shows the same on another backing file, and holds only what differs", arguments: 0..<8)
  func safe(seed: UInt64) throws {
    let sample = start(seed: seed, density: 30)
    let outcome = try rebase()
    #expect(outcome.backing == scratch.file("other") && outcome.copied > 0)
    #expect(try contents() == sample.ideal)
    unlink(scratch.file("base"))
    #expect(try contents() == sample.ideal)
    let disk = try openImage(path: scratch.file("cow"), registry: registry)
    try disk.close()
    if hasTools, sample.backing.count % 512 == 0 {
      #expect(run("/usr/bin/uml_moo", [scratch.file("cow"), scratch.file("merged")]) == 0)
      #expect(readFile(scratch.file("merged")) == sample.ideal)
    }
    // To where it stands already: nothing to copy, and nothing changes.
    let before = readFile(scratch.file("cow"))
    #expect(try rebase().copied == 0)
    #expect(readFile(scratch.file("cow")) == before)
  }

  @Test("backing files are not touched") func untouched() throws {
    _ = start(seed: 0)
    let files = ["base", "other"].map { (readFile(scratch.file($0)), status(of: scratch.file($0)).st_mtim) }
    _ = try rebase()
    for (name, before) in zip(["base", "other"], files) {
      #expect(readFile(scratch.file(name)) == before.0)
      #expect(status(of: scratch.file(name)).st_mtim.tv_nsec == before.1.tv_nsec)
      #expect(status(of: scratch.file(name)).st_mtim.tv_sec == before.1.tv_sec)
    }
  }

  @Test("an unsafe rebase changes the header only, and needs no old backing file") func unsafe() throws {
    let sample = start(seed: 0)
    rename(scratch.file("base"), scratch.file("moved"))
    #expect(throws: DiskImageError.self) { try rebase(to: "moved") }
    #expect(try rebase(to: "moved", unsafe: true).copied == 0)
    #expect(try contents() == sample.ideal)
    #expect(Array(readFile(scratch.file("cow"))[4128...]) == Array(sample.file[4128...]))
  }

  @Test("what cannot be a backing file is refused, and nothing changes") func refusals() throws {
    let sample = start(seed: 0)
    scratch.write("short", [UInt8](repeating: 1, count: 65536))
    scratch.write("early", sample.backing, modified: -1)
    var upon = COWSample(.v3, size: sample.backing.count, path: scratch.file("cow"), seed: 9)
    upon.modified = UInt32(status(of: scratch.file("cow")).st_mtim.tv_sec)
    upon.build()
    scratch.write("upon", upon.file)
    for unsafe in [false, true] {
      for name in ["short", "early", "absent", "cow", "upon", ""] {
        #expect(throws: DiskImageError.self, "\(name)") { try rebase(to: name, unsafe: unsafe) }
        #expect(readFile(scratch.file("cow")) == sample.file)
      }
    }
    do throws(DiskImageError) {
      _ = try Rebase.run(
        path: scratch.file("cow"), backing: scratch.file("short"), unsafe: false, registry: registry,
        progress: Progress())
    } catch { #expect(error.description.contains("has 65536 bytes, the disk 81920")) }
    #expect(throws: DiskImageError.self) {
      try Rebase.run(
        path: scratch.file("base"), backing: scratch.file("other"), unsafe: false, registry: registry,
        progress: Progress())
    }
    scratch.write("cow", COWSample(.v2, size: 65536, path: scratch.file("short"), seed: 1).file)
    #expect(throws: DiskImageError.self) { try rebase(to: "short", unsafe: true) }
  }

  @Test(
    "the power may go at any moment of a rebase, whatever the lengths of the paths", arguments: 0..<4 * soak)
  func power(seed: UInt64) throws {
    // Paths that end in the first sector, and beyond it.
    let folder = (0..<3).map { _ in String(repeating: "d", count: 180) }
    for depth in 1...3 { mkdir(scratch.file(folder[..<depth].joined(separator: "/")), 0o755) }
    let long = folder.joined(separator: "/") + "/"
    let (old, new) = [("base", "other"), ("base", long + "o"), (long + "b", "other"), ("base", "other")][
      Int(seed % 4)]
    var ideal: [UInt8] = []
    try cutPowerEverywhere(
      seed: seed, start: { ideal = start(seed: seed, old: old, new: new).ideal },
      operation: { engine in _ = try rebase(to: new, engine: engine) },
      after: { moment in
        let (bytes, name) = (try contents(), try backing())
        #expect(bytes == ideal && (name == scratch.file(old) || name == scratch.file(new)), "\(moment)")
      },
      completed: {
        let (bytes, name) = (try contents(), try backing())
        #expect(bytes == ideal && name == scratch.file(new))
      })
  }

  @Test(
    "a changed time is accepted after a comparison with the original", arguments: COWSample.Shape.allCases)
  func restampCompared(shape: COWSample.Shape) throws {
    let sample = COWSample(shape, size: 65536 + 512, path: scratch.file("base"), seed: 4)
    scratch.write("base", sample.backing, modified: 1_700_000_099)
    scratch.write("cow", sample.file)
    scratch.write("copy", sample.backing, modified: 5)
    #expect(throws: DiskImageError.self) { try contents() }
    let expected = Restamp.Outcome.stamped(from: 1_700_000_000, to: 1_700_000_099)
    #expect(try restamp(.original(scratch.file("copy"))) == expected)
    #expect(try contents() == sample.ideal)
    let file = readFile(scratch.file("cow"))
    #expect(zip(file, sample.file).filter { $0 != $1 }.count == 1 && file.count == sample.file.count)
    #expect(try restamp(.word) == .current)
  }

  @Test("a backing file that really changed is not accepted") func restampRefused() throws {
    let sample = start(seed: 0)
    var changed = sample.backing
    changed[70_001] ^= 1
    scratch.write("base", changed, modified: 7)
    scratch.write("copy", sample.backing)
    #expect(try restamp(.original(scratch.file("copy"))) == .differs(at: 70_001))
    #expect(throws: DiskImageError.self) { try restamp(.original(scratch.file("base"))) }
    #expect(throws: DiskImageError.self) { try restamp(.original(scratch.file("absent"))) }
    scratch.write("longer", changed + [UInt8](repeating: 0, count: 512))
    #expect(try restamp(.original(scratch.file("longer"))) == .differs(at: 81920))
    #expect(readFile(scratch.file("cow")) == sample.file)
    #expect(try restamp(.word) == .stamped(from: 1_700_000_000, to: 7))
    // The length must be right whatever anybody says.
    scratch.write("base", Array(changed.dropLast(512)), modified: 8)
    #expect(throws: DiskImageError.self) { try restamp(.word) }
    scratch.write("base", changed, modified: 1 << 33)
    #expect(throws: DiskImageError.self) { try restamp(.word) }
    unlink(scratch.file("base"))
    #expect(throws: DiskImageError.self) { try restamp(.word) }
  }

  @Test("a file whose commit is under way goes on with that, and accepts no other time") func unfinished()
    throws
  {
    _ = start(seed: 0)
    do {
      let file = try registry.open(scratch.file("cow"), writable: true)
      let engine = SynchronousEngine()
      try UMLCOW.CommitMarker.set(in: try UMLCOW.readHeader(file, engine: engine), engine: engine)
    }
    touch(scratch.file("base"), 42)
    #expect(throws: DiskImageError.commitUnfinished(path: scratch.file("cow"))) { try restamp(.word) }
    #expect(throws: DiskImageError.commitUnfinished(path: scratch.file("cow"))) { try rebase() }
  }

  @Test("the power may go at any moment of a restamp") func restampPower() throws {
    var sample = start(seed: 2)
    try cutPowerEverywhere(
      seed: 1,
      start: {
        sample = start(seed: 2)
        touch(scratch.file("base"), 42)
      },
      operation: { engine in _ = try restamp(.word, engine: engine) },
      after: { moment in
        let info = try ImageInfo(path: scratch.file("cow"), registry: registry).cow
        #expect([42, 1_700_000_000].contains(info?.backingModified), "\(moment)")
      },
      completed: {
        let bytes = try contents()
        #expect(bytes == sample.ideal)
      })
  }
}
