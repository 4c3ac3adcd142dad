// One request at a time: seek, rotation, transfer.
import DiskModel
import Simulation
import Testing

@Suite struct HDDMechanismTests {
  /// `smallDrive` once more, in the plainest way: 3 surfaces, 64 sectors of 100 us; skews 2 and 5.
  private struct Plain {
    var cylinder = 0
    var head = 0
    var overhead = 0
    var settle = 0
    var skews = (track: 2, cylinder: 5)

    func place(_ sector: Int) -> (cylinder: Int, head: Int, angle: Int) {
      let (track, within) = (sector / 64, sector % 64)
      let (cylinder, surface) = (track / 3, track % 3)
      let skew = cylinder * (2 * skews.track + skews.cylinder) + surface * skews.track
      return (cylinder, cylinder % 2 == 0 ? surface : 2 - surface, (within + skew) % 64 * 100_000)
    }

    /// When a request that arrives at `now` is done, on one track.
    mutating func serve(_ sector: Int, _ count: Int, at now: Int, isWrite: Bool) -> Int {
      let place = place(sector)
      let distance = abs(place.cylinder - cylinder)
      var move = distance > 0 ? 500_000 + 10_000 * (distance - 1) : place.head == head ? 0 : 200_000
      if isWrite, move > 0 { move += settle }
      (cylinder, head) = (place.cylinder, place.head)
      let ready = now + overhead + move
      let wait = ((place.angle - ready) % 6_400_000 + 6_400_000) % 6_400_000
      return ready + wait + count * 100_000
    }
  }

  @Test func aRequestIsOverheadSeekRotationAndTransfer() throws {
    for (overhead, settle, skews) in [(0, 0, (2, 5)), (70_000, 33_000, (3, 6))] {
      var model = try smallDrive([
        "read_overhead": .string("\(overhead)ns"), "write_settle": .string("\(settle)ns"),
      ])
      var plain = Plain(overhead: overhead, settle: settle, skews: skews)
      #expect(
        model.parameters.zones[0].trackSkew == skews.0 && model.parameters.zones[0].cylinderSkew == skews.1)
      var random = RandomStream(seed: 4, name: "requests")
      var (now, finished) = (0, [ModelCompletion]())
      for sequence in 0..<2000 {
        let (track, sector) = (
          Int.random(in: 0..<120, using: &random), Int.random(in: 0..<56, using: &random)
        )
        let isWrite = Bool.random(using: &random)
        now += Bool.random(using: &random) ? 0 : Int.random(in: 0..<90_000_000, using: &random)
        let request = ModelRequest(
          operation: isWrite ? .write : .read, offset: UInt64(track * 64 + sector) * 512, length: 4096,
          sequence: UInt64(sequence))
        model.submit(request, at: nanoseconds(UInt64(now)), into: &finished)
        let expected = plain.serve(track * 64 + sector, 8, at: now, isWrite: isWrite)
        #expect(
          finished == [ModelCompletion(sequence: UInt64(sequence), time: nanoseconds(UInt64(expected)))])
        guard finished.count == 1 else { return }
        finished = []
        now = expected
      }
      let total = model.counter("seek_ns") + model.counter("rotation_ns") + model.counter("transfer_ns")
      #expect(total + 2000 * UInt64(overhead) == model.counter("busy_ns"))
    }
  }

  /// Runs steps of one operation, each at the completion of the one before and a pause.
  private func responses(
    _ model: inout HDDModel, _ operation: ModelRequest.Operation, sectors: [UInt64], count: UInt64 = 8,
    pause: UInt64 = 0
  ) -> [UInt64] {
    var (now, finished, result) = (UInt64(0), [ModelCompletion](), [UInt64]())
    for (index, sector) in sectors.enumerated() {
      model.submit(
        ModelRequest(
          operation: operation, offset: sector * 512, length: count * 512, sequence: UInt64(index)),
        at: nanoseconds(now), into: &finished)
      while finished.isEmpty, let wake = model.nextWake { model.advance(to: wake, into: &finished) }
      guard let done = finished.popLast()?.time.nanoseconds else { return result }
      result.append(done - now)
      now = done + pause
    }
    return result
  }

  @Test func aTrackAfterTheOtherLosesOnlyTheSkew() throws {
    var model = try smallDrive()
    // 200 sectors over four tracks of two cylinders: skews of 2, 2 and 5.
    #expect(responses(&model, .read, sectors: [0], count: 200) == [20_900_000])
    // Into the next zone: a seek, and the rest of a revolution.
    var zoned = try smallDrive([
      "zone": [
        ["cylinders": 1, "sectors_per_track": 64], ["cylinders": 39, "sectors_per_track": 32],
      ]
    ])
    // The third track ends at 6.4 + 6.6 + 6.6 ms; angle 0 passes next at 25.6 ms.
    #expect(responses(&zoned, .read, sectors: [0], count: 193) == [25_800_000])
  }

  @Test func theNextWriteMissesItsSectorAndWaitsForARevolution() throws {
    // DiskSim 4.0: 6.161, 6.128, 6.041 and 8.692 ms, on the outermost track.
    for (name, expected, size) in [
      ("cheetah9lp", 6_161_000, nil), ("atlas10k", 6_128_000, nil), ("hdd-10k-300g", 6_041_000, nil),
      ("barracuda", 8_692_000, nil),
    ] as [(String, UInt64, UInt64?)] {
      var model = try Preset.hdd(name, size: size)
      let all = responses(&model, .write, sectors: (0..<12).map { $0 * 8 })
      let revolution = model.parameters.revolution
      let perTrack = UInt64(model.parameters.zones[0].sectorsPerTrack)
      for response in all.dropFirst() {
        #expect(response.distance(to: revolution + 8 * revolution / perTrack).magnitude <= 2)
        #expect(response.distance(to: expected).magnitude < 1000, "\(name): \(response)")
      }
    }
  }

  @Test func theSameSectorAgainCostsARevolution() throws {
    for overhead in ["0", "900us"] {
      var model = try smallDrive(["read_overhead": .string(overhead)])
      let all = responses(&model, .read, sectors: Array(repeating: 136, count: 20))
      #expect(all.dropFirst().allSatisfy { $0 == 6_400_000 })
    }
  }

  @Test func wholeRevolutionsOfRestChangeNothing() throws {
    var random = RandomStream(seed: 8, name: "rest")
    let sectors = (0..<60).map { _ in random.below(7000) }
    let name = "phase"
    for changes in [["phase": "zero"], ["phase": "random", "read_overhead": "77us"]] as [ParameterTable] {
      var plain = try smallDrive(changes)
      let expected = responses(&plain, .read, sectors: sectors)
      for turns in [1, 7, 1_000_000_007] as [UInt64] {
        var rested = try smallDrive(changes)
        #expect(
          responses(&rested, .read, sectors: sectors, pause: turns * 6_400_000) == expected,
          "\(name) \(turns)")
      }
      var other = try smallDrive(changes)
      #expect(responses(&other, .read, sectors: sectors, pause: 6_300_000) != expected)
    }
  }

  @Test func aWaitIsHalfARevolutionOnAverageAndNeverAWholeOne() throws {
    var random = RandomStream(seed: 12, name: "waits")
    let sectors = (0..<12_000).map { _ in random.below(7672) }
    var model = try smallDrive(["phase": "random"])
    let all = responses(&model, .read, sectors: sectors)
    let rotation = Double(model.counter("rotation_ns")) / 12_000
    #expect(abs(rotation / 3_200_000 - 1) < 0.01)
    // Nothing is faster than its transfer, nothing slower than all of them at their longest.
    let longest: UInt64 = 880_000 + 6_400_000 + 800_000 + 500_000
    #expect(all.allSatisfy { (800_000...longest).contains($0) })
    let mean = Double(all.reduce(0, +)) / 12_000
    let seek = Double(model.counter("seek_ns")) / 12_000
    let transfer = Double(model.counter("transfer_ns")) / 12_000
    #expect(abs(mean / (seek + 3_200_000 + transfer) - 1) < 0.015)
  }

  @Test func whatTheBusTakesLongerThanTheMediumIsAdded() throws {
    // 8 sectors of 100 us from the medium, 8 of 512 us over the bus: after the first sector.
    var model = try smallDrive(["bus": "1MB/s"])
    #expect(responses(&model, .read, sectors: [0], count: 8) == [100_000 + 8 * 512_000])
    // The data of a write must be there first: then it has just missed.
    var writing = try smallDrive(["bus": "1MB/s"])
    #expect(responses(&writing, .write, sectors: [0], count: 8) == [6_400_000 + 800_000])
    // Write zeroes sends none.
    var zeroing = try smallDrive(["bus": "1MB/s"])
    #expect(responses(&zeroing, .writeZeroes, sectors: [0], count: 8) == [800_000])
  }

  @Test func theModelNeverReadsBehindTheDrive() throws {
    var model = try smallDrive(["segments": 2, "write_cache": "64KiB"])
    var finished: [ModelCompletion] = []
    for (index, offset) in ([3_932_160, 3_932_159, 1 << 60, .max] as [UInt64]).enumerated() {
      for (kind, operation) in [ModelRequest.Operation.read, .write, .discard, .writeZeroes].enumerated() {
        let request = ModelRequest(
          operation: operation, offset: offset, length: index % 2 == 0 ? 4096 : .max,
          sequence: UInt64(index * 4 + kind))
        model.submit(request, at: nanoseconds(0), into: &finished)
      }
    }
    while let wake = model.nextWake { model.advance(to: wake, into: &finished) }
    #expect(finished.count == 16)
  }
}
