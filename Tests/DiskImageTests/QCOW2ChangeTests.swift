// qcow2 disks that grow, shrink, lose their contents or get another header.
import BlockIO
import Glibc
import Simulation
import Testing

@testable import DiskImage

@Suite("Changing qcow2") struct QCOW2ChangeTests {
  let scratch = Scratch()
  let registry = FileRegistry()

  func open() throws -> QCOW2.Disk { try #require(try openQCOW2(scratch, registry) as? QCOW2.Disk) }

  @Test("a disk grows and shrinks, and what is new is zeros", arguments: QCOW2WriteTests.shapes)
  func resize(shape: QCOW2WriteTests.Shape) throws {
    let start = try QCOW2WriteTests.make(shape, scratch, registry, seed: 1)
    var model = Model(bytes: start, random: RandomStream(seed: 1, name: "resize"))
    for round in 0..<4 {
      let disk = try open()
      for _ in 0..<12 { try model.step(disk) }
      let size = 512 * Int(1 + model.random.next() % 5000)
      #expect(throws: DiskImageError.self) { try disk.resize(to: disk.size - 512) }
      try disk.resize(to: UInt64(size), shrinking: true)
      #expect(disk.size == UInt64(size))
      if size < model.bytes.count { model.bytes.removeLast(model.bytes.count - size) }
      model.bytes.append(contentsOf: repeatElement(0, count: size - model.bytes.count))
      let isSame = try disk.all() == model.bytes
      #expect(isSame, "round \(round)")
      for _ in 0..<12 { try model.step(disk) }
      try disk.close()
      #expect(scratch.qemuCheck("q") == 0, "round \(round)")
      let isSameToQEMU = scratch.qemuBytes("q") == model.bytes
      #expect(isSameToQEMU, "round \(round)")
    }
  }

  @Test("an emptied disk shows what is beneath, and its snapshot keeps what it had", arguments: [0, 3, 6])
  func empty(index: Int) throws {
    let shape = QCOW2WriteTests.shapes[index]
    let start = try QCOW2WriteTests.make(shape, scratch, registry, seed: 1)
    var model = Model(bytes: start, random: RandomStream(seed: 1, name: "empty"))
    for round in 0..<2 {
      let disk = try open()
      for _ in 0..<20 { try model.step(disk) }
      let before = model.bytes
      try disk.makeEmpty()
      model.bytes = start
      let isSame = try disk.all() == start
      #expect(isSame)
      for _ in 0..<20 { try model.step(disk) }
      try disk.close()
      #expect(scratch.qemuCheck("q") == 0)
      let isSameToQEMU = scratch.qemuBytes("q") == model.bytes
      #expect(isSameToQEMU)
      if round == 1 {
        let shown = try openImage(
          path: scratch.file("q"), options: ImageOptions(lock: false, snapshot: "s"), registry: registry)
        let isKept = try shown.all() != before
        #expect(isKept)
      } else {
        #expect(scratch.shell("qemu-img snapshot -c s q") == 0)
      }
    }
  }

  @Test(
    "compressed clusters are packed, read back, and overwritten",
    arguments: [(9, 0), (12, 0), (16, 1), (16, 0), (21, 1)])
  func compressed(bits: Int, method: Int) throws {
    let compression = try #require(CompressedCluster.Method(rawValue: UInt8(method)))
    let cluster = 1 << bits
    let count = bits > 16 ? 4 : 40
    var random = RandomStream(seed: UInt64(bits), name: "compressed")
    var bytes = [UInt8](repeating: 0, count: count * cluster)
    for index in bytes.indices where index / 300 % 3 != 0 {
      bytes[index] = UInt8(truncatingIfNeeded: index / 40)
    }
    try QCOW2.create(
      path: scratch.file("q"), size: UInt64(bytes.count), clusterBits: UInt32(bits),
      refcountOrder: bits == 12 ? 1 : 4, compression: compression, registry: registry)
    let disk = try open()
    #expect(disk.compressionMethod == compression)
    for index in 0..<count where index % 5 != 4 {
      let piece = Array(bytes[index * cluster..<(index + 1) * cluster])
      let stored = piece.withUnsafeBytes {
        QCOW2.Compressor.compress($0, method: compression, level: QCOW2.Compressor.usualLevel(compression))
      }
      try disk.appendCompressed(at: UInt64(index * cluster), try #require(stored))
    }
    for index in 0..<count where index % 5 == 4 {
      let piece = random.bytes(cluster)
      let stored = piece.withUnsafeBytes { QCOW2.Compressor.compress($0, method: compression, level: 1) }
      #expect(stored == nil)
      try disk.put(piece, at: UInt64(index * cluster))
      bytes.replaceSubrange(index * cluster..<(index + 1) * cluster, with: piece)
    }
    let isSame = try disk.all() == bytes
    #expect(isSame)
    try disk.close()
    #expect(scratch.qemuCheck("q") == 0)
    #expect(scratch.qemuBytes("q") == bytes ? true : false)
    let small = status(of: scratch.file("q")).st_size
    #expect(bits < 12 || small < bytes.count * 2 / 3 + 8 * cluster)
    var model = Model(bytes: bytes, random: random)
    let again = try open()
    for _ in 0..<30 { try model.step(again) }
    let isStillSame = try again.all() == model.bytes
    #expect(isStillSame)
    try again.close()
    #expect(scratch.qemuCheck("q") == 0)
    let isSameToQEMU = scratch.qemuBytes("q") == model.bytes
    #expect(isSameToQEMU)
  }

  @Test("another backing file is named, with its format, and QEMU follows")
  func backing() throws {
    scratch.write("random", QCOW2ReadTests.random)
    scratch.write("other", [UInt8](repeating: 9, count: 1 << 20))
    for options in ["", "-o cluster_size=512", "-o compat=0.10"] {
      scratch.shell("rm -f q; qemu-img create -q -f qcow2 \(options) -F raw -b random q")
      let longer = String(repeating: "./", count: 60) + "other"
      for name in ["other", longer, "random", scratch.file("other")] {
        try QCOW2.changeBacking(
          path: scratch.file("q"), to: QCOW2.Backing(path: name, format: .raw), lock: false,
          registry: FileRegistry())
        #expect(scratch.qemuCheck("q") == 0)
        let first = scratch.qemuBytes("q").prefix(1 << 20).allSatisfy { $0 == 9 }
        #expect(first == name.hasSuffix("other"))
        let info = try #require(try ImageInfo(path: scratch.file("q"), registry: registry).qcow2)
        #expect(info.backingPath == name && info.backingFormat == "raw" && info.problem == nil)
      }
      try QCOW2.changeBacking(path: scratch.file("q"), to: nil, lock: false, registry: FileRegistry())
      let isEmpty = scratch.qemuBytes("q").allSatisfy { $0 == 0 }
      #expect(isEmpty && scratch.qemuCheck("q") == 0)
    }
  }

  @Test("version 2 becomes version 3, with its backing file, and can be written then")
  func upgrade() throws {
    scratch.write("random", QCOW2ReadTests.random)
    for size in ["512", "64k"] {
      scratch.shell(
        "rm -f q; qemu-img create -q -f qcow2 -o compat=0.10,cluster_size=\(size) -F raw -b random q; "
          + "qemu-io -f qcow2 -c 'write -P 3 10k 100k' q; qemu-img snapshot -c s q")
      let before = scratch.qemuBytes("q")
      try QCOW2.upgrade(path: scratch.file("q"), lock: false, registry: FileRegistry())
      let isSame = scratch.qemuBytes("q") == before
      #expect(isSame && !before.isEmpty && scratch.qemuCheck("q") == 0)
      let disk = try open()
      #expect(disk.header.version == 3)
      try disk.discard(0..<20480)
      try disk.close()
      #expect(scratch.qemuCheck("q") == 0)
      #expect(scratch.qemuBytes("q").prefix(20480).allSatisfy { $0 == 0 } == true)
    }
  }

  @Test("a new file never replaces another, and what cannot be is refused")
  func create() throws {
    scratch.write("q", [1, 2, 3])
    #expect(throws: DiskImageError.exists(path: scratch.file("q"))) {
      try QCOW2.create(path: scratch.file("q"), size: 512, registry: registry)
    }
    #expect(throws: DiskImageError.self) {
      try QCOW2.create(path: scratch.file("a"), size: 1 << 62, registry: registry)
    }
    #expect(throws: DiskImageError.self) {
      try QCOW2.create(path: scratch.file("a"), size: 1 << 40, clusterBits: 9, registry: registry)
    }
    #expect(throws: DiskImageError.self) {
      try QCOW2.create(path: scratch.file("a"), size: 512, clusterBits: 22, registry: registry)
    }
    #expect(scratch.names == ["q"])
    for size in [0, 1, 1 << 40, 8 << 40] as [UInt64] {
      try QCOW2.create(path: scratch.file("b"), size: size, registry: registry)
      #expect(scratch.qemuCheck("b") == 0)
      #expect(status(of: scratch.file("b")).st_blocks < 1024)
      unlink(scratch.file("b"))
    }
  }
}
