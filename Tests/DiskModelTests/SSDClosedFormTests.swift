// Sums that are known: one request at a time, to the nanosecond.
import DiskModel
import Simulation
import Testing

@Suite struct SSDClosedFormTests {
  /// NVMeVirt's 970 PRO, whose transfer times are truncated to 152 and 36 ns for 128 bytes: so are ours, as
  /// the preset's bandwidths are chosen for it.
  private func probe(_ changes: ParameterTable = [:]) throws -> SSDProbe {
    SSDProbe(try SSDBench.model("ssd-nvme-mlc", disk: 64 << 20, changes))
  }

  @Test func aReadTakesFirmwareSensingChannelAndLink() throws {
    var probe = try probe()
    var seen: Set<UInt64> = []
    for page in stride(from: UInt64(0), to: 16384, by: 251) { seen.insert(probe.latency(.read, page: page)) }
    // 21.5 + (35.76 ∓ 6) + 32·0.152 + 32·0.036 us: the two types of pages of MLC.
    #expect(seen == [57_276, 69_276])
  }

  @Test func aBufferedWriteTakesFirmwareAndLink() throws {
    var probe = try probe()
    #expect(probe.latency(.write, page: 77) == 4_000 + 460 + 1_152)
    #expect(probe.latency(.write, page: 8, pages: 4) == 4_000 + 4 * 460 + 4 * 1_152)
  }

  @Test func aLargeReadOverlapsChannelsAndLink() throws {
    var probe = try probe()
    // Four partitions read a flash page each and send it in two chunks of 16 KiB; the link takes the four
    // chunks that come at the same time one after the other.
    let chunk: UInt64 = 128 * 152
    let link: UInt64 = 128 * 36
    let low = probe.latency(.read, page: 0, pages: 32)
    let high = probe.latency(.read, page: 128, pages: 32)
    #expect(
      Set([low, high]) == [30_013, 42_013].reduce(into: []) { $0.insert(30_490 + $1 + 2 * chunk + 4 * link) })
    #expect((116_000...132_000).contains(low) && (116_000...132_000).contains(high))
  }

  @Test func aFlushAfterFullUnitsWaitsForTheirProgram() throws {
    var probe = try probe()
    // Eight pages for each partition: a unit of 32 KiB for four dies on channels of their own.
    #expect(probe.latency(.write, pages: 32) == 4_000 + 32 * 460 + 32 * 1_152)
    #expect(probe.latency(.flush) == 4_000)
    let write = probe.submit(.write, page: 32, pages: 32)
    probe.run(until: probe.now + 4_000 + 32 * 460 + 32 * 1_152)
    #expect(probe.ends[write] == probe.now)
    #expect(probe.latency(.flush) == 256 * 152 + 185_000)
  }

  @Test func aFlushClosesWhatIsNotFull() throws {
    var probe = try probe()
    #expect(probe.latency(.write, page: 5) == 5_612)
    #expect(probe.latency(.flush) == 256 * 152 + 185_000)
    #expect(probe.model.counters.contains(ModelCounter("closed_pages", 7)))
    // Nothing was written since: the firmware sees that.
    #expect(probe.latency(.flush) == 4_000)
  }

  @Test func powerLossProtectionMakesFlushesAndForcedWritesCheap() throws {
    var probe = try probe(["power_loss_protection": true, "flush": "3us"])
    #expect(probe.latency(.write, page: 5, forced: true) == 5_612)
    #expect(probe.latency(.flush) == 3_000)
    #expect(probe.model.counters.contains(ModelCounter("programs", 0)))
  }

  @Test func aForcedWriteIsDoneWhenItsUnitsAreProgrammed() throws {
    var probe = try probe()
    #expect(probe.latency(.write, page: 5, forced: true) == 5_612 + 223_912)
    #expect(probe.model.counters.contains(ModelCounter("closed_pages", 7)))
    // Two units of one partition's dies, on two channels; the other partitions have nothing to close.
    let both = probe.latency(.write, page: 64, pages: 64, forced: true)
    #expect(both == 4_000 + 64 * 460 + 64 * 1_152 + 223_912)
    #expect(probe.model.counters.contains(ModelCounter("closed_pages", 7)))
    #expect(probe.model.counters.contains(ModelCounter("programs", 9)))
  }

  @Test func pagesWithoutFlashAreReadFromTheController() throws {
    var probe = try probe(["precondition": "none"])
    #expect(probe.latency(.read, page: 9) == 21_500 + 1_152)
    _ = probe.latency(.write, page: 9)
    // In the buffer: its unit is not full.
    #expect(probe.latency(.read, page: 9) == 21_500 + 1_152)
    _ = probe.latency(.flush)
    #expect([57_276, 69_276].contains(probe.latency(.read, page: 9)))
    _ = probe.latency(.discard, page: 9)
    #expect(probe.latency(.read, page: 9) == 21_500 + 1_152)
    #expect(probe.model.counters.contains(ModelCounter("mapped_pages", 0)))
    #expect(probe.model.counters.contains(ModelCounter("buffer_hit_pages", 1)))
    #expect(probe.model.counters.contains(ModelCounter("unmapped_pages_read", 2)))
  }

  @Test func discardsAndZeroesCostTheirOwn() throws {
    var probe = try probe(["write_zeroes": "9us"])
    // The disk's 16,384, and what rounding has added to the drive.
    let all = try #require(probe.model.counters.first { $0.name == "mapped_pages" }).value
    #expect((16_384..<16_500).contains(all))
    // 4 TiB/s: 4 MiB take a microsecond.
    #expect(probe.latency(.discard, page: 0, pages: 1024) == 5_000 + 954)
    #expect(probe.latency(.writeZeroes, page: 4096, pages: 1024) == 9_000)
    #expect(probe.model.counters.contains(ModelCounter("mapped_pages", all - 2048)))
    #expect(probe.model.counters.contains(ModelCounter("dies_busy_ns", 0)))
    // Half pages stay.
    let half = probe.submit(.discard, offset: 8192 * 4096 + 512, length: 8192)
    probe.drain()
    #expect(probe.ends[half] != nil)
    #expect(probe.model.counters.contains(ModelCounter("mapped_pages", all - 2049)))
    var writing = try self.probe(["write_zeroes_mode": "write"])
    #expect(writing.latency(.writeZeroes, page: 0, pages: 8) == 4_000 + 8 * 460)
    #expect(writing.model.counters.contains(ModelCounter("host_pages_written", 8)))
  }

  @Test func aFlushThatIsNotQueuedHoldsWhatComesAfterIt() throws {
    let changes: ParameterTable = ["flush_queued": false, "flush": "1ms"]
    var probe = try probe(changes)
    let write = probe.submit(.write, page: 5)
    let flush = probe.submit(.flush)
    let read = probe.submit(.read, page: 100)
    let second = probe.submit(.flush)
    let last = probe.submit(.read, page: 100)
    probe.drain()
    #expect(probe.ends[write] == 5_612)
    let flushed: UInt64 = 5_612 + 223_912 + 1_000_000
    #expect(probe.ends[flush] == flushed)
    #expect([57_276, 69_276].contains((probe.ends[read] ?? 0) - flushed))
    // The second one finds nothing to do, once the read before it is done.
    #expect(probe.ends[second] == (probe.ends[read] ?? 0) + 4_000)
    #expect((probe.ends[last] ?? 0) > (probe.ends[second] ?? .max))
    // NVMe: the read goes on.
    var queued = try self.probe(["flush": "1ms"])
    _ = queued.latency(.write, page: 5)
    let start = queued.now
    _ = queued.submit(.flush)
    let free = queued.submit(.read, page: 6)
    queued.drain()
    #expect([57_276, 69_276].contains((queued.ends[free] ?? 0) - start))
  }

  @Test func aReadWaitsForTheProgramOfItsDieUnlessThatIsSuspended() throws {
    func wait(_ changes: ParameterTable, after: UInt64) throws -> (read: UInt64, flush: UInt64) {
      let one: ParameterTable = [
        "channels": 1, "dies_per_channel": 1, "partitions": 1, "write_buffer": "64KiB",
        "read": "40us", "read_4k": "40us",
      ]
      var probe = SSDProbe(try SSDBench.model("ssd-nvme-mlc", disk: 64 << 20, one.merging(changes)))
      _ = probe.latency(.write, page: 0, pages: 7)
      let last = probe.submit(.write, page: 7)
      probe.run(until: probe.now + 5_612)
      #expect(probe.ends[last] == probe.now)
      let start = probe.now
      let flush = probe.submit(.flush)
      // The firmware's time before the read comes to the die.
      probe.run(until: start + after - 21_500)
      let read = probe.submit(.read, page: 100)
      probe.drain()
      return ((probe.ends[read] ?? 0) - start, (probe.ends[flush] ?? 0) - start)
    }
    let (transfer, page): (UInt64, UInt64) = (256 * 152, 40_000 + 32 * 152)
    let program = transfer + 185_000
    let plain = try wait([:], after: 60_000)
    #expect(plain == (program + page + 1_152, program))
    let suspending: ParameterTable = ["scheduler": "read_first", "program_suspend": "20us"]
    let suspended = try wait(suspending, after: 60_000)
    #expect(suspended == (60_000 + 20_000 + page + 1_152, program + page))
    // Still loading, or nearly done: the read waits for the end.
    #expect(try wait(suspending, after: 30_000) == (program + page + 1_152, program))
    #expect(try wait(suspending, after: program - 10_000) == (program + page + 1_152, program))
  }

  @Test func aMapThatDoesNotFitCostsAnotherRead() throws {
    var probe = SSDProbe(
      try SSDBench.model(
        "ssd-nvme-mlc", disk: 1 << 30, ["map_cache": "64KiB", "read": "40us", "read_4k": "40us"]))
    let plain: UInt64 = 21_500 + 40_000 + 4_864 + 1_152
    #expect(probe.latency(.read, page: 0) == plain + 40_000 + 4_864)
    #expect(probe.latency(.read, page: 1023) == plain)
    #expect(probe.latency(.read, page: 1024) == plain + 40_000 + 4_864)
    // Sixteen pages of the map fit; the one used longest ago has gone.
    for page in 2..<17 { _ = probe.latency(.read, page: UInt64(page) * 1024) }
    #expect(probe.latency(.read, page: 1024) == plain)
    #expect(probe.latency(.read, page: 0) == plain + 40_000 + 4_864)
    #expect(probe.model.counters.contains(ModelCounter("map_reads", 18)))
  }

  @Test func aMissFetchesAsMuchOfTheMapAsItIsTold() throws {
    var probe = SSDProbe(
      try SSDBench.model(
        "ssd-nvme-mlc", disk: 1 << 30,
        ["map_cache": "64KiB", "map_fetch": 512, "read": "40us", "read_4k": "40us"]))
    // 512 bytes take an eighth of what a page takes on the channel, and have 128 entries.
    let plain: UInt64 = 21_500 + 40_000 + 4_864 + 1_152
    let miss: UInt64 = 40_000 + 4_864 / 8
    #expect(probe.latency(.read, page: 0) == plain + miss)
    #expect(probe.latency(.read, page: 127) == plain)
    #expect(probe.latency(.read, page: 128) == plain + miss)
    // 128 pieces fit.
    for piece in 2..<129 { _ = probe.latency(.read, page: UInt64(piece) * 128) }
    #expect(probe.latency(.read, page: 128) == plain)
    #expect(probe.latency(.read, page: 0) == plain + miss)
    #expect(probe.model.counters.contains(ModelCounter("map_reads", 130)))
  }
}
