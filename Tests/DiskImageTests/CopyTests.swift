// Whole disks: walked over, copied, compared.
import BlockIO
import Glibc
import Simulation
import Testing

@testable import DiskImage

@Suite("Whole disks") struct CopyTests {
  let scratch = Scratch()
  let registry = FileRegistry()

  func open(_ name: String, _ options: ImageOptions = ImageOptions(readOnly: true)) throws -> any DiskImage {
    try openImage(path: scratch.file(name), options: options, registry: registry)
  }

  func merge(_ name: String, to output: String, replacing: Bool = false) throws(DiskImageError) {
    let image = try openImage(
      path: scratch.file(name), options: ImageOptions(readOnly: true), registry: registry)
    try Convert(
      image, to: scratch.file(output), replacing: replacing, registry: registry, progress: Progress()
    ).toRaw()
  }

  @Test(
    "every shape merges to the bytes that it ought to show, the last ones too",
    arguments: COWSample.Shape.allCases)
  func shapes(shape: COWSample.Shape) throws {
    for size in [4096, 1 << 20, (1 << 20) + 3 * 512, (1 << 20) + 100, 3 << 20] {
      let sample = COWSample(shape, size: size, path: scratch.file("base"), seed: UInt64(size))
      scratch.write("base", sample.backing)
      scratch.write("cow", sample.file)
      try merge("cow", to: "merged", replacing: true)
      #expect(readFile(scratch.file("merged")) == Array(sample.ideal[..<size]), "\(shape) \(size)")
    }
  }

  @Test("zeros become holes, whether found or known")
  func holes() throws {
    var bytes = [UInt8](repeating: 0, count: 4 << 20)
    for page in [0, 5, 6, 700] { for index in page * 4096..<(page + 1) * 4096 { bytes[index] = 7 } }
    scratch.write("raw", bytes)
    try merge("raw", to: "merged")
    #expect(readFile(scratch.file("merged")) == bytes)
    #expect(status(of: scratch.file("merged")).st_blocks * 512 <= 8 * 4096)
  }

  @Test("long pieces, short ones and an odd end arrive, whether they can go past the page cache or not")
  func longPieces() throws {
    var bytes = (0..<(3 << 20) + 1000).map { UInt8(truncatingIfNeeded: $0 / 4096 + 1) | 1 }
    for index in 1 << 20..<(1 << 20) + 600_000 { bytes[index] = 0 }
    scratch.write("raw", bytes)
    // The faulty engine writes from memory that is not aligned, which the kernel refuses.
    for engine in [SynchronousEngine(), FaultyEngine()] as [any BlockEngine] {
      try Convert(
        open("raw"), to: scratch.file("out"), replacing: true, registry: registry, engine: engine,
        progress: Progress()
      ).toRaw()
      #expect(readFile(scratch.file("out")) == bytes, "\(engine)")
    }
  }

  @Test("an output that exists, or is an input under any name, is refused and nothing is left behind")
  func outputs() throws {
    let sample = COWSample(.v3, size: 65536, path: scratch.file("base"), seed: 1)
    scratch.write("base", sample.backing)
    scratch.write("cow", sample.file)
    link(scratch.file("base"), scratch.file("link"))
    symlink(scratch.file("cow"), scratch.file("symlink"))
    scratch.write("there", [1])
    for name in ["base", "cow", "link", "symlink"] {
      #expect(throws: DiskImageError.outputIsInput(path: scratch.file(name))) {
        try merge("cow", to: name, replacing: true)
      }
    }
    #expect(throws: DiskImageError.exists(path: scratch.file("there"))) { try merge("cow", to: "there") }
    #expect(throws: DiskImageError.self) { try merge("cow", to: "absent/file") }
    #expect(scratch.names == ["base", "cow", "link", "symlink", "there"])
    #expect(readFile(scratch.file("base")) == sample.backing && readFile(scratch.file("cow")) == sample.file)
    chmod(scratch.file("there"), 0o600)
    try merge("cow", to: "there", replacing: true)
    #expect(readFile(scratch.file("there")) == sample.ideal)
    #expect(status(of: scratch.file("there")).st_mode & 0o777 == 0o600)
  }

  @Test("what a killed process left is removed by the next of the same name")
  func abandoned() throws {
    scratch.write("raw", [UInt8](repeating: 1, count: 4096))
    scratch.write("out.new-999999999", [1])
    scratch.write("out.new-999999999.new-999999998", [1])
    scratch.write("out.new-\(getppid())", [2])
    try merge("raw", to: "out")
    #expect(scratch.names == ["out", "out.new-\(getppid())", "raw"])
    scratch.write("a.new-b.new-999999999", [1])
    try merge("raw", to: "a.new-b")
    #expect(!scratch.names.contains("a.new-b.new-999999999"))
  }

  @Test("stopped in the middle, it leaves nothing")
  func stopped() throws {
    scratch.write("raw", [UInt8](repeating: 1, count: 4 << 20))
    let progress = Progress()
    progress.onStep = { $0.done < 1 << 20 }
    let image = try open("raw")
    #expect(throws: DiskImageError.interrupted) {
      try Convert(image, to: scratch.file("out"), registry: registry, progress: progress).toRaw()
    }
    #expect(scratch.names == ["raw"])
  }

  @Test("a comparison finds the first byte, and all ranges, that differ", arguments: 0..<8 as Range<UInt64>)
  func differences(seed: UInt64) throws {
    var random = RandomStream(seed: seed, name: "differences")
    let sample = COWSample(.v3, size: 1 << 20, path: scratch.file("base"), seed: seed, density: 5)
    scratch.write("base", sample.backing)
    scratch.write("cow", sample.file)
    let ideal = sample.ideal
    var other = ideal
    #expect(try difference("cow", ideal) == nil)
    var units = Set<Int>()
    for _ in 0..<5 {
      let place = Int(random.next() % UInt64(other.count))
      other[place] ^= 1
      units.insert(place / 512)
    }
    let first = other.indices.first { other[$0] != ideal[$0] }
    #expect(try difference("cow", other) == first.map { UInt64($0) })
    var found: [Range<UInt64>] = []
    try Comparison(try open("cow"), try open("other"), progress: Progress()).differences(unit: 512) {
      found.append($0)
    }
    #expect(Set(found.flatMap { Array($0.lowerBound / 512..<$0.upperBound / 512) }.map { Int($0) }) == units)
    #expect(zip(found, found.dropFirst()).allSatisfy { $0.upperBound < $1.lowerBound })
  }

  func difference(_ name: String, _ bytes: [UInt8]) throws -> UInt64? {
    scratch.write("other", bytes)
    return try Comparison(
      try open(name), try open("other", ImageOptions(format: .raw, readOnly: true)), progress: Progress()
    ).firstDifference()
  }

  @Test("a shorter disk is followed by zeros")
  func lengths() throws {
    scratch.write("short", [UInt8](repeating: 3, count: 8192))
    let zeros = [UInt8](repeating: 3, count: 8192) + [UInt8](repeating: 0, count: 1 << 20)
    #expect(try difference("short", zeros) == nil)
    #expect(try difference("short", zeros + [UInt8](repeating: 1, count: 512)) == UInt64(zeros.count))
  }

  @Test("what two disks take from one file is not read")
  func shared() throws {
    scratch.write("base", [])
    truncate(scratch.file("base"), 8 << 40 - 1 << 36)
    touch(scratch.file("base"), 1000)
    for name in ["a", "b"] {
      try UMLCOW.create(path: scratch.file(name), backing: scratch.file("base"), registry: registry)
      let disk = try open(name, ImageOptions())
      try disk.put([name == "a" ? 1 : 2], at: 5 << 40)
      try disk.close()
    }
    let one = try open("a")
    #expect(try Comparison(one, try open("b"), progress: Progress()).firstDifference() == 5 << 40)
    var runs: [ImageMap.Run] = []
    try ImageMap.forEachRun(of: one) { runs.append($0) }
    #expect(runs.map(\.depth) == [1, 0, 1] && runs.map(\.isZero) == [true, false, true])
    let page: Range<UInt64> = 5 << 40..<(5 << 40) + 4096
    #expect(runs[1].range == page)
  }

  @Test("a map has every byte once, in the right file", arguments: COWSample.Shape.allCases)
  func map(shape: COWSample.Shape) throws {
    let sample = COWSample(shape, size: (1 << 20) + 100, path: scratch.file("base"), seed: 4)
    scratch.write("base", sample.backing)
    scratch.write("cow", sample.file)
    let disk = try open("cow")
    var bytes: [UInt8] = []
    try ImageMap.forEachRun(of: disk) { run in
      #expect(run.range.lowerBound == UInt64(bytes.count))
      let count = Int(run.range.upperBound - run.range.lowerBound)
      if run.isData, let offset = run.offset {
        let file = run.file == scratch.file("base") ? sample.backing : sample.file
        let whole = file + [UInt8](repeating: 0, count: 1024)
        bytes += whole[Int(offset)..<Int(offset) + count]
      } else {
        bytes += [UInt8](repeating: 0, count: count)
      }
    }
    #expect(bytes == sample.ideal)
  }
}
