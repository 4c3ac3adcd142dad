// Where sectors are, against a walk over all tracks.
import Simulation
import Testing

@testable import DiskModel

@Suite struct HDDGeometryTests {
  /// One track of the walk.
  private struct Track {
    var cylinder: Int
    var head: Int
    /// Sectors of skew since the zone's beginning.
    var skew: Int
    var zone: Int
    var sectors: Int
    var first: Int
  }

  /// Every track of a drive in the order of its sectors, found step by step.
  private func walk(_ zones: [HDDZone], surfaces: Int, run: Int, group: Int) -> [Track] {
    var (tracks, cylinder, sector) = ([Track](), 0, 0)
    for (index, zone) in zones.enumerated() {
      let run = min(run, zone.cylinders)
      var (skew, base, groupNumber) = (0, 0, 0)
      while base < zone.cylinders {
        let length = min(run, zone.cylinders - base)
        for surface in 0..<surfaces {
          for along in 0..<length {
            let inGroup = surface % 2 == 0 ? along : length - 1 - along
            let head = groupNumber % 2 == 0 ? surface : surfaces - 1 - surface
            tracks.append(
              Track(
                cylinder: cylinder + base + inGroup, head: head, skew: skew, zone: index,
                sectors: zone.sectorsPerTrack, first: sector))
            sector += zone.sectorsPerTrack
            if along < length - 1 {
              skew += zone.cylinderSkew
            } else if surface < surfaces - 1 {
              skew += zone.trackSkew
            } else {
              skew += run > 1 && surfaces % 2 == 0 ? max(group, zone.cylinderSkew) : zone.cylinderSkew
            }
          }
        }
        base += length
        groupNumber += 1
      }
      cylinder += zone.cylinders + zone.spareCylinders
    }
    return tracks
  }

  private func randomGeometry(_ random: inout RandomStream) -> (HDDGeometry, [Track]) {
    let zones = (0..<Int.random(in: 1...3, using: &random)).map { _ in
      HDDZone(
        cylinders: Int.random(in: 1...12, using: &random),
        sectorsPerTrack: Int.random(in: 1...20, using: &random),
        trackSkew: Int.random(in: 0...5, using: &random), cylinderSkew: Int.random(in: 0...9, using: &random),
        spareCylinders: Int.random(in: 0...2, using: &random))
    }
    let surfaces = Int.random(in: 1...4, using: &random)
    let run = Int.random(in: 1...5, using: &random)
    let group = Int.random(in: 0...30, using: &random)
    let revolution = Int.random(in: 1000...9_000_000, using: &random)
    return (
      HDDGeometry(zones, surfaces: surfaces, run: run, revolution: revolution) { _ in group },
      walk(zones, surfaces: surfaces, run: run, group: group)
    )
  }

  @Test func everySectorIsWhereTheWalkFindsIt() {
    var random = RandomStream(seed: 5, name: "geometry")
    for _ in 0..<30 {
      let (geometry, tracks) = randomGeometry(&random)
      #expect(geometry.sectors == UInt64(tracks.reduce(0) { $0 + $1.sectors }))
      for track in tracks {
        for sector in 0..<track.sectors {
          let place = geometry.place(of: UInt64(track.first + sector))
          let isThere =
            place.zone == track.zone && place.sector == sector && Int(place.cylinder) == track.cylinder
            && Int(place.head) == track.head && place.position == sector + track.skew
          #expect(isThere, "sector \(track.first + sector)")
          if !isThere { return }
        }
      }
    }
  }

  @Test func passingIsTheSumOfSectorsAndSkews() {
    var random = RandomStream(seed: 6, name: "passing")
    for _ in 0..<30 {
      let (geometry, tracks) = randomGeometry(&random)
      for _ in 0..<40 {
        let index = Int.random(in: tracks.indices, using: &random)
        let track = tracks[index]
        let sector = Int.random(in: 0..<track.sectors, using: &random)
        let start = geometry.place(of: UInt64(track.first + sector))
        #expect(geometry.remaining(in: start) >= 1)
        let count = Int.random(in: 1...geometry.remaining(in: start), using: &random)
        // Sectors that turn past while they are read, gaps included.
        var (turned, left, at) = (0, count, index)
        var available = track.sectors - sector
        while left > available {
          turned += available + tracks[at + 1].skew - tracks[at].skew
          left -= available
          at += 1
          available = tracks[at].sectors
        }
        turned += left
        let from = geometry.passage(of: start.position, in: start.zone)
        let to = geometry.passage(of: start.position + turned, in: start.zone)
        #expect(geometry.passing(count, from: start) == to - from)
        // No more than a nanosecond from the quotient.
        let exact = turned * geometry.revolution / track.sectors
        #expect(abs(to - from - exact) <= 1)
        let last = geometry.place(count - 1, after: start)
        #expect(last == geometry.place(of: UInt64(track.first + sector + count - 1)))
      }
    }
  }

  @Test func anAngleIsTheRemainderOfTime() {
    var random = RandomStream(seed: 2, name: "angles")
    for _ in 0..<20_000 {
      let revolution = UInt64.random(in: 600_000...100_000_000, using: &random)
      let turning = Turning(revolution: revolution)
      let time = random.next() >> random.below(64)
      #expect(turning.angle(at: time) == time % revolution)
      let (from, to) = (random.below(20 * revolution), random.below(revolution))
      let wait = turning.wait(from: from, to: to)
      #expect(wait < revolution && (from + wait) % revolution == to)
    }
  }

  @Test func skewsThatAreNotGivenAreTheLeastThatDo() throws {
    // 64 sectors in 6.4 ms: a seek of 500 us takes 5 of them, a head switch of 200 us takes 2.
    #expect(try smallDrive().parameters.zones[0].cylinderSkew == 5)
    #expect(try smallDrive().parameters.zones[0].trackSkew == 2)
    #expect(try smallDrive(["write_settle": "1us"]).parameters.zones[0].cylinderSkew == 6)
  }

  @Test func aScaledDriveHoldsTheDiskAndKeepsItsStroke() throws {
    for size in [512, 1 << 20, 64 << 20, 1 << 30, 8_000_000_000] as [UInt64] {
      let model = try Preset.hdd("hdd-10k", size: size)
      #expect(model.geometry.sectors * 512 >= size)
      #expect(model.placement?.contains("scaled to") == true)
      guard size > 1 << 20 else { continue }
      #expect(model.geometry.cylinders >= 100)
      // From edge to edge as on the full drive: 6,961 cylinders.
      let full = model.parameters.seek.travel(6961, cylinders: 6962)
      let edge = model.seeks[model.geometry.cylinders - 1]
      #expect(edge >= full && edge - full < full / 50, "\(size)")
      #expect(model.seeks[1] == 831_000)
    }
    let whole = try Preset.hdd("hdd-10k")
    #expect(whole.placement == "the whole drive")
  }

  @Test func anOffsetIsIntoTheFullDrive() throws {
    let model = try Preset.hdd(
      "hdd-10k", ["placement": "offset", "offset": "1GiB"], size: 1 << 30)
    #expect(model.placement == "at byte 1073741824 of the full drive's 9105018880")
    #expect(model.geometry.cylinders == 6962)
  }

  @Test func aDiskThatIsLargerThanTheDriveIsRefused() throws {
    for (changes, size) in [
      ([:], 10 << 30), (["placement": "offset", "offset": "8GiB"], 1 << 30),
      (["placement": "offset", "offset": "80GiB"], 512),
    ] as [(ParameterTable, UInt64)] {
      do {
        _ = try Preset.hdd("hdd-10k", changes, size: size)
        Issue.record("\(size) bytes were taken")
      } catch let error as DiskModelError {
        #expect(error.description.contains("\(size)") && error.description.contains("9105018880"))
        #expect(!error.description.contains("\n"))
      }
    }
  }
}
