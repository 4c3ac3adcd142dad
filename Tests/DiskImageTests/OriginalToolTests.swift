// uml_mkcow and uml_moo as judges.
import BlockIO
import Glibc
import Simulation
import Testing

@testable import DiskImage

private let hasTools = access("/usr/bin/uml_mkcow", X_OK) == 0 && access("/usr/bin/uml_moo", X_OK) == 0

/// The repository's `images/golden`.
private var golden: String {
  let parts = #filePath.split(separator: "/").dropLast(3)
  return "/" + parts.joined(separator: "/") + "/images/golden"
}

@Suite("Against the original tools") struct OriginalToolTests {
  let scratch = Scratch()
  let registry = FileRegistry()

  @Test(
    "files that uml_mkcow made open, and those that we make differ in the alignment only",
    arguments: [36864, 38400, 36964])
  func goldenFiles(size: Int) throws {
    let original = readFile("\(golden)/mkcow-\(size).cow")
    scratch.write("cow", original)
    let base = scratch.write("base", [UInt8](repeating: 0, count: size))
    var header = try UMLCOW.Header(parsing: original.span.bytes)
    #expect(header.version == .v3)
    #expect(header.backingSize == UInt64(size))
    #expect(header.backingModified == 1_700_000_000)
    let disk = try openImage(
      path: scratch.file("cow"), options: ImageOptions(backing: base), registry: registry)
    #expect(disk.size == UInt64((size + 511) / 512 * 512))
    try disk.put([1, 2, 3], at: 5000)
    #expect(try disk.bytes(4999..<5004) == [0, 1, 2, 3, 0])
    try disk.close()

    header.backingPath = Array(base.utf8)
    #expect(try header.encoded() + original[4128...] == fresh(header))
    // The same file from us, but for the path and the alignment.
    try UMLCOW.create(path: scratch.file("ours"), backing: base, registry: registry)
    header.alignment = Limits.cowAlignment
    #expect(try readFile(scratch.file("ours")) == fresh(header))
  }

  @Test("what uml_mkcow makes now we make too, with our alignment", .enabled(if: hasTools))
  func mkcow() throws {
    let base = scratch.write("base", [UInt8](repeating: 7, count: (1 << 20) + 100))
    #expect(run("/usr/bin/uml_mkcow", [scratch.file("theirs"), base]) == 0)
    let theirs = readFile(scratch.file("theirs"))
    var header = try UMLCOW.Header(parsing: theirs.span.bytes)
    #expect(try theirs == fresh(header))
    try UMLCOW.create(path: scratch.file("ours"), backing: base, registry: registry)
    header.alignment = Limits.cowAlignment
    #expect(try readFile(scratch.file("ours")) == fresh(header))
  }

  /// A file of version 3 that changes nothing.
  private func fresh(_ header: UMLCOW.Header) throws -> [UInt8] {
    let size = try header.geometry().dataOffset + header.backingSize
    let bytes = header.encoded()
    return bytes + [UInt8](repeating: 0, count: Int(size) - bytes.count)
  }

  @Test("uml_moo sees the disk that we wrote", .enabled(if: hasTools), arguments: 0..<4 * soak)
  func moo(seed: UInt64) throws {
    var random = RandomStream(seed: seed, name: "moo")
    let start = random.bytes(300_000 / 512 * 512 + Int(seed % 3) * 4096)
    let base = scratch.write("base", start)
    try UMLCOW.create(path: scratch.file("cow"), backing: base, registry: registry)
    let disk = try openImage(path: scratch.file("cow"), registry: registry)
    var model = Model(bytes: start, random: random)
    for _ in 0..<40 { try model.step(disk) }
    try disk.close()
    #expect(run("/usr/bin/uml_moo", [scratch.file("cow"), scratch.file("merged")]) == 0)
    #expect(readFile(scratch.file("merged")) == model.bytes)
  }

  @Test("we and uml_moo read every shape alike", .enabled(if: hasTools), arguments: COWSample.Shape.allCases)
  func shapes(shape: COWSample.Shape) throws {
    // It reads neither unpacked headers nor those of the other byte order, and drops the rest of a last
    // sector.
    guard ![.v1Unpacked, .v2Unpacked, .v1BigEndian].contains(shape) else { return }
    for size in [1 << 20, (1 << 20) + 3 * 512] {
      let sample = COWSample(shape, size: size, path: scratch.file("base"), seed: 11)
      scratch.write("base", sample.backing)
      scratch.write("cow", sample.file)
      unlink(scratch.file("merged"))
      #expect(run("/usr/bin/uml_moo", [scratch.file("cow"), scratch.file("merged")]) == 0)
      let disk = try openImage(
        path: scratch.file("cow"), options: ImageOptions(readOnly: true), registry: registry)
      let merged = readFile(scratch.file("merged"))
      // Sectors without a bit (v1, v2) are the backing file's; uml_moo looks for their bits beyond the
      // bitmap.
      let common = shape.isTruncatingBitmap ? size / 4096 * 4096 : size
      #expect(merged.count == size)
      #expect(Array(merged[..<common]) == Array(try disk.all()[..<common]))
    }
  }
}
