// qcow2 files that were made to harm: each is refused in one line, by name.
import BlockIO
import Glibc
import Simulation
import Testing

@testable import DiskImage

@Suite("Hostile qcow2") struct QCOW2HostileTests {
  /// Where a number is written into a good header, its width in bytes, and the number.
  struct Case: CustomTestStringConvertible, Sendable {
    let name: String
    let changes: [(offset: Int, width: Int, value: UInt64)]
    var testDescription: String { name }
  }

  /// QEMU's test 080, and more.
  static let cases: [Case] = [
    Case(name: "a version of 0", changes: [(4, 4, 0)]),
    Case(name: "a version of 4", changes: [(4, 4, 4)]),
    Case(name: "clusters too small", changes: [(20, 4, 8)]),
    Case(name: "clusters too large", changes: [(20, 4, 22)]),
    Case(name: "clusters of 2^4294967295", changes: [(20, 4, 0xffff_ffff)]),
    Case(name: "a header too short", changes: [(100, 4, 96)]),
    Case(name: "a header beyond its cluster", changes: [(100, 4, 0x1_0008)]),
    Case(name: "a header of odd length", changes: [(100, 4, 107)]),
    Case(name: "a header of 4 GiB", changes: [(100, 4, 0xffff_fff8)]),
    Case(name: "unknown incompatible features", changes: [(72, 8, 1 << 63)]),
    Case(name: "the next incompatible feature", changes: [(72, 8, 1 << 5)]),
    Case(name: "counts of 128 bits", changes: [(96, 4, 7)]),
    Case(name: "counts of 2^4294967295 bits", changes: [(96, 4, 0xffff_ffff)]),
    Case(name: "AES", changes: [(32, 4, 1)]),
    Case(name: "LUKS", changes: [(32, 4, 2)]),
    Case(name: "an unknown encryption", changes: [(32, 4, 3)]),
    Case(name: "no refcount table", changes: [(56, 4, 0)]),
    Case(name: "a refcount table too large", changes: [(56, 4, 0x1_0000)]),
    Case(name: "a refcount table of 2^32 clusters", changes: [(56, 4, 0xffff_ffff)]),
    Case(name: "a refcount table that is not aligned", changes: [(48, 8, 0x1_0001)]),
    Case(name: "a refcount table at the end of the world", changes: [(48, 8, 0xffff_ffff_ffff_0000)]),
    Case(name: "an L1 table too large", changes: [(36, 4, 0x40_0001)]),
    Case(name: "an L1 table of 2^31 entries", changes: [(36, 4, 0x7fff_ffff)]),
    Case(name: "an L1 table of 2^32 entries", changes: [(36, 4, 0xffff_ffff)]),
    Case(name: "an L1 table too small", changes: [(36, 4, 0)]),
    Case(name: "an L1 table that is not aligned", changes: [(40, 8, 0x1_0200)]),
    Case(name: "an L1 table at the end of the world", changes: [(40, 8, 0x7fff_ffff_ffff_0000)]),
    Case(name: "a disk too large for its L1 table", changes: [(24, 8, 1 << 40)]),
    Case(name: "a disk of 2^63 bytes", changes: [(24, 8, 1 << 63)]),
    Case(name: "a disk of 2^64 - 1 bytes", changes: [(24, 8, .max)]),
    Case(name: "a disk of 2^63 - 1 bytes", changes: [(24, 8, .max >> 1)]),
    Case(name: "too many snapshots", changes: [(60, 4, 65537), (64, 8, 0x1_0000)]),
    Case(name: "2^32 snapshots", changes: [(60, 4, 0xffff_ffff), (64, 8, 0x1_0000)]),
    Case(name: "snapshots that are not aligned", changes: [(60, 4, 1), (64, 8, 0x1_0001)]),
    Case(name: "snapshots beyond the file", changes: [(60, 4, 1), (64, 8, 0x7fff_0000_0000)]),
    Case(name: "snapshots at the end of the world", changes: [(60, 4, 1), (64, 8, 0xffff_ffff_ffff_0000)]),
    Case(
      name: "a snapshot with 4 GiB of extra data",
      changes: [(60, 4, 1), (64, 8, 0x4_0000), (0x4_0024, 4, 0xffff_ffff)]),
    Case(
      name: "a snapshot with a name beyond the file",
      changes: [(60, 4, 1), (64, 8, 0x5_0000), (0x5_000e, 2, 0xffff)]),
    Case(name: "a backing path beyond the cluster", changes: [(8, 8, 0x1_0001), (16, 4, 10)]),
    Case(name: "a backing path at the end of the world", changes: [(8, 8, .max), (16, 4, 10)]),
    Case(name: "a backing path that reaches beyond the cluster", changes: [(8, 8, 0xfff0), (16, 4, 100)]),
    Case(name: "a backing path too long", changes: [(8, 8, 0x200), (16, 4, 1024)]),
    Case(name: "a backing path of 4 GiB", changes: [(8, 8, 0x200), (16, 4, 0xffff_ffff)]),
    Case(name: "an extension beyond the cluster", changes: [(112, 4, 0x1234_5678), (116, 4, 0xfff0)]),
    Case(name: "an extension of 4 GiB", changes: [(112, 4, 0x1234_5678), (116, 4, 0xffff_ffff)]),
    Case(
      name: "an extension twice",
      changes: [(112, 4, 0xe279_2aca), (116, 4, 8), (128, 4, 0xe279_2aca), (132, 4, 8)]),
    Case(name: "an unknown compression", changes: [(72, 8, 8), (104, 1, 2)]),
    Case(name: "zstd without its feature", changes: [(104, 1, 1)]),
    Case(name: "the compression feature with deflate", changes: [(72, 8, 8)]),
    Case(name: "a data file without a name", changes: [(72, 8, 4)]),
    Case(name: "subclusters in small clusters", changes: [(72, 8, 16), (20, 4, 13)]),
  ]

  static let good: [UInt8] = {
    let scratch = Scratch()
    try? QCOW2.create(path: scratch.file("q"), size: 1 << 20, registry: FileRegistry())
    // An L1 entry has its place, an L2 table at 0x40000 will have one.
    return readFile(scratch.file("q")) + [UInt8](repeating: 0, count: 0x2_0000)
  }()

  static func put(_ changes: [(offset: Int, width: Int, value: UInt64)], _ bytes: inout [UInt8]) {
    for change in changes {
      for index in 0..<change.width {
        bytes[change.offset + index] = UInt8(
          truncatingIfNeeded: change.value >> UInt64(8 * (change.width - 1 - index)))
      }
    }
  }

  static func isOneLine(_ error: DiskImageError) -> Bool {
    !error.description.contains("\n") && error.description.count < 400
  }

  @Test("each lie in a header is refused in one line, for reading and for a check", arguments: cases)
  func header(one: Case) throws {
    let scratch = Scratch()
    var bytes = Self.good
    Self.put(one.changes, &bytes)
    scratch.write("q", bytes)
    let open: () throws(DiskImageError) -> Void = { () throws(DiskImageError) in
      _ = try openImage(
        path: scratch.file("q"), options: ImageOptions(format: .qcow2, readOnly: true, lock: false),
        registry: FileRegistry())
    }
    do throws(DiskImageError) {
      try open()
      Issue.record("it was opened")
    } catch { #expect(Self.isOneLine(error)) }
    do throws(DiskImageError) {
      _ = try QCOW2.check(path: scratch.file("q"), lock: false, registry: FileRegistry())
      // What only the opening minds.
      #expect(one.name.hasPrefix("a data file") || one.name.hasPrefix("a backing path"))
    } catch { #expect(Self.isOneLine(error)) }
  }

  @Test("a request that meets an entry that cannot be fails, and no other does")
  func entries() throws {
    let scratch = Scratch()
    let l1 = Int(Self.good.span.bytes.u64(40))
    for (entry, table) in [
      (0x4_0001, 0), (0x4_0200, 0), (1 << 62 | 0x4_0000, 0), (0x4_0000, 0x5_0001 << 1),
      (0x4_0000, 0x5_0200), (0x4_0000, 1 << 61), (0x4_0000, 1 << 62), (0x4_0000, 1 << 62 | 0x5_0000),
    ] as [(UInt64, UInt64)] {
      var bytes = Self.good
      Self.put([(l1, 8, entry), (0x4_0008, 8, table)], &bytes)
      scratch.write("q", bytes)
      let disk = try openQCOW2(scratch, FileRegistry())
      #expect(throws: DiskImageError.self) { try disk.bytes(65536..<65540) }
      #expect(throws: DiskImageError.self) { try disk.put([1], at: 65536) }
      if table != 0 { #expect(try disk.bytes(0..<4) == [0, 0, 0, 0]) }
      try? disk.close()
    }
  }

  @Test("tables that lie where others are are not written to")
  func overlap() throws {
    let scratch = Scratch()
    let header = Self.good.span.bytes
    let copied: UInt64 = 1 << 63
    // An L2 table in the L1 table, in the header; a cluster in the refcount table, in the L1 table.
    for (entry, cluster) in [
      (header.u64(40), nil), (UInt64(0x4_0000), header.u64(48)), (0x4_0000, header.u64(40)),
    ] as [(UInt64, UInt64?)] {
      var bytes = Self.good
      Self.put([(Int(header.u64(40)), 8, entry | copied)], &bytes)
      if let cluster { Self.put([(0x4_0000, 8, cluster | copied)], &bytes) }
      scratch.write("q", bytes)
      let disk = try openQCOW2(scratch, FileRegistry())
      #expect(throws: DiskImageError.self) { try disk.put([1], at: 1) }
      try? disk.close()
      #expect(DiskImageTests.readFile(scratch.file("q")).count == bytes.count)
    }
  }

  @Test("a backing file without a format is opened only if it looks like raw")
  func probing() throws {
    let scratch = Scratch()
    scratch.write("base", [UInt8](repeating: 7, count: 65536))
    scratch.shell("qemu-img create -q -f qcow2 -F raw -b base q")
    var bytes = readFile(scratch.file("q"))
    // The extension becomes one that nobody knows.
    let place = try #require((0..<500).first { bytes.span.bytes.u32($0) == 0xe279_2aca })
    Self.put([(place, 4, 0x1234_5678)], &bytes)
    scratch.write("q", bytes)
    let disk = try openQCOW2(scratch, FileRegistry())
    #expect(try disk.bytes(0..<3) == [7, 7, 7])
    try disk.close()
    scratch.shell("rm base; qemu-img create -q -f qcow2 base 1M")
    do throws(DiskImageError) {
      _ = try openQCOW2(scratch, FileRegistry())
      Issue.record("it was followed")
    } catch { #expect(error.description.contains("ttblk image rebase --unsafe -F qcow2")) }
  }

  @Test("a backing name that is no path is refused, and so are loops")
  func names() throws {
    for name in ["json:{\"driver\":\"raw\"}", "nbd://host/x", "ssh:x", "host_device:/dev/sda"] {
      let scratch = Scratch()
      scratch.write("base", [UInt8](repeating: 7, count: 65536))
      scratch.shell("qemu-img create -q -f qcow2 -F raw -b base q; qemu-img rebase -u -F raw -b '\(name)' q")
      do throws(DiskImageError) {
        _ = try openQCOW2(scratch, FileRegistry())
        Issue.record("\(name) was opened")
      } catch { #expect(error.description.contains("no plain path"), "\(error)") }
      let other = try openImage(
        path: scratch.file("q"), options: ImageOptions(lock: false, backing: scratch.file("base")),
        registry: FileRegistry())
      #expect(try other.bytes(0..<2) == [7, 7])
    }
    let scratch = Scratch()
    scratch.shell(
      "qemu-img create -q -f qcow2 a 1M; qemu-img create -q -f qcow2 -F qcow2 -b a q; "
        + "qemu-img rebase -u -F qcow2 -b q a"
    )
    #expect(throws: DiskImageError.backingLoop(path: scratch.file("q"))) {
      try openQCOW2(scratch, FileRegistry())
    }
    scratch.shell("qemu-img rebase -u -F qcow2 -b q q")
    #expect(throws: DiskImageError.backingIsItself(path: scratch.file("q"))) {
      try openQCOW2(scratch, FileRegistry())
    }
  }

  @Test("a bomb of compressed data is an error, not a gigabyte")
  func bomb() throws {
    let scratch = Scratch()
    scratch.shell("qemu-img create -q -f qcow2 q 1M; qemu-io -f qcow2 -c 'write -c -P 3 0 64k' q")
    let good = readFile(scratch.file("q"))
    var random = RandomStream(seed: 1, name: "bomb")
    for _ in 0..<200 {
      var bytes = good
      for index in bytes.indices.dropFirst(5 << 16) {
        bytes[index] = UInt8(truncatingIfNeeded: random.next())
      }
      scratch.write("q", bytes)
      let disk = try openQCOW2(scratch, FileRegistry())
      _ = try? disk.bytes(0..<65536)
      #expect(try disk.bytes(65536..<65537) == [0])
    }
  }

  @Test("a uml-cow file can be beneath, and bitmaps go with the first write")
  func neighbours() throws {
    let scratch = Scratch()
    let registry = FileRegistry()
    let sample = COWSample(.v3, size: 1 << 20, path: scratch.file("base"), seed: 4)
    scratch.write("base", sample.backing)
    scratch.write("cow", sample.file)
    try QCOW2.create(
      path: scratch.file("q"), backing: QCOW2.Backing(path: "cow", format: .umlCOW), registry: registry)
    let disk = try openQCOW2(scratch, registry)
    let isSame = try disk.all() == sample.ideal
    #expect(isSame && disk.size == 1 << 20)
    try disk.put([1, 2], at: 4095)
    #expect(try disk.bytes(4094..<4098) == [sample.ideal[4094], 1, 2, sample.ideal[4097]])
    try disk.close()
    unlink(scratch.file("q"))
    scratch.shell(
      "qemu-img create -q -f qcow2 q 1M; qemu-img bitmap --add q b; qemu-io -f qcow2 -c 'write -P 9 0 64k' q")
    let bits = try openQCOW2(scratch, registry)
    #expect(bits.warnings.contains { $0.contains("bitmaps") })
    try bits.put([5], at: 100)
    try bits.close()
    #expect(scratch.qemuCheck("q") == 0)
    #expect(scratch.shell("qemu-img info q | grep -q bitmaps") != 0)
  }
}
