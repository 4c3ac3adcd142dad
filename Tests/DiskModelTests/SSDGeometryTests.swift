// Large drives for small disks: what stays, what shrinks, and how much memory it takes.
import DiskModel
import Simulation
import Testing

@Suite struct SSDGeometryTests {
  @Test func spareFlashStaysExactWhateverTheDisk() throws {
    let seed: UInt64 = 11
    print("seed \(seed)")
    var random = RandomStream(seed: seed, name: "geometry")
    for _ in 0..<300 {
      let shift: UInt64 = 24 + random.next(upperBound: UInt64(18))
      let disk = 1 + random.next(upperBound: UInt64(1) << shift)
      let thousandths = 1000 + Int(random.next(upperBound: UInt64(100_000)))
      let digits = String(1000 + thousandths % 1000).dropFirst()
      let model = try SSDBench.model(
        "ssd-nvme-mlc", disk: disk,
        ["precondition": "none", "over_provisioning": .string("\(thousandths / 1000).\(digits)%")])
      #expect(model.logicalBytes >= disk)
      let wanted = Double(model.logicalBytes) * (1 + Double(thousandths) / 100_000)
      // To a page.
      let rest = Double(model.flashBytes) - wanted
      #expect(rest >= 0 && rest < 3 * 4096, "\(disk) \(thousandths)")
      // And no larger than the disk asks for, unless that is a small one.
      #expect(
        Double(model.logicalBytes) <= Double(disk) * 1.004 + Double(256 << 20), "\(disk) \(thousandths)")
    }
  }

  @Test func theChoiceIsTold() throws {
    func text(_ disk: UInt64, _ changes: ParameterTable = [:]) throws -> String {
      try SSDBench.model("ssd-nvme-mlc", disk: disk, changes).placement ?? ""
    }
    #expect(
      try text(1 << 30)
        == "8 channels and 16 dies as in the drive, 8768 lines of 128 KiB (blocks of 32 KiB) "
        + "for a part of its 476.8 GiB; 7.000 % spare")
    let tiny = try text(1 << 20)
    #expect(tiny.contains("the disk is the beginning of a drive of"), "\(tiny)")
    #expect(!tiny.contains("\n"))
    #expect(try text(1 << 30, ["capacity": "256MiB"]).contains("for more than its 256 MiB"))
  }

  @Test func memoryIsTakenWhereItWasWrittenAndNeverMuch() throws {
    // A full terabyte takes nothing at first.
    var probe = SSDProbe(try SSDBench.model("ssd-nvme-mlc", disk: 1 << 40, [:]))
    #expect(probe.model.tableMemory == 0)
    _ = probe.latency(.read, page: 1 << 27)
    #expect(probe.model.tableMemory == 0)
    _ = probe.latency(.write, page: 1 << 27, pages: 8)
    #expect(probe.model.tableMemory < 512 << 10)
    // Nor does it when all of it is discarded.
    _ = probe.latency(.discard, page: 0, pages: 1 << 28)
    #expect(probe.model.tableMemory < 512 << 10)
    // The drive is a little larger than the disk.
    let rest = probe.model.logicalBytes / 4096 - (1 << 28)
    #expect(probe.model.counters.contains(ModelCounter("mapped_pages", rest)))
    // Everything written: at most eight bytes for each 4 KiB of flash.
    let full = try SSDBench.model("ssd-nvme-mlc", disk: 120 << 20, ["precondition": "random:1"])
    #expect(full.tableMemory > 0)
    // But for what the last chunks of the four tables have too many.
    #expect(UInt64(full.tableMemory) <= full.flashBytes / 4096 * 8 + 4 * 16_384)
  }

  @Test func discardsOfWholePiecesCountAsPageByPage() throws {
    var whole = SSDProbe(try SSDBench.model("ssd-nvme-mlc", disk: 256 << 20, [:]))
    let all = try #require(whole.model.counters.first { $0.name == "mapped_pages" }).value
    _ = whole.latency(.discard, page: 4096, pages: 8192)
    #expect(whole.model.violation() == nil)
    var pages = SSDProbe(try SSDBench.model("ssd-nvme-mlc", disk: 256 << 20, [:]))
    for page in stride(from: UInt64(4096), to: 12288, by: 512) {
      _ = pages.latency(.discard, page: page, pages: 512)
    }
    #expect(pages.model.violation() == nil)
    for name in ["mapped_pages", "discarded_pages"] {
      #expect(
        whole.model.counters.first { $0.name == name } == pages.model.counters.first { $0.name == name },
        "\(name)")
    }
    // Written again, and read.
    for page in 4090..<4110 as Range<UInt64> { _ = whole.latency(.write, page: page) }
    #expect(whole.model.violation() == nil)
    #expect(whole.model.counters.contains(ModelCounter("mapped_pages", all - 8192 + 14)))
  }

  @Test func writesLargerThanTheBufferGoThroughInPieces() throws {
    var probe = SSDProbe(try SSDBench.model("ssd-nvme-mlc", disk: 256 << 20, [:]))
    let large = probe.submit(.write, page: 0, pages: 4096)
    // The firmware is done with it, and the buffer full of it.
    probe.run(until: 3_000_000)
    let small = probe.submit(.write, page: 5000)
    probe.drain()
    #expect(probe.model.violation() == nil)
    // Behind it in line.
    #expect((probe.ends[small] ?? 0) > (probe.ends[large] ?? .max))
    // 16 dies program 4096 pages, less what stays in the buffer.
    #expect((probe.ends[large] ?? 0) > (4096 - 256) / 128 * 223_912)
    #expect(probe.model.counters.contains(ModelCounter("host_pages_written", 4097)))
  }

  @Test func diskModelsThatAreTooLargeAreRefused() throws {
    #expect(throws: DiskModelError.self) { try SSDBench.model("ssd-nvme-mlc", disk: 8 << 40, [:]) }
    #expect(throws: DiskModelError.self) { try SSDBench.model("ssd-nvme-mlc", disk: .max, [:]) }
  }

  @Test func copyingIsASnapshotOfTheTables() throws {
    var probe = SSDProbe(try SSDBench.model("ssd-nvme-mlc", disk: 32 << 20, ["precondition": "random:1"]))
    let copy = probe
    for page in 0..<200 as Range<UInt64> { _ = probe.latency(.write, page: page * 31) }
    #expect(copy.model.violation() == nil)
    #expect(probe.model.violation() == nil)
  }
}
