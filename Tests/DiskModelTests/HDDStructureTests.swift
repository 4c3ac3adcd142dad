// The read cache and the dirty extents, against the plainest things that do the same.
import Simulation
import Testing

@testable import DiskModel

@Suite struct HDDStructureTests {
  @Test func dirtyExtentsAreASetOfSectors() {
    for seed in 0..<20 as Range<UInt64> {
      var random = RandomStream(seed: seed, name: "extents")
      var extents = DirtyExtents(keepsAges: seed % 2 == 0)
      var sectors = [Bool](repeating: false, count: 1200)
      func extent(_ sector: UInt64) -> DirtyExtents.Extent {
        // The place is the sector's own number, so that it can be checked.
        DirtyExtents.Extent(
          start: sector, end: sector, age: 0, cylinder: Int32(sector), head: 0, angle: Int32(sector))
      }
      for _ in 0..<600 {
        let start = random.below(1190)
        let end = min(1200, start + 1 + random.below(seed < 10 ? 4 : 40))
        switch random.below(8) {
        case 0..<5:
          var new = extent(start)
          new.end = end
          extents.insert(new)
          for sector in start..<end { sectors[Int(sector)] = true }
        case 5:
          extents.trim(start, end, locate: extent)
          for sector in start..<end { sectors[Int(sector)] = false }
        default:
          let cursor = extents.firstEnding(from: start)
          guard extents.isValid(cursor) else { continue }
          let one = extents[cursor]
          let count = 1 + random.below(one.end - one.start)
          extents.take(count, at: cursor, rest: extent)
          for sector in one.start..<(one.start + count) { sectors[Int(sector)] = false }
        }
        #expect(extents.isConsistent)
        #expect(extents.sectors == UInt64(sectors.count { $0 }))
      }
      // In order from either side, each at its place.
      var (cursor, found) = (extents.firstEnding(from: 0), [DirtyExtents.Extent]())
      while extents.isValid(cursor) {
        found.append(extents[cursor])
        cursor = extents.after(cursor)
      }
      let isRight = found.allSatisfy { one in
        Int(one.cylinder) == Int(one.start) && (one.start..<one.end).allSatisfy { sectors[Int($0)] }
          && extents.contains(one.start, one.end) && !extents.contains(one.start, one.end + 1)
      }
      #expect(isRight, "seed \(seed)")
      cursor = extents.before(extents.firstEnding(from: 1300))
      var back = [UInt64]()
      while extents.isValid(cursor) {
        back.append(extents[cursor].start)
        cursor = extents.before(cursor)
      }
      #expect(Array(back.reversed()) == found.map(\.start))
      guard seed % 2 == 0 else { continue }
      // Ages: every extent comes up, the oldest first.
      var oldest: [DirtyExtents.Cursor] = []
      extents.oldest(1000, into: &oldest)
      #expect(oldest.count == found.count, "seed \(seed)")
      let ages = oldest.map { extents[$0].age }
      #expect(ages == ages.sorted() && ages == found.map(\.age).sorted(), "seed \(seed)")
      extents.oldest(3, into: &oldest)
      #expect(oldest.map { extents[$0].age } == Array(ages.prefix(3)))
    }
  }

  @Test func segmentsNeverOverlapAndHoldWhatWasReadLast() {
    for seed in 0..<20 as Range<UInt64> {
      var random = RandomStream(seed: seed, name: "segments")
      var cache = SegmentCache(capacity: 4, length: 50)
      var known = [Bool](repeating: false, count: 400)
      for _ in 0..<500 {
        let start = random.below(350)
        let end = start + 1 + random.below(49)
        switch random.below(4) {
        case 0:
          cache.trim(start, end)
          for sector in start..<end { known[Int(sector)] = false }
          #expect(cache.end(from: start) == start)
        case 1:
          let found = cache.end(from: start)
          #expect((start..<max(start, found)).allSatisfy { known[Int($0)] })
        default:
          cache.insert(start, end)
          for sector in start..<end { known[Int(sector)] = true }
          #expect(cache.end(from: start) >= end)
        }
        #expect(cache.isConsistent, "seed \(seed)")
      }
    }
    var none = SegmentCache(capacity: 0, length: 10)
    none.insert(0, 5)
    #expect(none.end(from: 0) == 0)
    // A long read leaves its end.
    var short = SegmentCache(capacity: 1, length: 10)
    short.insert(0, 100)
    #expect(short.end(from: 89) == 89 && short.end(from: 90) == 100)
  }

  @Test func aFifoIsOne() {
    var (fifo, plain) = (Fifo<Int>(), [Int]())
    var random = RandomStream(seed: 1, name: "fifo")
    for index in 0..<5000 {
      if random.below(index < 2500 ? 5 : 3) > 1 {
        fifo.append(index)
        plain.append(index)
      } else {
        #expect(fifo.first == plain.first)
        #expect(fifo.popFirst() == (plain.isEmpty ? nil : plain.removeFirst()))
      }
      #expect(fifo.isEmpty == plain.isEmpty && fifo.count == plain.count)
    }
  }
}
