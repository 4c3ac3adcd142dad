// qcow2 files that we write, read and checked by QEMU.
import BlockIO
import Glibc
import Simulation
import Testing

@testable import DiskImage

@Suite("Writing qcow2") struct QCOW2WriteTests {
  /// A shape of file: cluster bits, refcount order, size, and what is beneath.
  struct Shape: CustomTestStringConvertible, Sendable {
    let clusterBits: UInt32
    let refcountOrder: UInt32
    let size: Int
    let base: Int
    var testDescription: String { "2^\(clusterBits), counts of 2^\(refcountOrder), \(size) upon \(base)" }
  }

  static let shapes = [
    Shape(clusterBits: 9, refcountOrder: 4, size: 1 << 20, base: 0),
    Shape(clusterBits: 9, refcountOrder: 6, size: 3 << 20, base: 2 << 20),
    Shape(clusterBits: 9, refcountOrder: 0, size: 700 * 512, base: 400_000),
    Shape(clusterBits: 10, refcountOrder: 1, size: 1 << 20, base: 2 << 20),
    Shape(clusterBits: 12, refcountOrder: 2, size: 1 << 20, base: 700_001),
    Shape(clusterBits: 13, refcountOrder: 3, size: (1 << 20) + 512, base: 0),
    Shape(clusterBits: 16, refcountOrder: 4, size: (1 << 20) + 1536, base: 1 << 20),
    Shape(clusterBits: 16, refcountOrder: 5, size: 300 * 512, base: 100_000),
    Shape(clusterBits: 21, refcountOrder: 4, size: 5 << 20, base: 3 << 20),
  ]

  /// Makes the file, and says what its disk holds.
  static func make(_ shape: Shape, _ scratch: Scratch, _ registry: FileRegistry, seed: UInt64) throws
    -> [UInt8]
  {
    var random = RandomStream(seed: seed, name: "qcow2 write")
    var bytes = [UInt8](repeating: 0, count: shape.size)
    var backing: QCOW2.Backing?
    if shape.base > 0 {
      let base = random.bytes(shape.base)
      scratch.write("base", base)
      let common = min(base.count, bytes.count)
      bytes.replaceSubrange(0..<common, with: base[..<common])
      backing = QCOW2.Backing(path: "base", format: .raw)
    }
    try QCOW2.create(
      path: scratch.file("q"), size: UInt64(shape.size), clusterBits: shape.clusterBits,
      refcountOrder: shape.refcountOrder, backing: backing, registry: registry)
    return bytes
  }

  @Test("what we write, QEMU reads and finds in order", arguments: shapes)
  func random(shape: Shape) throws {
    for seed in 0..<2 * soak {
      let scratch = Scratch()
      let registry = FileRegistry()
      let start = try Self.make(shape, scratch, registry, seed: seed)
      #expect(scratch.qemuCheck("q") == 0)
      var model = Model(bytes: start, random: RandomStream(seed: seed, name: "\(shape)"))
      for round in 0..<3 {
        let disk = try openQCOW2(scratch, registry)
        #expect(disk.size == UInt64(shape.size))
        for _ in 0..<40 { try model.step(disk) }
        let isSame = try disk.all() == model.bytes
        #expect(isSame, "seed \(seed)")
        try disk.close()
        #expect(scratch.qemuCheck("q") == 0, "seed \(seed), round \(round)")
        let isSameToQEMU = scratch.qemuBytes("q") == model.bytes
        #expect(isSameToQEMU, "seed \(seed), round \(round)")
      }
    }
  }

  @Test("we and QEMU write to one file in turn", arguments: [0, 4, 6])
  func pingPong(index: Int) throws {
    let shape = Self.shapes[index]
    let scratch = Scratch()
    let registry = FileRegistry()
    let start = try Self.make(shape, scratch, registry, seed: 1)
    var model = Model(bytes: start, random: RandomStream(seed: 1, name: "ping-pong \(index)"))
    for round in 0..<6 {
      let disk = try openQCOW2(scratch, registry)
      for _ in 0..<15 { try model.step(disk) }
      try disk.close()
      var script = "qemu-io -f qcow2"
      for _ in 0..<8 {
        let first = model.random.next() % UInt64(shape.size / 512)
        let count = min(UInt64(shape.size / 512) - first, 1 + model.random.next() % 200)
        let indices = Int(first * 512)..<Int((first + count) * 512)
        let value = UInt8(1 + model.random.next() % 250)
        let isZero = model.random.next() % 3 == 0
        script += isZero ? " -c 'write -z" : " -c 'write -P \(value)"
        script += " \(first * 512) \(count * 512)'"
        for index in indices { model.bytes[index] = isZero ? 0 : value }
      }
      if round == 2 { script += " q; qemu-img snapshot -c s" }
      if round == 4 { script += " q; qemu-img snapshot -d s" }
      #expect(scratch.shell(script + " q") == 0)
      #expect(scratch.qemuCheck("q") == 0, "round \(round)")
      let isSame = scratch.qemuBytes("q") == model.bytes
      #expect(isSame, "round \(round)")
    }
  }

  @Test("snapshots keep what they have, whatever is written, zeroed or discarded", arguments: UInt64(0)..<3)
  func snapshots(seed: UInt64) throws {
    let scratch = Scratch()
    let registry = FileRegistry()
    let start = try Self.make(Self.shapes[[3, 4, 6][Int(seed)]], scratch, registry, seed: seed)
    var model = Model(bytes: start, random: RandomStream(seed: seed, name: "snapshots"))
    var kept: [[UInt8]] = []
    for round in 0..<3 {
      let disk = try openQCOW2(scratch, registry)
      for _ in 0..<30 { try model.step(disk) }
      try disk.close()
      #expect(scratch.qemuCheck("q") == 0, "round \(round)")
      for (index, bytes) in kept.enumerated() {
        let shown = try openImage(
          path: scratch.file("q"), options: ImageOptions(lock: false, snapshot: "\(index + 1)"),
          registry: registry)
        let isSame = try shown.all() == bytes
        #expect(isSame, "round \(round), snapshot \(index)")
      }
      guard round < 2 else { break }
      kept.append(model.bytes)
      // Counts of two bits take three references.
      #expect(scratch.shell("qemu-img snapshot -c s\(round) q") == 0)
    }
    // Without them nothing is left over.
    #expect(scratch.shell("qemu-img snapshot -d s0 q; qemu-img snapshot -d s1 q") == 0)
    #expect(scratch.qemuCheck("q") == 0)
    let isSame = scratch.qemuBytes("q") == model.bytes
    #expect(isSame)
  }

  @Test("what is not ours to write is refused, with the remedy")
  func refusals() throws {
    let cases: [(String, String)] = [
      ("-o compat=0.10", "ttblk image upgrade"), ("-o extended_l2=on", "subclusters"),
      ("-o data_file=d", "external data file"),
    ]
    for (options, text) in cases {
      let scratch = Scratch()
      #expect(scratch.shell("qemu-img create -q -f qcow2 \(options) q 1M") == 0)
      do throws(DiskImageError) {
        _ = try openImage(path: scratch.file("q"), registry: FileRegistry())
        Issue.record("\(options) was opened")
      } catch { #expect(error.description.contains(text), "\(error)") }
    }
    for (bit, defect) in [(1, QCOW2.Defect.dirty), (2, .corrupt)] {
      let scratch = Scratch()
      #expect(scratch.shell("qemu-img create -q -f qcow2 q 1M") == 0)
      var bytes = DiskImageTests.readFile(scratch.file("q"))
      bytes[79] = UInt8(bit)
      scratch.write("q", bytes)
      #expect(throws: DiskImageError.qcow2(path: scratch.file("q"), defect)) {
        try openImage(path: scratch.file("q"), registry: FileRegistry())
      }
    }
  }
}
