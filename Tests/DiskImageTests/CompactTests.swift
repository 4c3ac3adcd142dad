// Files that become sparser, longer or shorter.
import BlockIO
import Glibc
import Simulation
import Testing

@testable import DiskImage

private let hasTools = access("/usr/bin/uml_moo", X_OK) == 0

@Suite("Making images smaller or larger") struct CompactTests {
  let scratch = Scratch()
  let registry = FileRegistry()

  func compact(_ name: String = "cow", engine: any BlockEngine = SynchronousEngine()) throws
    -> Compact.Outcome
  {
    try Compact.run(path: scratch.file(name), registry: registry, engine: engine, progress: Progress())
  }

  func contents(_ name: String = "cow") throws -> [UInt8] {
    try openImage(path: scratch.file(name), options: ImageOptions(readOnly: true), registry: registry).all()
  }

  /// A COW file in which some pages are those of the backing file, and some are zeros.
  func start(seed: UInt64) -> COWSample {
    let size = 32 * 4096 + [0, 512, 1536, 100][Int(seed % 4)]
    var sample = COWSample(
      seed % 2 == 0 ? .v3 : .v3Align512, size: size, path: scratch.file("base"), seed: seed,
      uniform: seed % 3 == 0, density: 2)
    var random = RandomStream(seed: seed, name: "compact")
    for page in 0..<size / 4096 {
      let range = page * 4096..<page * 4096 + 4096
      switch random.next() % 4 {
      case 0: sample.data.replaceSubrange(range, with: sample.backing[range])
      case 1: for index in range { sample.data[index] = 0 }
      case 2:
        for index in range { sample.data[index] = 0 }
        for index in range { sample.backing[index] = 0 }
      default: break
      }
    }
    sample.build()
    scratch.write("base", sample.backing)
    unlink(scratch.file("cow"))
    scratch.write("cow", sample.file)
    return sample
  }

  @Test("a COW file lets go of what it does not need, and shows the same", arguments: UInt64(0)..<8)
  func cow(seed: UInt64) throws {
    let sample = start(seed: seed)
    let before = status(of: scratch.file("base")).st_mtim
    let outcome = try compact()
    // With an alignment of 512 a slot is no block of the file system, and few blocks become free.
    #expect(outcome.freed > 16384 || seed % 2 == 1)
    #expect(outcome.after == UInt64(status(of: scratch.file("cow")).st_blocks * 512))
    #expect(try contents() == sample.ideal)
    #expect(status(of: scratch.file("base")).st_mtim.tv_sec == before.tv_sec)
    let report = try Check.run(path: scratch.file("cow"), registry: registry, progress: Progress())
    #expect(!report.findings.contains { $0.kind == .leaks })
    #expect(try compact().freed == 0)
    if hasTools, sample.backing.count % 512 == 0 {
      #expect(run("/usr/bin/uml_moo", [scratch.file("cow"), scratch.file("merged")]) == 0)
      #expect(readFile(scratch.file("merged")) == sample.ideal)
    }
  }

  @Test("a COW file of what its backing file has already becomes empty") func empty() throws {
    var sample = COWSample(.v3, size: 65536, path: scratch.file("base"), seed: 1)
    sample.data = sample.backing
    for index in sample.bits.indices { sample.bits[index] = true }
    sample.build()
    scratch.write("base", sample.backing)
    scratch.write("cow", sample.file)
    _ = try compact()
    #expect(try ImageInfo(path: scratch.file("cow"), registry: registry).cow?.allocated == 0)
    #expect(try contents() == sample.backing)
  }

  @Test("a large hole with its bits set costs no time, and stays what it is") func holes() throws {
    scratch.write("base", [])
    truncate(scratch.file("base"), 64 << 30)
    touch(scratch.file("base"), 1000)
    try UMLCOW.create(path: scratch.file("cow"), backing: scratch.file("base"), registry: registry)
    let disk = try openImage(path: scratch.file("cow"), registry: registry)
    try disk.discard(0..<32 << 30)
    try disk.put([1, 2, 3], at: 40 << 30)
    try disk.close()
    _ = try compact()
    // The backing file has zeros there, too.
    #expect(try ImageInfo(path: scratch.file("cow"), registry: registry).cow?.allocated == 4096)
    let again = try openImage(path: scratch.file("cow"), registry: registry)
    #expect(try again.bytes(40 << 30..<(40 << 30) + 4) == [1, 2, 3, 0])
  }

  @Test("the power may go at any moment", arguments: UInt64(0)..<4 * soak)
  func power(seed: UInt64) throws {
    var ideal: [UInt8] = []
    try cutPowerEverywhere(
      seed: seed, start: { ideal = start(seed: seed).ideal },
      operation: { engine in _ = try compact(engine: engine) },
      after: { moment in
        let bytes = try contents()
        #expect(bytes == ideal, "\(moment)")
      },
      completed: {
        let (bytes, again) = (try contents(), try compact())
        #expect(bytes == ideal && again.freed == 0)
      })
  }

  @Test(
    "a raw image keeps its contents, its length and its time of change",
    arguments: [1 << 20, (1 << 20) + 100])
  func raw(size: Int) throws {
    var random = RandomStream(seed: 1, name: "raw")
    var bytes = random.bytes(size)
    for index in 65536..<131072 { bytes[index] = 0 }
    for index in 500_000..<510_000 { bytes[index] = 0 }
    for index in (1 << 20) - 8192..<size { bytes[index] = 0 }
    let path = scratch.write("raw", bytes)
    try UMLCOW.create(path: scratch.file("cow"), backing: path, registry: registry)
    let before = status(of: path)
    let outcome = try compact("raw")
    #expect(outcome.freed >= 65536 + 8192)
    #expect(readFile(path) == bytes)
    let after = status(of: path)
    #expect(
      after.st_mtim.tv_sec == before.st_mtim.tv_sec && after.st_mtim.tv_nsec == before.st_mtim.tv_nsec)
    #expect(try contents() == bytes + [UInt8](repeating: 0, count: (512 - size % 512) % 512))
    #expect(try compact("raw").freed == 0)
  }

  @Test("old versions and damaged files are refused") func refusals() throws {
    let sample = COWSample(.v2, size: 65536, path: scratch.file("base"), seed: 1)
    scratch.write("base", sample.backing)
    scratch.write("cow", sample.file)
    #expect(throws: DiskImageError.self) { try compact() }
    _ = start(seed: 0)
    touch(scratch.file("base"), 3)
    let before = readFile(scratch.file("cow"))
    #expect(throws: DiskImageError.self) { try compact() }
    #expect(readFile(scratch.file("cow")) == before)
  }

  func resize(_ length: Resize.Length, shrink: Bool = false, _ name: String = "raw") throws
    -> Resize.Outcome
  {
    try Resize.run(path: scratch.file(name), length: length, shrink: shrink, registry: registry)
  }

  @Test("a raw image becomes longer by zeros, and shorter only on demand") func resize() throws {
    let bytes = [UInt8](repeating: 9, count: 65536 + 100)
    scratch.write("raw", bytes)
    #expect(try resize(.exactly(131072)) == .init(before: 65636, after: 131072))
    #expect(readFile(scratch.file("raw")) == bytes + [UInt8](repeating: 0, count: 131072 - bytes.count))
    do throws(DiskImageError) {
      _ = try Resize.run(
        path: scratch.file("raw"), length: .shorterBy(98304), shrink: false, registry: registry)
      Issue.record("it was cut short")
    } catch { #expect(error.description.contains("98304 bytes, 36864 of them data: say --shrink")) }
    #expect(readFile(scratch.file("raw")).count == 131072)
    #expect(try resize(.shorterBy(98304), shrink: true).after == 32768)
    #expect(readFile(scratch.file("raw")) == Array(bytes.prefix(32768)))
    #expect(try resize(.longerBy(0)).after == 32768)
    #expect(try resize(.longerBy(512)).after == 33280)
  }

  @Test("lengths that make no sense and images that have no length of their own are refused")
  func noResize() throws {
    scratch.write("raw", [UInt8](repeating: 9, count: 65536))
    let bad: [Resize.Length] = [
      .exactly(0), .exactly(1000), .shorterBy(65536), .shorterBy(100_000), .longerBy(.max), .exactly(1 << 63),
    ]
    for length in bad {
      #expect(throws: DiskImageError.self) { try resize(length, shrink: true) }
    }
    #expect(readFile(scratch.file("raw")) == [UInt8](repeating: 9, count: 65536))
    let sample = start(seed: 0)
    #expect(throws: DiskImageError.self) { try resize(.exactly(1 << 20), shrink: true, "cow") }
    #expect(readFile(scratch.file("cow")) == sample.file)
  }
}
