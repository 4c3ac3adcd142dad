// Media that fail, and power that goes.
import BlockIO
import Glibc
import Simulation
import Testing

@testable import DiskImage

@Suite("Crashes and failures") struct CrashTests {
  let scratch = Scratch()
  let registry = FileRegistry()

  /// After the power went, every byte is what the last completed flush left, or something written since.
  @Test("nothing that was flushed is lost, and no bit is ahead of its data", arguments: 0..<12 * soak)
  func power(seed: UInt64) throws {
    var random = RandomStream(seed: seed, name: "power")
    let size = 16 * 4096 + [0, 512, 1536, 100][Int(seed % 4)]
    let sample = COWSample(
      seed % 2 == 0 ? .v3 : .v3Align512, size: size, path: scratch.file("base"), seed: seed,
      uniform: seed % 3 == 0, density: 6)
    scratch.write("base", sample.backing)
    scratch.write("cow", sample.file)
    for _ in 0..<8 {
      let engine = FaultyEngine(holdsUnsynchronized: true)
      let disk = try openImage(path: scratch.file("cow"), registry: registry, engine: engine)
      let possible = try runUntilPowerCut(disk, on: engine, synchronizations: 2, random: &random)
      let after = try openImage(path: scratch.file("cow"), registry: registry)
      let lost = lostByte(try after.all(), possible)
      #expect(lost == nil, "seed \(seed)")
      try after.close()
    }
    #expect(readFile(scratch.file("base")) == sample.backing)
  }

  @Test("a flush is data, fdatasync, bitmap, fdatasync, and writes only what changed of the bitmap")
  func order() throws {
    scratch.write("base", [])
    truncate(scratch.file("base"), 256 << 20)
    touch(scratch.file("base"), 1000)
    try UMLCOW.create(path: scratch.file("cow"), backing: scratch.file("base"), registry: registry)
    let engine = FaultyEngine()
    let disk = try openImage(path: scratch.file("cow"), registry: registry, engine: engine)
    let data = 131072 + 131072
    func text(_ log: [FaultyEngine.Record]) -> [String] {
      log.map { "\($0.operation) \($0.path.split(separator: "/").last ?? "") \($0.offset) \($0.count)" }
    }
    engine.clearLog()
    try disk.put([1, 2, 3], at: 100 << 20)
    // 100 MiB is in the seventh page of the bitmap, at 131072 + 6 * 4096.
    var expected = [
      "read cow 155648 4096", "read base 104857603 4093", "write cow \(data + (100 << 20)) 4096",
    ]
    #expect(text(engine.log) == expected)
    engine.clearLog()
    try disk.flush()
    expected = ["synchronize cow 0 0", "write cow 155648 4096", "synchronize cow 0 0"]
    #expect(text(engine.log) == expected)
    engine.clearLog()
    try disk.flush()
    #expect(engine.log.isEmpty)
    try disk.put([9], at: 100 << 20)
    try disk.flush()
    // The bit was set already: no bitmap to write.
    #expect(engine.log.map(\.operation) == [.write, .synchronize])
  }

  @Test(
    "a write that finds no space leaves no bit and no trace", arguments: [0, 700, 4096, 6000] as [UInt64])
  func noSpace(done: UInt64) throws {
    var random = RandomStream(seed: done, name: "space")
    let start = random.bytes(65536)
    scratch.write("base", start)
    try UMLCOW.create(path: scratch.file("cow"), backing: scratch.file("base"), registry: registry)
    let engine = FaultyEngine()
    let disk = try openImage(path: scratch.file("cow"), registry: registry, engine: engine)
    engine.fail(.write, code: ENOSPC, done: done)
    #expect(throws: DiskImageError.self) { try disk.put(random.bytes(8192), at: 4096 + 512) }
    engine.fail(.zero, code: ENOSPC)
    #expect(throws: DiskImageError.self) { try disk.writeZeroes(16384..<32768, unmap: false) }
    engine.fail(.read, skipping: 0, code: EIO)
    #expect(throws: DiskImageError.self) { try disk.put([1], at: 40000) }
    #expect(try disk.all() == start)
    // The storage has space again: nothing is stuck.
    try disk.put([7], at: 40000)
    try disk.close()
    let again = try openImage(path: scratch.file("cow"), registry: registry)
    var expected = start
    expected[40000] = 7
    #expect(try again.all() == expected)
    #expect(try ImageInfo(path: scratch.file("cow"), registry: registry).cow?.allocated == 4096)
  }

  @Test(
    "a real file system that is full costs the request and nothing else",
    .enabled(if: geteuid() == 0, "only root can mount a small file system"),
    arguments: [ImageFormat.umlCOW, .qcow2], 0..<4 * soak)
  func full(format: ImageFormat, seed: UInt64) throws {
    let mount = scratch.file("small")
    mkdir(mount, 0o755)
    try #require(run("/bin/mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", mount]) == 0)
    defer { _ = run("/bin/umount", ["-l", mount]) }
    var random = RandomStream(seed: seed, name: "full")
    let start = random.bytes(1 << 20)
    scratch.write("base", start)
    let image = "\(mount)/image"
    if format == .qcow2 {
      try QCOW2.create(
        path: image, clusterBits: 12 + UInt32(random.next() % 2),
        backing: .init(path: scratch.file("base"), format: .raw), registry: registry)
    } else {
      try UMLCOW.create(path: image, backing: scratch.file("base"), registry: registry)
    }
    // What is left of a mebibyte.
    let filler = 300_000 + random.next() % 600_000
    try #require(run("/usr/bin/fallocate", ["-l", "\(filler)", "\(mount)/filler"]) == 0)
    // Without locks, as `openQCOW2`.
    let disk = try openImage(path: image, options: ImageOptions(lock: false), registry: registry)
    var model = Model(bytes: start, random: random)
    var failures = 0
    for _ in 0..<120 {
      let range = model.range()
      let indices = Int(range.lowerBound)..<Int(range.upperBound)
      let new = model.random.bytes(indices.count)
      do throws(DiskImageError) {
        try disk.put(new, at: range.lowerBound)
        if model.random.next() % 8 == 0 { try disk.flush() }
        model.bytes.replaceSubrange(indices, with: new)
      } catch {
        #expect(error.description.contains("No space left"), "\(error)")
        failures += 1
        // Its own bytes are the old or the new ones.
        for (offset, byte) in try disk.bytes(range).enumerated() where byte == new[offset] {
          model.bytes[indices.lowerBound + offset] = byte
        }
      }
    }
    #expect(failures > 0)
    let isSame = try disk.all() == model.bytes
    #expect(isSame)
    unlink("\(mount)/filler")
    try disk.put([model.bytes[0]], at: 0)
    try disk.close()
    let again = try openImage(path: image, options: ImageOptions(lock: false), registry: registry)
    let isSameAgain = try again.all() == model.bytes
    #expect(isSameAgain)
    try again.close()
    if format == .qcow2 { #expect([0, 3].contains(scratch.qemuCheck(image))) }
  }

  @Test("after a failed fdatasync no flush succeeds, and no bit reaches the file")
  func sticky() throws {
    let sample = COWSample(.v3, size: 65536, path: scratch.file("base"), seed: 3, density: 1000)
    scratch.write("base", sample.backing)
    scratch.write("cow", sample.file)
    let engine = FaultyEngine()
    let disk = try openImage(path: scratch.file("cow"), registry: registry, engine: engine)
    try disk.put([1], at: 0)
    engine.fail(.synchronize, code: EIO)
    #expect(throws: DiskImageError.self) { try disk.flush() }
    #expect(throws: DiskImageError.flushFailedBefore(path: scratch.file("cow"))) { try disk.flush() }
    #expect(throws: DiskImageError.flushFailedBefore(path: scratch.file("cow"))) { try disk.close() }
    let file = readFile(scratch.file("cow"))
    #expect(Array(file[8192..<8192 + 16]) == Array(sample.file[8192..<8192 + 16]))
  }

  @Test("an image that is merely dropped is flushed")
  func dropped() throws {
    let sample = COWSample(.v3, size: 65536, path: scratch.file("base"), seed: 3)
    scratch.write("base", sample.backing)
    scratch.write("cow", sample.file)
    do {
      let disk = try openImage(path: scratch.file("cow"), registry: registry)
      try disk.put([42], at: 4000)
    }
    let disk = try openImage(path: scratch.file("cow"), registry: registry)
    #expect(try disk.bytes(4000..<4001) == [42])
  }

  @Test("a raw disk keeps what was flushed", arguments: 0..<6 * soak)
  func rawPower(seed: UInt64) throws {
    var random = RandomStream(seed: seed, name: "raw power")
    let start = random.bytes(65536)
    let path = scratch.write("raw", start)
    let engine = FaultyEngine(holdsUnsynchronized: true)
    let options = ImageOptions(format: .raw)
    let disk = try openImage(path: path, options: options, registry: registry, engine: engine)
    var model = Model(bytes: start, random: random)
    var possible = [start]
    for _ in 0..<30 {
      try model.step(disk)
      possible.append(model.bytes)
      if model.random.next() % 8 == 0 {
        try disk.flush()
        possible = [model.bytes]
      }
    }
    random = model.random
    try engine.crash { _, count in random.next() % (count + 1) }
    _ = try? disk.close()
    let bytes = try openImage(path: path, options: options, registry: registry).all()
    #expect(bytes.indices.allSatisfy { index in possible.contains { $0[index] == bytes[index] } })
  }
}
