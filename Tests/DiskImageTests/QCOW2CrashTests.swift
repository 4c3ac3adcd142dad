// qcow2 on media that fail.
import BlockIO
import Glibc
import Simulation
import Testing

@testable import DiskImage

@Suite("Crashes of qcow2") struct QCOW2CrashTests {
  static let shapes = [
    QCOW2WriteTests.Shape(clusterBits: 9, refcountOrder: 4, size: 64 << 10, base: 40 << 10),
    QCOW2WriteTests.Shape(clusterBits: 9, refcountOrder: 6, size: 3 << 20, base: 0),
    QCOW2WriteTests.Shape(clusterBits: 10, refcountOrder: 1, size: 200 << 10, base: 100_000),
    QCOW2WriteTests.Shape(clusterBits: 12, refcountOrder: 4, size: 300 << 10, base: 300 << 10),
    QCOW2WriteTests.Shape(clusterBits: 16, refcountOrder: 4, size: 1 << 20, base: 1 << 20),
  ]

  @Test("after the power went the file has no error, and all that was flushed", arguments: 0..<20 * soak)
  func power(seed: UInt64) throws {
    let scratch = Scratch()
    let registry = FileRegistry()
    var random = RandomStream(seed: seed, name: "qcow2 power")
    let shape = Self.shapes[Int(seed) % Self.shapes.count]
    _ = try QCOW2WriteTests.make(shape, scratch, registry, seed: seed)
    for round in 0..<6 {
      if seed % 3 == 0, round == 3 { #expect(scratch.shell("qemu-img snapshot -c s q") == 0) }
      let engine = FaultyEngine(holdsUnsynchronized: true)
      let disk = try openQCOW2(scratch, registry, engine: engine)
      let possible = try runUntilPowerCut(disk, on: engine, random: &random)
      let check = scratch.qemuCheck("q")
      #expect(check == 0 || check == 3, "seed \(seed), round \(round)")
      let after = try openQCOW2(scratch, registry)
      let lost = lostByte(try after.all(), possible)
      #expect(lost == nil, "seed \(seed), round \(round)")
      try after.close()
    }
  }

  @Test("after a kill at any moment the file has no error", arguments: 0..<10 * soak)
  func kill(seed: UInt64) throws {
    let scratch = Scratch()
    let registry = FileRegistry()
    var random = RandomStream(seed: seed, name: "qcow2 kill")
    _ = try QCOW2WriteTests.make(Self.shapes[Int(seed) % Self.shapes.count], scratch, registry, seed: seed)
    for round in 0..<4 {
      // Everything in the order of the program, up to some moment.
      let engine = FaultyEngine()
      let disk = try openQCOW2(scratch, registry, engine: engine)
      var model = Model(bytes: try disk.all(), random: random)
      var possible = [model.bytes]
      engine.fail(
        .write, skipping: Int(model.random.next() % 60), code: ENODEV, done: model.random.next() % 5 * 512)
      for _ in 0..<40 {
        do { try model.step(disk) } catch {
          try engine.crash { _, count in count }
          break
        }
        possible.append(model.bytes)
      }
      possible.append(model.bytes)
      random = model.random
      try? engine.crash { _, count in count }
      try? disk.close()
      let check = scratch.qemuCheck("q")
      #expect(check == 0 || check == 3, "seed \(seed), round \(round)")
    }
  }

  @Test("a request that finds no space costs itself only", arguments: 0..<8 * soak)
  func noSpace(seed: UInt64) throws {
    let scratch = Scratch()
    let registry = FileRegistry()
    let start = try QCOW2WriteTests.make(
      Self.shapes[Int(seed) % Self.shapes.count], scratch, registry, seed: seed)
    let engine = FaultyEngine()
    let disk = try openQCOW2(scratch, registry, engine: engine)
    var model = Model(bytes: start, random: RandomStream(seed: seed, name: "qcow2 space"))
    var failures = 0
    for _ in 0..<50 {
      if model.random.next() % 3 == 0 {
        let operation: BlockOperation = model.random.next() % 4 == 0 ? .zero : .write
        engine.fail(
          operation, skipping: Int(model.random.next() % 3), code: ENOSPC, done: model.random.next() % 3 * 512
        )
      }
      let range = model.range()
      let new = model.random.bytes(Int(range.upperBound - range.lowerBound))
      let indices = Int(range.lowerBound)..<Int(range.upperBound)
      let kind = model.random.next() % 4
      do throws(DiskImageError) {
        switch kind {
        case 0: try disk.flush()
        case 1: try disk.discard(range)
        default: try disk.put(new, at: range.lowerBound)
        }
        if kind == 1 { for index in indices { model.bytes[index] = 0 } }
        if kind > 1 { model.bytes.replaceSubrange(indices, with: new) }
      } catch {
        #expect(error.description.contains("No space left"), "\(error)")
        failures += 1
        // Its own bytes are the old or the new ones.
        let now = try disk.bytes(range)
        for (offset, index) in indices.enumerated() where kind > 0 {
          let written = kind == 1 ? 0 : new[offset]
          if now[offset] == written { model.bytes[index] = written }
        }
      }
      let isSame = try disk.all() == model.bytes
      #expect(isSame, "seed \(seed)")
    }
    #expect(failures > 3)
    // There is space again; faults that nobody met are still to come.
    for _ in 0..<80 where (try? disk.flush()) == nil {}
    for _ in 0..<80 { try? disk.put([model.bytes[0]], at: 0) }
    for _ in 0..<80 { try? disk.flush() }
    try disk.close()
    #expect([0, 3].contains(scratch.qemuCheck("q")))
    let isSame = scratch.qemuBytes("q") == model.bytes
    #expect(isSame)
  }

  /// What commands do, rather than guests.
  static func change(_ disk: QCOW2.Disk, _ model: inout Model) throws {
    switch model.random.next() % 8 {
    case 0: try disk.makeEmpty()
    case 1: try disk.resize(to: 512 * (1 + model.random.next() % 3000), shrinking: true)
    case 2: try disk.resize(to: disk.size + 512 * (model.random.next() % 5000))
    case 3, 4:
      let cluster = [UInt8](
        repeating: UInt8(truncatingIfNeeded: model.random.next()), count: Int(disk.clusterSize))
      let stored = cluster.withUnsafeBytes { QCOW2.Compressor.compress($0, method: .deflate, level: 1) }
      guard let stored else { return }
      let count = (disk.size + disk.clusterSize - 1) / disk.clusterSize
      for _ in 0..<4 {
        try disk.appendCompressed(at: model.random.next() % count * disk.clusterSize, stored)
      }
    case 5: try disk.flush()
    case 6:
      try disk.changeBacking(
        to: disk.header.backingPath.isEmpty ? nil : QCOW2.Backing(path: "base", format: .raw))
    default:
      let start = model.random.next() % (disk.size / 512) * 512
      try disk.put([1, 2, 3], at: start)
      try disk.writeZeroes(0..<start, unmap: false)
    }
  }

  @Test("a disk may be cut off while it is resized, emptied or filled", arguments: 0..<20 * soak)
  func commands(seed: UInt64) throws {
    let scratch = Scratch()
    let registry = FileRegistry()
    _ = try QCOW2WriteTests.make(Self.shapes[Int(seed) % Self.shapes.count], scratch, registry, seed: seed)
    var model = Model(bytes: [0], random: RandomStream(seed: seed, name: "qcow2 commands"))
    for round in 0..<6 {
      let engine = FaultyEngine(holdsUnsynchronized: round % 2 == 0)
      let disk = try #require(try openQCOW2(scratch, registry, engine: engine) as? QCOW2.Disk)
      engine.fail(
        model.random.next() % 2 == 0 ? .write : .synchronize, skipping: Int(model.random.next() % 40),
        code: EIO)
      for _ in 0..<12 {
        do { try Self.change(disk, &model) } catch { break }
      }
      var random = model.random
      try engine.crash { _, count in random.next() % 2 == 0 ? count : random.next() % (count / 512 + 1) * 512
      }
      model.random = random
      try? disk.close()
      let check = scratch.qemuCheck("q")
      #expect(check == 0 || check == 3, "seed \(seed), round \(round)")
      if check == 3 {
        let after = try QCOW2.repair(path: scratch.file("q"), .leaks, lock: false, registry: registry).after
        #expect(after.leaks == 0 && after.errors == 0)
        #expect(scratch.qemuCheck("q") == 0)
      }
    }
  }
}
