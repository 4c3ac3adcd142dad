// Old versions in the current one, and named copies.
import BlockIO
import Glibc
import Simulation
import Testing

@testable import DiskImage

private let hasTools = access("/usr/bin/uml_moo", X_OK) == 0

@Suite("Upgrading images") struct UpgradeTests {
  let scratch = Scratch()
  let registry = FileRegistry()

  func upgrade(
    to output: String? = nil, backing: String? = nil, engine: any BlockEngine = SynchronousEngine()
  ) throws -> Upgrade.Outcome {
    try Upgrade.run(
      path: scratch.file("cow"), output: output.map(scratch.file), backing: backing.map(scratch.file),
      registry: registry, engine: engine, progress: Progress())
  }

  func contents(_ name: String) throws -> [UInt8] {
    try openImage(path: scratch.file(name), options: ImageOptions(readOnly: true), registry: registry).all()
  }

  func start(_ shape: COWSample.Shape, size: Int, seed: UInt64 = 6) -> COWSample {
    let sample = COWSample(shape, size: size, path: scratch.file("base"), seed: seed)
    scratch.write("base", sample.backing)
    scratch.write("cow", sample.file)
    return sample
  }

  @Test("every shape becomes a current file with the same contents", arguments: COWSample.Shape.allCases)
  func shapes(shape: COWSample.Shape) throws {
    for size in [1 << 16, (1 << 16) + 3 * 512, (1 << 16) + 100] {
      let sample = start(shape, size: size)
      unlink(scratch.file("new"))
      let outcome = try upgrade(to: "new")
      #expect(readFile(scratch.file("cow")) == sample.file)
      guard shape != .v3 else {
        #expect(outcome.output == nil && access(scratch.file("new"), F_OK) != 0)
        continue
      }
      #expect(outcome.output == scratch.file("new") && outcome.kept == nil)
      #expect(try contents("new") == sample.ideal)
      let report = try Check.run(path: scratch.file("new"), registry: registry, progress: Progress())
      #expect(report.findings == [])
      let info = try #require(try ImageInfo(path: scratch.file("new"), registry: registry).cow)
      #expect(info.isWritable && info.alignment == 131072 && info.backingPath == scratch.file("base"))
      if hasTools, size % 512 == 0 {
        unlink(scratch.file("merged"))
        #expect(run("/usr/bin/uml_moo", [scratch.file("new"), scratch.file("merged")]) == 0)
        #expect(readFile(scratch.file("merged")) == sample.ideal)
      }
    }
  }

  @Test("without another name the new file replaces the old one, which is kept") func inPlace() throws {
    let sample = start(.v1, size: 65536)
    let outcome = try upgrade()
    #expect(outcome.output == scratch.file("cow") && outcome.kept == scratch.file("cow.v1"))
    #expect(readFile(scratch.file("cow.v1")) == sample.file)
    #expect(try contents("cow") == sample.ideal)
    #expect(scratch.names == ["base", "cow", "cow.v1"])
  }

  @Test("nothing is ever overwritten") func exists() throws {
    let sample = start(.v2, size: 65536)
    scratch.write("cow.v2", [1])
    #expect(throws: DiskImageError.exists(path: scratch.file("cow.v2"))) { try upgrade() }
    #expect(throws: DiskImageError.exists(path: scratch.file("cow.v2"))) { try upgrade(to: "cow.v2") }
    #expect(throws: DiskImageError.self) { try upgrade(to: "cow") }
    #expect(throws: DiskImageError.self) { try upgrade(to: "base") }
    #expect(readFile(scratch.file("cow")) == sample.file && readFile(scratch.file("cow.v2")) == [1])
    #expect(scratch.names == ["base", "cow", "cow.v2"])
  }

  @Test("an upgrade that stopped between keeping and replacing goes on") func again() throws {
    let sample = start(.v2, size: 65536)
    link(scratch.file("cow"), scratch.file("cow.v2"))
    #expect(try upgrade().kept == scratch.file("cow.v2"))
    #expect(try contents("cow") == sample.ideal)
  }

  @Test("the backing file must be the right one, and may be another than the header names") func backing()
    throws
  {
    let sample = start(.v1, size: 65536)
    rename(scratch.file("base"), scratch.file("moved"))
    #expect(throws: DiskImageError.self) { try upgrade() }
    #expect(scratch.names == ["cow", "moved"])
    _ = try upgrade(backing: "moved")
    #expect(try contents("cow") == sample.ideal)
    #expect(
      try ImageInfo(path: scratch.file("cow"), registry: registry).cow?.backingPath == scratch.file("moved"))
  }

  @Test("the power may go at any moment", arguments: [COWSample.Shape.v1, .v3Broken])
  func power(shape: COWSample.Shape) throws {
    var ideal: [UInt8] = []
    try cutPowerEverywhere(
      seed: 1,
      start: {
        ideal = start(shape, size: 65536).ideal
        unlink(scratch.file("cow.v1"))
        unlink(scratch.file("cow.v3"))
      },
      operation: { engine in _ = try upgrade(engine: engine) },
      after: { moment in
        let bytes = try contents("cow")
        #expect(bytes == ideal, "\(moment)")
      },
      completed: {
        let (bytes, info) = (
          try contents("cow"), try ImageInfo(path: scratch.file("cow"), registry: registry)
        )
        #expect(bytes == ideal && info.cow?.version == "3")
      })
  }
}

@Suite("Snapshots") struct SnapshotTests {
  let scratch = Scratch()
  let registry = FileRegistry()
  var image: String { scratch.file("cow") }

  init() throws {
    scratch.write("base", [UInt8](repeating: 3, count: 1 << 20))
    try UMLCOW.create(path: scratch.file("cow"), backing: scratch.file("base"), registry: registry)
    try put([1, 1, 1])
  }

  func put(_ bytes: [UInt8]) throws {
    let disk = try openImage(path: image, registry: registry)
    try disk.put(bytes, at: 5000)
    try disk.close()
  }

  func get(_ path: String) throws -> [UInt8] {
    let options = ImageOptions(readOnly: true)
    return try openImage(path: path, options: options, registry: registry).bytes(4999..<5004)
  }

  func create(_ name: String) throws {
    try Snapshot.create(of: image, name: name, registry: registry, progress: Progress())
  }

  func apply(_ name: String) throws {
    try Snapshot.apply(to: image, name: name, registry: registry, progress: Progress())
  }

  func list() throws -> [Snapshot.Entry] { try Snapshot.list(of: image, registry: registry) }

  @Test("an image goes back to a snapshot, again and again") func backAndForth() throws {
    try create("one")
    try put([2, 2, 2])
    try create("two")
    try put([4, 4, 4])
    #expect(try list().map(\.name) == ["one", "two"])
    for entry in try list() {
      guard case .file((1 << 20) + 262144, _) = entry.kind, entry.problem == nil else {
        Issue.record("\(entry)")
        continue
      }
    }
    #expect(try get(image + "@one") == [3, 1, 1, 1, 3])
    for (name, value) in [("one", 1), ("two", 2), ("one", 1)] as [(String, UInt8)] {
      try apply(name)
      #expect(try get(image) == [3, value, value, value, 3])
      try put([5, 5, 5])
      #expect(try get(image + "@" + name) == [3, value, value, value, 3])
    }
    try Snapshot.delete(of: image, name: "one", registry: registry)
    #expect(scratch.names == ["base", "cow", "cow@two"])
    // The image is gone, its snapshot is not.
    unlink(image)
    try apply("two")
    #expect(try get(image) == [3, 2, 2, 2, 3])
  }

  @Test("a snapshot is as sparse as the image, and has every byte of it") func sparse() throws {
    try create("s")
    #expect(readFile(image + "@s") == readFile(image))
    #expect(status(of: image + "@s").st_blocks <= status(of: image).st_blocks)
  }

  @Test(
    "where the file system can, a snapshot takes no space", .enabled(if: access("/sbin/mkfs.xfs", X_OK) == 0))
  func reflink() throws {
    scratch.write("volume", [])
    truncate(scratch.file("volume"), 512 << 20)
    let mount = scratch.file("mount")
    mkdir(mount, 0o755)
    guard run("/sbin/mkfs.xfs", ["-q", scratch.file("volume")]) == 0,
      run("/bin/mount", ["-o", "loop", scratch.file("volume"), mount]) == 0
    else { return }
    defer { _ = run("/bin/umount", ["-l", mount]) }
    let bytes = [UInt8](repeating: 6, count: (32 << 20) + 3)
    writeFile("\(mount)/raw", bytes)
    sync()
    var (before, after) = (statvfs(), statvfs())
    statvfs(mount, &before)
    try Snapshot.create(of: "\(mount)/raw", name: "s", registry: registry, progress: Progress())
    sync()
    statvfs(mount, &after)
    #expect((before.f_bfree - min(before.f_bfree, after.f_bfree)) * before.f_bsize < 8 << 20)
    let isSame = readFile("\(mount)/raw@s") == bytes
    #expect(isSame)
  }

  @Test("an image in use is neither copied nor replaced") func inUse() throws {
    try create("s")
    let disk = try openImage(path: image, registry: registry)
    #expect(throws: DiskImageError.self) { try create("t") }
    #expect(throws: DiskImageError.self) { try apply("s") }
    try disk.close()
    let snapshot = try openImage(
      path: image + "@s", options: ImageOptions(readOnly: true), registry: registry)
    #expect(throws: DiskImageError.self) {
      try Snapshot.delete(of: image, name: "s", registry: registry)
    }
    try snapshot.close()
    #expect(scratch.names == ["base", "cow", "cow@s"])
  }

  @Test("a copy of what others may not read is not for them either") func permissions() throws {
    chmod(image, 0o600)
    try create("s")
    #expect(status(of: image + "@s").st_mode & 0o777 == 0o600)
    chmod(image + "@s", 0o440)
    chmod(image, 0o660)
    try apply("s")
    #expect(status(of: image).st_mode & 0o777 == 0o660)
    try put([5, 5, 5])
  }

  @Test("names that would lead elsewhere are refused") func names() throws {
    for name in ["", "a/b", "../x", "a@b", "a\nb", "a\u{0}b", "x.new-3", String(repeating: "n", count: 129)] {
      #expect(throws: DiskImageError.self) { try create(name) }
      #expect(throws: DiskImageError.self) { try apply(name) }
      #expect(throws: DiskImageError.self) {
        try Snapshot.delete(of: image, name: name, registry: registry)
      }
    }
    try create("s")
    #expect(throws: DiskImageError.exists(path: image + "@s")) { try create("s") }
    #expect(throws: DiskImageError.self) { try apply("absent") }
    #expect(scratch.names == ["base", "cow", "cow@s"])
  }

  @Test("a snapshot that cannot be opened is listed with the reason, and not applied") func invalid() throws {
    try create("s")
    touch(scratch.file("base"), 99)
    #expect(try list().first?.problem?.contains("changed at 99") == true)
    let before = readFile(image)
    #expect(throws: DiskImageError.self) { try apply("s") }
    #expect(readFile(image) == before)
    // What accepts the backing file for the image does for the snapshot.
    _ = try Restamp.run(path: image + "@s", evidence: .word, registry: registry, progress: Progress())
    try apply("s")
    #expect(try get(image) == [3, 1, 1, 1, 3])
  }

  @Test("raw images have snapshots, too") func raw() throws {
    let path = scratch.write("raw", [UInt8](repeating: 8, count: 5000))
    try Snapshot.create(of: path, name: "s", registry: registry, progress: Progress())
    writeFile(path, [1])
    try Snapshot.apply(to: path, name: "s", registry: registry, progress: Progress())
    #expect(readFile(path) == [UInt8](repeating: 8, count: 5000))
  }
}
