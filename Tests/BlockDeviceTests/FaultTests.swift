// Every kind of fault, against what a disk without it would hold.
import DiskModel
import Glibc
import Simulation
import Telemetry
import Testing

@testable import BlockDevice

@Suite("A fault") struct FaultTests {
  /// The numbers of the first sectors at first.
  private func initial(_ sectors: Range<Int>) -> [UInt64?] { sectors.map { FaultRig.initial($0) } }

  @Test("io-error: the request fails with EIO and does nothing, the others do not fail")
  func ioError() throws {
    let rig = try FaultRig([
      .make(.ioError) {
        $0.operations = [.write, .flush]
        $0.trigger.period = .requests(3)
        $0.trigger.count = 2
      }
    ])
    let writes = (0..<9).map { rig.submit(.write, $0..<$0 + 1, number: 5) }
    #expect(writes.map { rig.status($0) == .ioError } == (0..<9).map { $0 == 2 || $0 == 5 })
    #expect(rig.answers[writes[2]]?.code == EIO && rig.answers[writes[3]]?.code == 0)
    #expect(rig.read(0..<9) == (0..<9).map { $0 == 2 || $0 == 5 ? FaultRig.initial($0) : 5 })
    #expect(rig.records.map(\.request) == [writes[2], writes[5]])
  }

  @Test(
    "latent-errors: sectors fail to be read until they are written, and their data is there when it is over")
  func latentErrors() throws {
    let rig = try FaultRig([
      .make(.latentErrors) {
        $0.sectors = 8..<16
        $0.trigger.at = .milliseconds(10)
        $0.trigger.until = .milliseconds(30)
      }
    ])
    rig.write(9..<10, 4)
    #expect(rig.read(0..<16) != nil)
    rig.advance(to: .milliseconds(10))
    #expect(rig.read(0..<8) == initial(0..<8))
    #expect(rig.read(7..<9) == nil)
    #expect(rig.records.last?.numbers("sectors") == [8])
    #expect(rig.write(10..<12, 7) == .ok)
    #expect(rig.read(10..<12) == [7, 7])
    #expect(rig.read(10..<13) == nil)
    rig.submit(.discard, 13..<14)
    #expect(rig.read(13..<14) == [0])
    rig.advance(to: .milliseconds(30))
    let now: [UInt64?] = [FaultRig.initial(8), 4, 7, 7, FaultRig.initial(12), 0] + initial(14..<16)
    #expect(rig.read(8..<16) == now)
  }

  @Test("latent-errors come and go with their period, and what was written meanwhile stays readable")
  func togglingErrors() throws {
    let rig = try FaultRig([
      .make(.latentErrors) {
        $0.sectors = 0..<64
        $0.number = 20
        $0.trigger.period = .span(.milliseconds(10))
        $0.trigger.duration = .milliseconds(5)
      }
    ])
    let bad = (0..<64).filter { rig.read($0..<$0 + 1) == nil }
    #expect((12...20).contains(bad.count))
    rig.advance(to: .milliseconds(6))
    #expect(rig.read(0..<64) == initial(0..<64))
    rig.write(bad[0]..<bad[0] + 1, 9)
    rig.advance(to: .milliseconds(11))
    #expect((0..<64).filter { rig.read($0..<$0 + 1) == nil } == Array(bad.dropFirst()))
  }

  @Test("lost-write: said to be done, and nowhere")
  func lostWrite() throws {
    let rig = try FaultRig([.make(.lostWrite) { $0.sectors = 4..<6 }])
    #expect(rig.write(0..<4, 5) == .ok && rig.write(5..<8, 6) == .ok)
    #expect(rig.read(0..<8) == [5, 5, 5, 5] + initial(4..<8))
  }

  @Test("misdirected-write: said to be done, and in one other place, which the log names")
  func misdirectedWrite() throws {
    var places: Set<UInt64> = []
    for seed in 0..<40 {
      let rig = try FaultRig([.make(.misdirectedWrite) { $0.trigger.after = 1 }], seed: UInt64(seed))
      rig.write(0..<1, 3)
      #expect(rig.write(10..<14, 5) == .ok)
      let to = try #require(rig.records.first?.numbers("to").first)
      let first = Int(to / 512)
      #expect(first != 10)
      var expected = initial(0..<rig.sectorCount)
      expected[0] = 3
      for sector in first..<first + 4 { expected[sector] = 5 }
      #expect(try rig.closeAndRead() == expected)
      places.insert(to)
    }
    #expect(places.count > 20)
  }

  @Test("corrupt-write and bit-rot flip the bits that the log names; the rot is not on the disk")
  func flips() throws {
    for kind in [FaultKind.corruptWrite, .bitRot] {
      let rig = try FaultRig([
        .make(kind) {
          $0.bits = 3
          $0.trigger.count = 1
          $0.sectors = 8..<12
        }
      ])
      rig.write(8..<12, 6)
      let read = rig.submit(.read, 8..<12)
      var expected = (8..<12).flatMap { _ in FaultRig.sector(6) }
      let flips = try #require(rig.records.first?.numbers("flips"))
      #expect(flips.count == 3)
      for bit in flips { expected[Int(bit / 8)] ^= 1 << UInt8(bit % 8) }
      #expect(rig.bytes(read, count: 2048) == expected)
      let again = rig.submit(.read, 8..<12)
      #expect(
        rig.bytes(again, count: 2048)
          == (kind == .bitRot ? (8..<12).flatMap { _ in FaultRig.sector(6) } : expected))
    }
  }

  @Test("stale-read: the content before the last write, where there was one, with and without a cache")
  func staleRead() throws {
    let stale = Fault.make(.staleRead) { $0.trigger.period = .requests(2) }
    for faults in [[stale], [stale, .make(.powerCut) { $0.trigger.after = 1000 }]] {
      let rig = try FaultRig(faults)
      rig.write(0..<8, 5)
      rig.write(0..<4, 6)
      let now: [UInt64?] = [6, 6, 6, 6, 5, 5, 5, 5] + initial(8..<16)
      #expect(rig.read(0..<16) == now)
      // A page is 8 sectors: all of it is as it was before the last write to it.
      #expect(rig.read(0..<16) == [5, 5, 5, 5, 5, 5, 5, 5] + initial(8..<16))
      #expect(rig.read(0..<16) == now)
      rig.write(8..<9, 7)
      #expect(rig.read(4..<9) == [5, 5, 5, 5] + initial(8..<9))
      #expect(rig.read(8..<9) == [7])
    }
  }

  @Test("no-space: pages that were not written before cannot be, others can; a discard gives space back")
  func noSpace() throws {
    let rig = try FaultRig([.make(.noSpace) { $0.space = 8192 }])
    #expect(rig.write(0..<16, 5) == .ok)
    let failed = rig.submit(.write, 16..<17, number: 5)
    #expect(rig.status(failed) == .ioError && rig.answers[failed]?.code == ENOSPC)
    #expect(rig.write(3..<12, 6) == .ok && rig.write(15..<17, 6) == .ioError)
    #expect(rig.status(rig.submit(.writeZeroes, 24..<32, mayUnmap: false)) == .ioError)
    rig.submit(.discard, 8..<16)
    #expect(rig.write(16..<17, 7) == .ok && rig.write(8..<9, 7) == .ioError)
    #expect(rig.read(14..<18) == [0, 0, 7] + initial(17..<18))
  }

  @Test("slow: so much longer than the model says, in its window")
  func slow() throws {
    let rig = try FaultRig(
      [
        .make(.slow) {
          $0.factor = 2500
          $0.extra = .milliseconds(1)
          $0.trigger.at = .milliseconds(100)
          $0.trigger.duration = .milliseconds(100)
        }
      ], model: AffineModel(latency: .milliseconds(4)))
    var took: [UInt64] = []
    for start: UInt64 in [0, 100, 199, 210, 300] {
      rig.advance(to: .milliseconds(start))
      let begun = rig.now
      let tag = rig.submit(.read, 0..<1)
      rig.drain()
      took.append(try #require(rig.times[tag]).since(begun).nanoseconds / 1_000_000)
    }
    #expect(took == [4, 11, 11, 4, 4])
    // Without a model there is nothing to multiply.
    let bare = try FaultRig([.make(.slow) { $0.extra = .milliseconds(2) }])
    let tag = bare.submit(.write, 0..<1, number: 4)
    #expect(bare.status(tag) == nil)
    bare.drain()
    #expect(bare.times[tag] == .milliseconds(2))
  }

  @Test("stall: nothing completes until it is over, again and again")
  func stall() throws {
    for model in [nil, AffineModel(latency: .milliseconds(1))] {
      let rig = try FaultRig(
        [
          .make(.stall) {
            $0.trigger.at = .milliseconds(10)
            $0.trigger.duration = .milliseconds(5)
            $0.trigger.period = .span(.milliseconds(20))
          }
        ], model: model)
      let latency: UInt64 = model == nil ? 0 : 1
      var tags: [UInt64] = []
      for start: UInt64 in [0, 9, 10, 14, 15, 29, 31, 36] {
        rig.advance(to: .milliseconds(start))
        tags.append(rig.submit(.write, 0..<1, number: start))
      }
      rig.drain()
      let ends = tags.map { (rig.times[$0]?.nanoseconds ?? 0) / 1_000_000 }
      #expect(ends == (latency == 0 ? [0, 9, 15, 15, 15, 29, 35, 36] : [1, 15, 15, 15, 16, 35, 35, 37]))
      #expect(rig.records.map(\.time) == [.milliseconds(10), .milliseconds(30)])
    }
  }

  @Test("a stall after a number of requests begins with the next one")
  func stallAfterRequests() throws {
    let rig = try FaultRig([
      .make(.stall) {
        $0.trigger.after = 3
        $0.trigger.duration = .milliseconds(5)
      }
    ])
    rig.advance(to: .milliseconds(2))
    let tags = (0..<5).map { rig.submit(.read, $0..<$0 + 1) }
    #expect(tags.map { rig.status($0) != nil } == [true, true, true, false, false])
    rig.drain()
    #expect(rig.times[tags[4]] == .milliseconds(7))
  }

  @Test("hang: never answered, and without effect; when the ring stops it is forgotten")
  func hang() throws {
    let rig = try FaultRig(
      [.make(.hang) { $0.sectors = 2..<3 }], model: AffineModel(latency: .milliseconds(1)))
    let hung = rig.submit(.write, 2..<4, number: 5)
    let other = rig.submit(.write, 8..<9, number: 5)
    rig.advance(to: .milliseconds(1_000_000))
    #expect(rig.status(hung) == nil && rig.status(other) == .ok)
    var completions: [BlockCompletion] = []
    let last = rig.submit(.read, 9..<10)
    rig.device.completePending(at: rig.now, into: &completions)
    #expect(completions.map(\.tag) == [last])
    #expect(try rig.closeAndRead()[2] == FaultRig.initial(2))
  }

  @Test("removal: everything fails from then on, what is under way included, hung requests too")
  func removal() throws {
    let rig = try FaultRig(
      [
        .make(.removal) { $0.trigger.at = .milliseconds(10) },
        .make(.hang) { $0.trigger.count = 1 },
      ], model: AffineModel(latency: .milliseconds(4)))
    let hung = rig.submit(.read, 0..<1)
    let good = rig.submit(.write, 0..<1, number: 3)
    rig.advance(to: .milliseconds(8))
    let underWay = rig.submit(.write, 1..<2, number: 3)
    rig.drain()
    #expect(rig.status(good) == .ok)
    for tag in [hung, underWay] {
      #expect(rig.status(tag) == .ioError && rig.times[tag] == .milliseconds(10))
      #expect(rig.answers[tag]?.code == ENODEV)
    }
    let late = rig.submit(.read, 0..<1)
    #expect(rig.status(late) == .ioError)
    rig.device.attach()
    #expect(rig.read(0..<1) == nil)
  }

  @Test("lying-flush: without a cache it is not passed on, and costs nothing")
  func lyingFlush() throws {
    let medium = FlushCounter()
    let rig = try FaultRig([.make(.lyingFlush) { $0.trigger.period = .requests(2) }], engine: medium)
    let before = medium.count
    for index in 0..<6 {
      rig.write(index..<index + 1, 4)
      #expect(rig.status(rig.submit(.flush)) == .ok)
    }
    #expect(medium.count == before + 3)
  }

  @Test("a device with faults that never happen behaves as one without, in every answer and byte")
  func transparency() throws {
    let never: [Fault] = FaultKind.allCases.map { kind in
      .make(kind) {
        $0.trigger.after = 1_000_000
        $0.sectors = kind.parameterNames.contains("sectors") ? 0..<8 : nil
        if kind == .latentErrors { $0.number = 3 }
        if kind == .stall { $0.trigger.duration = .milliseconds(1) }
        if kind == .slow { $0.extra = .milliseconds(1) }
      }
    }
    for seed in 0..<4 * soak {
      var digests: Set<String> = []
      var contents: Set<[UInt64?]> = []
      for faults in [[], never, never.filter { $0.kind != .powerCut }] {
        let rig = try FaultRig(faults, model: AffineModel(latency: .milliseconds(1), bandwidth: 4_000_000))
        RandomWork(seed: seed).run(rig)
        rig.drain()
        digests.insert(rig.completionLog.digest)
        contents.insert(try rig.closeAndRead())
        #expect(rig.records.isEmpty)
      }
      #expect(digests.count == 1 && contents.count == 1, "seed \(seed)")
    }
  }
}
