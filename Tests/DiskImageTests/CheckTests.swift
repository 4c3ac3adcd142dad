// What a check finds.
import BlockIO
import Glibc
import Simulation
import Testing

@testable import DiskImage

@Suite("Checking images") struct CheckTests {
  let scratch = Scratch()
  let registry = FileRegistry()

  /// A COW file of 20 pages that has every other page, and no data elsewhere.
  func clean(_ shape: COWSample.Shape = .v3, size: Int = 20 * 4096) -> COWSample {
    var sample = COWSample(shape, size: size, path: scratch.file("base"), seed: 1)
    for sector in sample.bits.indices { sample.bits[sector] = sector / 8 % 2 == 0 }
    sample.data = [UInt8](repeating: 7, count: sample.bits.count * 512)
    sample.build()
    scratch.write("base", sample.backing)
    return sample
  }

  /// Writes a COW file, with holes for the slots that no bit claims and for its padding.
  func put(_ sample: COWSample, _ change: (inout [UInt8]) -> Void = { _ in }) {
    var file = sample.file
    change(&file)
    unlink(scratch.file("cow"))
    writeFile(scratch.file("cow"), file)
    guard let opened = try? registry.open(scratch.file("cow"), writable: true) else { return }
    for page in 0..<sample.bits.count / 8
    where !sample.bits[page * 8] && sample.dataOffset + page * 4096 < file.count {
      let place = UInt64(sample.dataOffset + page * 4096)
      try? SynchronousEngine().zero(opened, place..<min(place + 4096, opened.size), unmap: true)
    }
  }

  func check(_ name: String = "cow", _ options: ImageOptions = ImageOptions()) throws -> Check.Report {
    try Check.run(path: scratch.file(name), options: options, registry: registry, progress: Progress())
  }

  func padding(_ sample: COWSample, _ file: inout [UInt8]) {
    for index in sample.bitmapOffset + sample.bitmapCount..<sample.dataOffset { file[index] = 0 }
  }

  @Test("a good file is clean, and so is what create and uml_mkcow make") func good() throws {
    let sample = clean()
    put(sample) { padding(sample, &$0) }
    #expect(try check().findings == [])
    try UMLCOW.create(path: scratch.file("new"), backing: scratch.file("base"), registry: registry)
    #expect(try check("new").findings == [])
    if access("/usr/bin/uml_mkcow", X_OK) == 0 {
      #expect(run("/usr/bin/uml_mkcow", [scratch.file("theirs"), scratch.file("base")]) == 0)
      #expect(try check("theirs").findings == [])
    }
  }

  @Test("what a disk wrote is clean, whatever was written", arguments: UInt64(0)..<4) func written(
    seed: UInt64
  )
    throws
  {
    var random = RandomStream(seed: seed, name: "written")
    let start = random.bytes(200_000)
    let base = scratch.write("base", start)
    try UMLCOW.create(path: scratch.file("cow"), backing: base, registry: registry)
    let disk = try openImage(path: scratch.file("cow"), registry: registry)
    var model = Model(bytes: start + [UInt8](repeating: 0, count: 512 - 200_000 % 512), random: random)
    for _ in 0..<30 { try model.step(disk) }
    try disk.close()
    #expect(try check().findings == [])
  }

  @Test("padding is noted and no more") func paddingIsNoted() throws {
    put(clean())
    let report = try check()
    #expect(report.findings.map(\.kind) == [.padding])
    #expect(!report.isImperfect)
  }

  @Test("a bit of a sector that does not exist is damage") func stray() throws {
    let sample = clean(size: 20 * 4096 + 3 * 512)
    put(sample) { padding(sample, &$0) }
    let report = try check()
    // The sample sets them all; its last page has all of its three sectors.
    #expect(report.findings.map(\.kind) == [.strayBits])
    #expect(report.isDamaged)
    let place: UInt64 = 8192 + 20
    #expect(report.findings[0].places == [place..<place + 1])
  }

  @Test("a page that is there in part is a warning, and is named") func mixed() throws {
    var sample = clean()
    sample.bits[8 * 6 + 3] = false
    sample.bits[8 * 9 + 1] = true
    sample.build()
    put(sample) { padding(sample, &$0) }
    let report = try check()
    #expect(report.findings.map(\.kind) == [.mixedPages])
    let pages: [Range<UInt64>] = [24576..<28672, 36864..<40960]
    #expect(report.findings[0].places == pages)
    #expect(report.findings[0].count == 8192)
    #expect(!report.isDamaged && report.isImperfect)
  }

  @Test("data that no bit claims is a warning") func leaks() throws {
    var sample = clean()
    let old = sample.bits
    for sector in 4 * 8..<6 * 8 { sample.bits[sector] = false }
    sample.build()
    var holes = sample
    holes.bits = old
    put(holes) { padding(holes, &$0) }
    let report = try check()
    #expect(report.findings.map(\.kind) == [.leaks])
    let start = UInt64(sample.dataOffset + 4 * 4096)
    #expect(report.findings[0].places == [start..<start + 4096])
  }

  @Test("a file that is cut short is damaged if anything is missing, and may be extended otherwise")
  func short() throws {
    let sample = clean()
    put(sample) { file in
      padding(sample, &file)
      file.removeLast(4096)
    }
    #expect(try check().findings.map(\.kind) == [.short])
    put(sample) { file in
      padding(sample, &file)
      file.removeLast(2 * 4096)
    }
    var report = try check()
    #expect(report.findings.map(\.kind) == [.truncated])
    let page: Range<UInt64> = 73728..<77824
    #expect(report.findings[0].places == [page] && report.isDamaged)
    put(sample) { $0.removeLast($0.count - sample.bitmapOffset - 1) }
    report = try check()
    #expect(report.findings.map(\.kind) == [.truncated] && report.isDamaged)
  }

  @Test("a header that makes no sense is damage, not an error") func header() throws {
    put(clean()) { $0.replaceSubrange(20..<24, with: [0, 0, 0, 0]) }
    let report = try check()
    #expect(report.findings.map(\.kind) == [.header] && report.isDamaged)
    scratch.write("cow", [1, 2, 3])
    #expect(try check("cow", ImageOptions(format: .umlCOW)).isDamaged)
  }

  @Test("a backing file that is not the right one is damage, with a remedy") func backing() throws {
    let sample = clean()
    put(sample) { padding(sample, &$0) }
    touch(scratch.file("base"), 1_700_000_001)
    var report = try check()
    #expect(report.findings.map(\.kind) == [.backing] && report.isDamaged)
    #expect(report.findings[0].text.contains("ttblk image restamp"))
    unlink(scratch.file("base"))
    report = try check()
    #expect(report.findings[0].text.contains("No such file"))
    #expect(report.isDamaged)
  }

  @Test("every shape can be checked", arguments: COWSample.Shape.allCases) func shapes(shape: COWSample.Shape)
    throws
  {
    for size in [65536, 65536 + 3 * 512, 65536 + 100] {
      let sample = COWSample(shape, size: size, path: scratch.file("base"), seed: 3)
      scratch.write("base", sample.backing)
      scratch.write("cow", sample.file)
      let kinds = try check().findings.map(\.kind)
      #expect(kinds.contains(.mixedPages) && !kinds.contains(.truncated) && !kinds.contains(.backing))
      #expect(kinds.contains(.version) == (shape != .v3 && shape != .v3Align512))
    }
  }

  @Test("disks that UML and uml_moo cannot take are told of") func sizes() throws {
    scratch.write("small", [UInt8](repeating: 1, count: 32768))
    try UMLCOW.create(
      path: scratch.file("cow"), backing: scratch.file("small"), force: true, registry: registry)
    #expect(try check().findings.map(\.kind) == [.size])
    scratch.write("large", [])
    truncate(scratch.file("large"), (2 << 40) + 4096)
    touch(scratch.file("large"), 1000)
    try UMLCOW.create(path: scratch.file("cow2"), backing: scratch.file("large"), registry: registry)
    let report = try check("cow2")
    #expect(report.findings.map(\.kind) == [.size] && !report.isImperfect)
  }

  @Test("of a raw image the length is checked") func raw() throws {
    scratch.write("raw", [UInt8](repeating: 1, count: 1024))
    #expect(try check("raw").findings == [])
    scratch.write("raw", [UInt8](repeating: 1, count: 1100))
    #expect(try check("raw").findings.map(\.kind) == [.length])
    scratch.write("raw", [])
    #expect(try check("raw").isImperfect)
  }

  @Test("random bytes where a header should be never end badly") func noise() throws {
    let sample = clean()
    for seed in UInt64(0)..<200 {
      var random = RandomStream(seed: seed, name: "noise")
      var file = sample.file
      for _ in 0..<1 + random.next() % 4 {
        file[Int(random.next() % 36)] = UInt8(truncatingIfNeeded: random.next())
      }
      if random.next() % 3 == 0 { file.removeLast(Int(random.next() % UInt64(file.count))) }
      scratch.write("cow", file)
      _ = try? check("cow", ImageOptions(format: .umlCOW))
    }
  }
}
