// qcow2 files that QEMU wrote, read by us.
import BlockIO
import Glibc
import Simulation
import Testing

@testable import DiskImage

@Suite("Reading qcow2") struct QCOW2ReadTests {
  static let io = "qemu-io -f qcow2"
  /// Writes, zeroes, discards and compressed clusters here and there.
  static let strokes =
    #"-c 'write -P 1 0 70k' -c 'write -P 2 300k 1k' -c 'write -z 128k 64k' -c 'write -zu 500k 100k' "#
    + #"-c 'write -P 3 1m 200k' -c 'discard 1088k 64k' -c 'write -P 4 1535k 1k'"#
  static let squeezed = #"-c 'write -c -P 5 0 256k' -c 'write -c -P 6 512k 128k' -c 'write -P 7 64k 3k'"#

  static func plain(_ options: String, _ size: String = "1536k", _ strokes: String = strokes) -> String {
    "qemu-img create -q -f qcow2 \(options.isEmpty ? "" : "-o \(options)") q \(size); \(io) \(strokes) q"
  }

  /// A name and how QEMU makes it; the image is `q`. `random` holds a mebibyte and a half.
  static let shapes: [(String, String)] = {
    var shapes: [(String, String)] = [("version 2", plain("compat=0.10")), ("empty", plain("", "8T", ""))]
    for size in ["512", "1k", "2k", "4k", "8k", "16k", "32k", "64k", "128k", "256k", "512k", "1M", "2M"] {
      shapes.append(("clusters of \(size)", plain("cluster_size=\(size)")))
    }
    for bits in ["1", "2", "4", "8", "32", "64"] {
      shapes.append(("refcounts of \(bits)", plain("refcount_bits=\(bits)")))
    }
    for size in ["512", "4k", "64k", "2M"] {
      let make = "qemu-img convert -q -c -O qcow2 -o cluster_size=\(size)"
      shapes.append(("deflate in \(size)", "\(make) -f raw random q"))
      shapes.append(("zstd in \(size)", "\(make),compression_type=zstd -f raw random q"))
    }
    shapes += [
      ("deflate and more", plain("", "1M", squeezed)),
      ("deflate and more, version 2", plain("compat=0.10", "1M", squeezed)),
      ("zstd and more", plain("compression_type=zstd", "1M", squeezed)),
      ("subclusters", plain("extended_l2=on")),
      ("subclusters in 16k", plain("extended_l2=on,cluster_size=16k")),
      (
        "subclusters in 2M, compressed",
        plain("extended_l2=on,cluster_size=2M", "8M", "-c 'write -c -P 5 2M 2M' -c 'write -P 6 5M 70k'")
      ),
      ("metadata preallocated", plain("preallocation=metadata", "1M", "-c 'write -P 3 100k 20k'")),
      ("preallocated by falloc", plain("preallocation=falloc")),
      ("preallocated in full", plain("preallocation=full")),
      ("odd size", plain("", "1537k", "-c 'write -P 3 1500k 37k'")),
      (
        "lazy counts, dirty",
        "qemu-img create -q -f qcow2 -o lazy_refcounts=on q 1M; \(io)"
          + " -c 'write -P 3 64k 64k' -c abort q || true"
      ),
      ("marked corrupt", plain("") + "; printf '\\002' | dd of=q bs=1 seek=79 conv=notrunc 2>/dev/null"),
      ("external data", plain("data_file=d")),
      ("external raw data", plain("data_file=d,data_file_raw=on")),
      ("bitmaps", plain("") + "; qemu-img bitmap --add q b; \(io) -c 'write -P 9 0 64k' q"),
      (
        "snapshots",
        plain("")
          + "; qemu-img snapshot -c one q; \(io) -c 'write -P 8 30k 100k' q; "
          + "qemu-img snapshot -c two q; \(io) -c 'discard 0 256k' q"
      ),
      ("upon raw", "qemu-img create -q -f qcow2 -F raw -b random q; \(io) \(strokes) q"),
      (
        "upon raw, version 2",
        "qemu-img create -q -f qcow2 -o compat=0.10 -F raw -b random q; \(io) -c 'write -P 1 1000k 10k' q"
      ),
      (
        "upon short raw",
        "head -c 700000 random >s; qemu-img create -q -f qcow2 -F raw -b s q 1536k; \(io) \(strokes) q"
      ),
      (
        "upon very short raw",
        "head -c 1000 random >s; qemu-img create -q -f qcow2 -o cluster_size=512 -F raw -b s"
          + " q 4k; \(io) -c 'write -P 3 3k 512' q"
      ),
      (
        "upon long raw",
        "qemu-img create -q -f qcow2 -F raw -b random q 1M; \(io) -c 'write -P 3 1000k 20k' q"
      ),
      (
        "upon raw with holes",
        "truncate -s 1M s; dd if=random of=s bs=64k seek=3 count=2 conv=notrunc 2>/dev/null; "
          + "qemu-img create -q -f qcow2 -F raw -b s q 2M; \(io) -c 'write -P 3 0 20k' q"
      ),
      (
        "subclusters upon raw",
        "qemu-img create -q -f qcow2 -o extended_l2=on -F raw -b random q; \(io) \(strokes) q"
      ),
      ("compressed upon raw", "qemu-img create -q -f qcow2 -F raw -b random q; \(io) \(squeezed) q"),
      (
        "upon qcow2 upon raw",
        "qemu-img create -q -f qcow2 -o cluster_size=4k -F raw -b random m; \(io)"
          + " -c 'write -P 3 50k 100k' -c 'write -z 800k 100k' m; "
          + "qemu-img create -q -f qcow2 -F qcow2 -b m q 2M; \(io) -c 'write -P 4 100k 20k'"
          + " -c 'discard 840k 100k' q"
      ),
      (
        "upon compressed qcow2",
        "qemu-img convert -q -c -O qcow2 -f raw random m; qemu-img create -q -f qcow2 -F qcow2"
          + " -b m q; \(io) -c 'write -P 4 100k 20k' q"
      ),
      (
        "upon short qcow2",
        "qemu-img create -q -f qcow2 m 300k; \(io) -c 'write -P 3 50k 100k' m; "
          + "qemu-img create -q -f qcow2 -F qcow2 -b m q 2M; \(io) -c 'write -P 4 1M 20k' q"
      ),
      ("sparse and vast", plain("", "1T", "-c 'write -P 3 700G 20k' -c 'write -P 3 0 1'")),
    ]
    return shapes
  }()

  static func isVast(_ name: String) -> Bool { name == "empty" || name == "sparse and vast" }

  /// Some runs, some noise, some zeros.
  static let random: [UInt8] = {
    var random = RandomStream(seed: 1, name: "qcow2 base")
    var bytes = [UInt8](repeating: 0, count: 1536 << 10)
    for block in 0..<96 {
      let start = block << 14
      switch random.next() % 4 {
      case 0: bytes.replaceSubrange(start..<start + 16384, with: random.bytes(16384))
      case 1: for index in start..<start + 16384 { bytes[index] = UInt8(truncatingIfNeeded: index / 700) }
      case 2: bytes.replaceSubrange(start + 100..<start + 3000, with: random.bytes(2900))
      default: break
      }
    }
    return bytes
  }()

  @Test(
    "every shape that QEMU writes has the bytes, the map and the figures that QEMU sees",
    arguments: shapes.map(\.0))
  func shape(name: String) throws {
    let scratch = Scratch()
    let registry = FileRegistry()
    scratch.write("random", Self.random)
    let script = try #require(Self.shapes.first { $0.0 == name }?.1)
    try #require(scratch.shell(script) == 0, "qemu-utils is needed")
    let disk = try openImage(
      path: scratch.file("q"), options: ImageOptions(readOnly: true, lock: false), registry: registry)
    #expect(disk.format == .qcow2)
    if Self.isVast(name) {
      #expect(try disk.bytes((700 << 30) - 10..<(700 << 30) + 10).last == (name == "empty" ? 0 : 3))
    } else {
      let ours = try disk.all()
      let theirs = scratch.qemuBytes("q")
      let isSame = Array(ours.prefix(theirs.count)) == theirs
      #expect(isSame)
      #expect(theirs.count > 0 && ours.dropFirst(theirs.count).allSatisfy { $0 == 0 })
    }
    try expectSameMap(disk, try QEMUMapEntry.map(scratch, "q"), name)
    try QCOW2CheckTests.expectSameFigures(scratch)
    #expect(disk.warnings.count == (name.hasSuffix("dirty") || name.hasSuffix("corrupt") ? 1 : 0))
    try disk.close()
  }

  @Test("snapshots are listed, and shown by id or by name as QEMU shows them")
  func snapshots() throws {
    let scratch = Scratch()
    scratch.write("random", Self.random)
    try #require(scratch.shell(try #require(Self.shapes.first { $0.0 == "snapshots" }?.1)) == 0)
    let registry = FileRegistry()
    let info = try #require(try ImageInfo(path: scratch.file("q"), registry: registry).qcow2)
    #expect(info.snapshots.map(\.name) == ["one", "two"] && info.snapshots.map(\.identifier) == ["1", "2"])
    var shown: [[UInt8]] = []
    for (wanted, name) in [("1", "one"), ("two", "two")] {
      let disk = try openImage(
        path: scratch.file("q"), options: ImageOptions(lock: false, snapshot: wanted), registry: registry)
      #expect(disk.isReadOnly)
      shown.append(try disk.all())
      let theirs = scratch.qemuBytes("q", "-l snapshot.name=\(name) -f qcow2")
      let isSame = shown.last == theirs
      #expect(isSame)
    }
    let differ = shown[0] != shown[1]
    #expect(differ)
    #expect(throws: DiskImageError.qcow2(path: scratch.file("q"), .snapshotUnknown("three"))) {
      try openImage(path: scratch.file("q"), options: ImageOptions(snapshot: "three"), registry: registry)
    }
  }

  @Test("a plan of an empty disk of 8 TiB is one segment, and needs each page of the L1 table once")
  func vast() throws {
    let scratch = Scratch()
    try #require(scratch.shell("qemu-img create -q -f qcow2 q 8T") == 0)
    let engine = FaultyEngine()
    let disk = try openImage(path: scratch.file("q"), registry: FileRegistry(), engine: engine)
    var segments: [Segment] = []
    engine.clearLog()
    try disk.plan(0..<disk.size, into: &segments)
    // 128 KiB: an entry of 8 bytes for each 512 MiB.
    #expect(engine.log.count == 32)
    #expect(segments == [Segment(.zeroes, offset: 0, count: 8 << 40, isAllocated: false)])
  }
}
