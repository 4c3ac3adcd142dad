// Disks against an array of bytes.
import BlockIO
import Glibc
import Simulation
import Testing

@testable import DiskImage

/// How many times the usual number of seeds: ten times `TTBLK_LONG`, which `Tests/run.sh --long` sets.
let soak = max(1, 10 * (getenv("TTBLK_LONG").flatMap { UInt64(String(cString: $0)) } ?? 0))

/// Random requests, made of the disk and of an array.
struct Model {
  var bytes: [UInt8]
  var random: RandomStream

  mutating func range() -> Range<UInt64> {
    let size = UInt64(bytes.count)
    let start = random.next() % size
    let longest = random.next() % 4 == 0 ? 70_000 : 9000
    let end = min(size, start + random.next() % UInt64(longest))
    switch random.next() % 4 {
    case 0: return start..<end
    case 1: return start / 4096 * 4096..<min(size, (end + 4095) / 4096 * 4096)
    default: return start / 512 * 512..<min(size, (end + 511) / 512 * 512)
    }
  }

  mutating func step(_ disk: any DiskImage) throws {
    let range = range()
    let indices = Int(range.lowerBound)..<Int(range.upperBound)
    switch random.next() % 16 {
    case 0..<6: try #require(try disk.bytes(range) == Array(bytes[indices]), "read \(range)")
    case 6..<12:
      let new = random.bytes(indices.count)
      try disk.put(new, at: range.lowerBound)
      bytes.replaceSubrange(indices, with: new)
    case 12: try disk.flush()
    case 13:
      try disk.discard(range)
      zero(indices)
    default:
      try disk.writeZeroes(range, unmap: random.next() % 2 == 0)
      zero(indices)
    }
  }

  private mutating func zero(_ indices: Range<Int>) {
    bytes.withUnsafeMutableBytes { _ = memset($0.baseAddress! + indices.lowerBound, 0, indices.count) }
  }
}

@Suite("Disks against a model") struct ModelTests {
  static let sizes = [4096 * 20, 1 << 20, (1 << 20) + 3 * 512, (1 << 20) + 100, 40000, 512, 4097]

  @Test("a raw disk does what an array does", arguments: sizes)
  func raw(size: Int) throws {
    for seed in 0..<3 * soak {
      let scratch = Scratch()
      var random = RandomStream(seed: seed, name: "raw \(size)")
      let start = random.bytes(size)
      let path = scratch.write("raw", start)
      let rounded = (size + 511) / 512 * 512
      var model = Model(bytes: start + [UInt8](repeating: 0, count: rounded - size), random: random)
      let registry = FileRegistry()
      for _ in 0..<3 {
        let disk = try openImage(path: path, options: ImageOptions(format: .raw), registry: registry)
        #expect(disk.size == UInt64(rounded))
        for _ in 0..<30 { try model.step(disk) }
        #expect(try disk.all() == model.bytes, "seed \(seed)")
        if model.random.next() % 2 == 0 { try disk.close() }
      }
    }
  }

  @Test("a COW disk does what an array does, whatever bits it starts with", arguments: sizes)
  func cow(size: Int) throws {
    for seed in 0..<4 * soak {
      let scratch = Scratch()
      var random = RandomStream(seed: seed, name: "cow \(size)")
      let shape: COWSample.Shape = seed % 2 == 0 ? .v3 : .v3Align512
      let sample = COWSample(
        shape, size: size, path: scratch.file("base"), seed: random.next(), uniform: seed % 3 == 0)
      let base = scratch.write("base", sample.backing)
      let before = status(of: base)
      let path = scratch.write("cow", sample.file)
      var model = Model(bytes: sample.ideal, random: random)
      let registry = FileRegistry()
      for _ in 0..<3 {
        let disk = try openImage(path: path, registry: registry)
        for _ in 0..<30 { try model.step(disk) }
        #expect(try disk.all() == model.bytes, "seed \(seed)")
        if model.random.next() % 2 == 0 { try disk.close() }
      }
      #expect(readFile(base) == sample.backing)
      let after = status(of: base)
      #expect(
        before.st_mtim.tv_sec == after.st_mtim.tv_sec && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec)
    }
  }

  @Test("what is written to a fresh COW file is uniform in each page", arguments: UInt64(0)..<6)
  func uniform(seed: UInt64) throws {
    let scratch = Scratch()
    var random = RandomStream(seed: seed, name: "uniform")
    let start = random.bytes((1 << 20) + 512 * Int(seed))
    let base = scratch.write("base", start)
    let registry = FileRegistry()
    try UMLCOW.create(path: scratch.file("cow"), backing: base, registry: registry)
    var model = Model(bytes: start, random: random)
    let disk = try openImage(path: scratch.file("cow"), registry: registry)
    for _ in 0..<40 { try model.step(disk) }
    try disk.close()
    let info = try ImageInfo(path: scratch.file("cow"), registry: registry)
    #expect(info.cow?.mixedPages == 0)
    #expect(info.cow?.problem == nil)
    #expect(try #require(info.cow).allocated > 0)
    let again = try openImage(path: scratch.file("cow"), registry: registry)
    #expect(try again.all() == model.bytes)
  }
}
