// Our check against QEMU's.
import BlockIO
import Foundation
import Glibc
import Simulation
import Testing

@testable import DiskImage

/// What `qemu-img check --output=json` says.
struct QEMUCheck: Decodable {
  let corruptions: UInt64?
  let leaks: UInt64?
  let allocated: UInt64?
  let compressed: UInt64?
  let fragmented: UInt64?
  let total: UInt64?

  enum CodingKeys: String, CodingKey {
    case corruptions, leaks
    case allocated = "allocated-clusters"
    case compressed = "compressed-clusters"
    case fragmented = "fragmented-clusters"
    case total = "total-clusters"
  }

  /// Nil when QEMU does not even look.
  static func check(_ scratch: Scratch, _ name: String) -> QEMUCheck? {
    let code = scratch.shell("qemu-img check -f qcow2 --output=json \(name) >.check")
    guard [0, 2, 3].contains(code) else { return nil }
    return try? JSONDecoder().decode(QEMUCheck.self, from: Data(readFile(scratch.file(".check"))))
  }
}

@Suite("Checking qcow2") struct QCOW2CheckTests {
  static func check(_ scratch: Scratch) throws(DiskImageError) -> QCOW2.CheckReport {
    try QCOW2.check(path: scratch.file("q"), lock: false, registry: FileRegistry())
  }

  static func expectSameFigures(_ scratch: Scratch) throws {
    let ours = try Self.check(scratch)
    let theirs = try #require(QEMUCheck.check(scratch, "q"))
    #expect(ours.errors == theirs.corruptions ?? 0, "\(ours.messages)")
    #expect(ours.leaks == theirs.leaks ?? 0, "\(ours.messages)")
    #expect(ours.allocatedClusters == theirs.allocated ?? 0)
    #expect(ours.compressedClusters == theirs.compressed ?? 0)
    #expect(ours.fragmentedClusters == theirs.fragmented ?? 0)
    #expect(ours.totalClusters == theirs.total ?? 0)
  }

  /// An image with a bit of everything.
  static func specimen(_ scratch: Scratch, _ seed: UInt64) {
    let io = "qemu-io -f qcow2"
    let size = ["512", "4k", "64k"][Int(seed % 3)]
    scratch.shell(
      """
      qemu-img create -q -f qcow2 -o cluster_size=\(size) q 2M
      \(io) -c 'write -P 1 0 100k' -c 'write -c -P 2 256k 64k' -c 'write -z 512k 64k' q
      qemu-img snapshot -c s q
      \(io) -c 'write -P 3 50k 100k' q
      """)
  }

  @Test("damage is an error, a leak or nothing where it is to QEMU", arguments: UInt64(0)..<3)
  func damage(seed: UInt64) throws {
    let scratch = Scratch()
    var random = RandomStream(seed: seed, name: "qcow2 damage")
    Self.specimen(scratch, seed)
    let good = readFile(scratch.file("q"))
    let cluster = 1 << Int(good[23])
    // Where the tables are: everything that is no data.
    let header = try QCOW2.Header(parsing: good.span.bytes)
    var different: [String] = []
    for round in 0..<30 * soak {
      var bytes = good
      let starts = [Int(header.l1Offset), Int(header.refcountTableOffset), Int(header.snapshotsOffset)]
      var place = starts[Int(random.next() % 3)] + Int(random.next() % 64)
      if random.next() % 2 == 0 {
        // A table that one of these leads to.
        let entry = good.span.bytes.u64(starts[Int(random.next() % 2)]) & QCOW2.EntryBits.offset
        if entry > 0 { place = Int(entry) + Int(random.next() % UInt64(min(cluster, 512))) }
      }
      guard place < bytes.count else { continue }
      bytes[place] ^= UInt8(1 << (random.next() % 8))
      scratch.write("q", bytes)
      let theirs = QEMUCheck.check(scratch, "q")
      let ours = try? Self.check(scratch)
      func word(_ errors: UInt64?, _ leaks: UInt64?) -> String {
        errors ?? 0 > 0 ? "corrupt" : leaks ?? 0 > 0 ? "leaks" : "good"
      }
      let a = theirs.map { word($0.corruptions, $0.leaks) } ?? "refused"
      let b = ours.map { word($0.errors, $0.leaks) } ?? "refused"
      // QEMU gives up on some tables that we can say something of.
      if a != b, (a, b) != ("refused", "corrupt") {
        different.append("round \(round), byte \(place): \(a) is \(b) \(ours?.messages ?? [])")
      }
      guard
        let disk = try? openImage(
          path: scratch.file("q"), options: ImageOptions(readOnly: true, lock: false),
          registry: FileRegistry())
      else { continue }
      _ = try? disk.all()
      try? disk.close()
    }
    #expect(different.isEmpty, "\(different.joined(separator: "\n"))")
  }

  @Test("a repair leaves nothing that QEMU minds, and the bytes as they were", arguments: UInt64(0)..<3)
  func repair(seed: UInt64) throws {
    let scratch = Scratch()
    var random = RandomStream(seed: seed, name: "qcow2 repair")
    Self.specimen(scratch, seed)
    let good = readFile(scratch.file("q"))
    let before = scratch.qemuBytes("q")
    let header = try QCOW2.Header(parsing: good.span.bytes)
    let block = Int(good.span.bytes.u64(Int(header.refcountTableOffset)))
    let l2 = Int(good.span.bytes.u64(Int(header.l1Offset)) & QCOW2.EntryBits.offset)
    for round in 0..<10 * soak {
      var bytes = good
      for _ in 0...random.next() % 4 {
        switch random.next() % 4 {
        // Counts, flags, a missing block, marks.
        case 0: bytes[block + 2 * Int(random.next() % 60) + 1] = UInt8(random.next() % 4)
        case 1: bytes[l2 + 8 * Int(random.next() % 20)] ^= 0x80
        case 2: if random.next() % 3 == 0 { bytes[Int(header.refcountTableOffset) + 6] = 0 }
        default: bytes[79] = UInt8(random.next() % 4)
        }
      }
      scratch.write("q", bytes)
      // A compressed cluster has no flag: that entry leads elsewhere, and no repair knows where it led.
      guard let theirs = QEMUCheck.check(scratch, "q") else { continue }
      let lenient = try QCOW2.repair(path: scratch.file("q"), .leaks, lock: false, registry: FileRegistry())
      #expect(lenient.after.leaks == 0)
      #expect((lenient.before.errors > 0) == (theirs.corruptions ?? 0 > 0), "\(lenient.before.messages)")
      let strict = try QCOW2.repair(path: scratch.file("q"), .all, lock: false, registry: FileRegistry())
      #expect(strict.after.leaks == 0, "\(strict.after.messages)")
      if strict.after.errors == 0 {
        #expect(scratch.qemuCheck("q") == 0, "round \(round)")
        let isSame = scratch.qemuBytes("q") == before
        #expect(isSame, "round \(round)")
        let disk = try openQCOW2(scratch, FileRegistry())
        try disk.put([1, 2, 3], at: 300_000)
        try disk.close()
        #expect(scratch.qemuCheck("q") == 0, "round \(round)")
      } else {
        #expect(scratch.qemuCheck("q") == 2, "round \(round)")
      }
    }
  }

  /// Where the first block of counts and the first L2 table are, in bytes.
  static func places(_ bytes: [UInt8]) throws -> (block: Int, l2: Int) {
    let header = try QCOW2.Header(parsing: bytes.span.bytes)
    return (
      Int(bytes.span.bytes.u64(Int(header.refcountTableOffset))),
      Int(bytes.span.bytes.u64(Int(header.l1Offset)) & QCOW2.EntryBits.offset)
    )
  }

  /// The file "q" with 64 KiB written: its bytes, where counts and L2 table are, and the number of the cluster.
  static func oneCluster(
    _ scratch: Scratch
  ) throws -> (bytes: [UInt8], block: Int, l2: Int, cluster: Int) {
    scratch.shell("qemu-img create -q -f qcow2 q 2M; qemu-io -f qcow2 -c 'write -P 1 0 64k' q")
    let bytes = readFile(scratch.file("q"))
    let (block, l2) = try places(bytes)
    return (bytes, block, l2, Int(bytes.span.bytes.u64(l2) & QCOW2.EntryBits.offset) >> 16)
  }

  @Test("a repair of leaks puts right the flags that say otherwise then")
  func leaksAndFlags() throws {
    let scratch = Scratch()
    var (bytes, block, l2, cluster) = try Self.oneCluster(scratch)
    bytes[block + 2 * cluster + 1] = 2
    bytes[l2] &= 0x7f
    scratch.write("q", bytes)
    let result = try QCOW2.repair(path: scratch.file("q"), .leaks, lock: false, registry: FileRegistry())
    #expect(result.before.errors == 0 && result.before.leaks == 1, "\(result.before.messages)")
    #expect(result.after.errors == 0 && result.after.leaks == 0, "\(result.after.messages)")
    #expect(scratch.qemuCheck("q") == 0)
  }

  @Test("a block of counts that is the disk's bytes, too, is not written")
  func countsThatAreData() throws {
    let scratch = Scratch()
    var (bytes, block, l2, cluster) = try Self.oneCluster(scratch)
    bytes[block + 2 * cluster + 1] = 5
    bytes.replaceSubrange(l2 + 6..<l2 + 8, with: [UInt8(block >> 8 & 0xff), UInt8(block & 0xff)])
    bytes[l2 + 5] = UInt8(block >> 16)
    scratch.write("q", bytes)
    let counts = Array(bytes[block..<block + 65536])
    let lenient = try QCOW2.repair(path: scratch.file("q"), .leaks, lock: false, registry: FileRegistry())
    #expect(lenient.before.errors > 0 && lenient.before.leaks > 0)
    let isSame = readFile(scratch.file("q")) == bytes
    #expect(isSame)
    _ = try QCOW2.repair(path: scratch.file("q"), .all, lock: false, registry: FileRegistry())
    let disk = try openImage(
      path: scratch.file("q"), options: ImageOptions(readOnly: true, lock: false), registry: FileRegistry())
    let isKept = try disk.bytes(0..<65536) == counts
    #expect(isKept)
    try disk.close()
    #expect(scratch.qemuCheck("q") == 0)
  }

  @Test("a disk that was left dirty is refused, repaired, and written again")
  func dirty() throws {
    let scratch = Scratch()
    let script = try #require(QCOW2ReadTests.shapes.first { $0.0 == "lazy counts, dirty" }?.1)
    try #require(scratch.shell(script) == 0)
    #expect(throws: DiskImageError.qcow2(path: scratch.file("q"), .dirty)) {
      try openQCOW2(scratch, FileRegistry())
    }
    let result = try QCOW2.repair(path: scratch.file("q"), .all, lock: false, registry: FileRegistry())
    #expect(result.before.errors > 0 && result.after.errors == 0 && result.after.leaks == 0)
    let disk = try openQCOW2(scratch, FileRegistry())
    #expect(try disk.bytes(65536..<65540) == [3, 3, 3, 3])
    try disk.put([4], at: 0)
    try disk.close()
    #expect(scratch.qemuCheck("q") == 0)
  }
}
