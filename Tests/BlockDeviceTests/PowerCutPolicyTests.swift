// What a power cut leaves, under every policy, against a model of the cache.
import DiskImage
import DiskModel
import Simulation
import Testing

@testable import BlockDevice

/// The simplest cache that could be right: a list of changes, and the numbers of all sectors.
private struct CacheModel {
  struct Change {
    let sequence: UInt64
    let sectors: Range<Int>
    /// 0 where it makes zeros.
    let number: UInt64
    let isData: Bool
    var isComplete = false
  }

  var durable: [UInt64]
  var volatile: [Change] = []

  /// What lies beneath goes with what is covered.
  mutating func makeDurable(_ isCovered: (Change) -> Bool) {
    var taken: Set<UInt64> = []
    for change in volatile.reversed() {
      let lies = volatile.contains { taken.contains($0.sequence) && $0.sectors.overlaps(change.sectors) }
      if isCovered(change) || lies { taken.insert(change.sequence) }
    }
    for change in volatile where taken.contains(change.sequence) { apply(change, change.sectors) }
    volatile.removeAll { taken.contains($0.sequence) }
  }

  mutating func apply(_ change: Change, _ sectors: Range<Int>) {
    for sector in sectors { durable[sector] = change.number }
  }
}

@Suite("A power cut") struct PowerCutPolicyTests {
  struct Policy: CustomStringConvertible, Sendable {
    let keeps: Fault.Survival
    var torn: UInt64?
    var description: String { "\(keeps)" + (torn.map { " torn at \($0)" } ?? "") }
    static let all = [
      Policy(keeps: .none), Policy(keeps: .all), Policy(keeps: .prefix), Policy(keeps: .prefix, torn: 512),
      Policy(keeps: .prefix, torn: 4096), Policy(keeps: .subset), Policy(keeps: .subset, torn: 512),
      Policy(keeps: .subset, torn: 4096),
    ]
  }

  @Test(
    "leaves what was flushed, and of the rest what its policy says, byte for byte",
    arguments: [DiskShape.raw, .cow, .qcow2], Policy.all)
  func policies(shape: DiskShape, policy: Policy) throws {
    var (kept, lost, partly) = (0, 0, 0)
    for seed in 0..<6 * soak {
      var random = RandomStream(seed: seed, name: "policies")
      let cut = Fault.make(.powerCut) {
        $0.trigger.after = 20 + random.next() % 60
        ($0.keeps, $0.torn) = (policy.keeps, policy.torn)
      }
      let model = AffineModel(latency: .milliseconds(1), bandwidth: 4_000_000)
      let rig = try FaultRig([cut], shape: shape, seed: seed, model: seed % 3 == 0 ? nil : model)
      rig.device.isWriteThrough = seed % 5 == 4
      let cache = try work(rig, &random, until: { rig.records.count == 1 })
      let record = try #require(rig.records.first)
      #expect(record.numbers("volatile") == [UInt64(cache.volatile.count)], "\(policy), seed \(seed)")

      var after = cache
      let numbers = record.numbers("kept")
      for index in stride(from: 0, to: numbers.count, by: 3) {
        let change = try #require(cache.volatile.first { $0.sequence == numbers[index] })
        let (start, count) = (Int(numbers[index + 1]), Int(numbers[index + 2]))
        #expect(start % 512 == 0 && count % 512 == 0)
        let first = change.sectors.lowerBound + start / 512
        after.apply(change, first..<first + count / 512)
        let isWhole = count == change.sectors.count * 512
        if isWhole { kept += 1 } else { partly += 1 }
        #expect(isWhole || (policy.torn != nil && change.isData))
        if !isWhole, policy.torn == 4096 {
          // Torn at multiples of 4 KiB of the disk, or at an end of the write.
          #expect(first % 8 == 0 || start == 0)
          #expect((first + count / 512) % 8 == 0 || first + count / 512 == change.sectors.upperBound)
        }
      }
      try expectOrder(numbers, cache, policy)
      lost += cache.volatile.count - numbers.count / 3
      #expect(try rig.closeAndRead() == after.durable, "\(shape), \(policy), seed \(seed)")
    }
    #expect(kept > 0 || policy.keeps == .none)
    #expect(lost > 0 || policy.keeps == .all || policy.torn != nil)
    #expect((partly > 0) == (policy.torn != nil) || policy.torn == 4096)
  }

  /// A prefix is whole writes in their order, and at most one more in part, from its beginning.
  private func expectOrder(_ numbers: [UInt64], _ cache: CacheModel, _ policy: Policy) throws {
    let sequences = stride(from: 0, to: numbers.count, by: 3).map { numbers[$0] }
    #expect(sequences == sequences.sorted())
    switch policy.keeps {
    case .none: #expect(sequences.isEmpty)
    case .all: #expect(sequences == cache.volatile.map(\.sequence))
    case .subset: break
    case .prefix:
      #expect(sequences == cache.volatile.prefix(sequences.count).map(\.sequence))
      for (index, change) in cache.volatile.prefix(sequences.count).enumerated() {
        #expect(numbers[index * 3 + 1] == 0)
        let isWhole = numbers[index * 3 + 2] == UInt64(change.sectors.count * 512)
        #expect(isWhole || (index == sequences.count - 1 && policy.torn != nil))
      }
    }
  }

  /// Random requests, until the disk has lost its power; and what its cache must hold then.
  private func work(
    _ rig: FaultRig, _ random: inout RandomStream, until isOver: () -> Bool
  ) throws -> CacheModel {
    var cache = CacheModel(durable: (0..<rig.sectorCount).map(FaultRig.initial))
    /// By flush: what was complete when it was submitted.
    var covers: [UInt64: Set<UInt64>] = [:]
    var forced: Set<UInt64> = []
    var reads: [UInt64: (Range<Int>, [UInt64])] = [:]
    var answered: Set<UInt64> = []
    var number: UInt64 = 1

    func settle() {
      // In the order of completion.
      let new = rig.answers.keys.filter { !answered.contains($0) }.sorted {
        (rig.times[$0]!, $0) < (rig.times[$1]!, $1)
      }
      for tag in new {
        answered.insert(tag)
        #expect(rig.status(tag) == .ok)
        if let (sectors, expected) = reads[tag] {
          #expect(rig.numbers(tag, count: sectors.count) == expected)
        }
        if let index = cache.volatile.firstIndex(where: { $0.sequence == tag }) {
          cache.volatile[index].isComplete = true
        }
        if let covered = covers[tag] { cache.makeDurable { covered.contains($0.sequence) } }
        if forced.contains(tag) { cache.makeDurable { $0.sequence == tag } }
      }
    }

    for _ in 0..<500 where !isOver() {
      let first = Int(random.below(UInt64(rig.sectorCount - 24)))
      let sectors = first..<first + 1 + Int(random.below(24))
      let tag: UInt64
      let complete = Set(cache.volatile.filter(\.isComplete).map(\.sequence))
      switch random.next() % 16 {
      case 0: tag = rig.submit(.flush)
      case 1...3:
        tag = rig.submit(.read, sectors)
        var view = cache
        view.makeDurable { _ in true }
        reads[tag] = (sectors, Array(view.durable[sectors]))
      case 4, 5:
        tag = rig.submit(random.next() % 2 == 0 ? .discard : .writeZeroes, sectors)
        if !isOver() {
          cache.volatile.append(.init(sequence: tag, sectors: sectors, number: 0, isData: false))
        }
        if rig.device.isWriteThrough { forced.insert(tag) }
      default:
        number += 1
        let isDurable = random.next() % 16 == 0
        tag = rig.submit(.write, sectors, number: number, isDurable: isDurable)
        if !isOver() {
          cache.volatile.append(.init(sequence: tag, sectors: sectors, number: number, isData: true))
        }
        if isDurable || rig.device.isWriteThrough { forced.insert(tag) }
      }
      if isOver() { break }
      // Only a flush asks for it.
      if reads[tag] == nil, !cache.volatile.contains(where: { $0.sequence == tag }) { covers[tag] = complete }
      if random.next() % 3 == 0 { rig.wait(.milliseconds(random.below(6))) }
      settle()
    }
    return cache
  }

  @Test(
    "a disk without power answers nothing, or errors, until there is a new client",
    arguments: Fault.Answer.allCases)
  func without(answer: Fault.Answer) throws {
    let cut = Fault.make(.powerCut) {
      $0.trigger.after = 2
      $0.answer = answer
    }
    let rig = try FaultRig([cut], model: AffineModel(latency: .milliseconds(1)))
    rig.write(0..<4, 7)
    let underWay = rig.submit(.write, 8..<12, number: 8)
    let struck = rig.submit(.read, 0..<1)
    rig.wait(.milliseconds(1000))
    let later = rig.submit(.read, 0..<1)
    rig.drain()
    #expect(rig.status(underWay) == nil)
    #expect(rig.status(struck) == (answer == .error ? .ioError : nil))
    #expect(rig.status(later) == (answer == .error ? .ioError : nil))
    rig.device.forgetPending()
    rig.device.attach()
    #expect(rig.read(0..<12) == (0..<12).map { FaultRig.initial($0) })
    #expect(rig.write(0..<4, 9) == .ok)
    #expect(Array(try rig.closeAndRead()[..<5]) == [9, 9, 9, 9, FaultRig.initial(4)])
    #expect(rig.records.count == 1)
  }

  @Test("at a time comes at that time, before what completes then, with or without requests")
  func timed() throws {
    let cut = Fault.make(.powerCut) { $0.trigger.at = .milliseconds(10) }
    let busy = try FaultRig([cut], model: AffineModel(latency: .milliseconds(1)))
    busy.advance(to: .milliseconds(9))
    let tag = busy.submit(.write, 0..<1, number: 5)
    busy.drain()
    #expect(busy.status(tag) == nil)
    #expect(busy.records.map(\.time) == [.milliseconds(10)] && busy.now == .milliseconds(10))

    let idle = try FaultRig([cut])
    idle.write(0..<1, 5)
    #expect(idle.device.nextWake == nil)
    idle.advance(to: .milliseconds(20))
    #expect(try idle.closeAndRead()[0] == FaultRig.initial(0))
    #expect(idle.records.map(\.time) == [.milliseconds(10)])
  }

  @Test("what a cache has no room for is on the medium, the oldest first")
  func spill() throws {
    let cut = Fault.make(.powerCut) {
      $0.trigger.after = 100
      $0.cache = 16384
    }
    let rig = try FaultRig([cut])
    for index in 0..<100 { rig.write(index..<index + 1, UInt64(index) + 1) }
    #expect(rig.read(0..<100) == nil)
    let after = try rig.closeAndRead()
    let survived = (0..<100).prefix { after[$0] == UInt64($0) + 1 }.count
    // 576 bytes each: 28 at most are in the cache.
    #expect((100 - 28...99).contains(survived))
    for index in survived..<100 { #expect(after[index] == FaultRig.initial(index)) }
  }

  @Test("an orderly end loses nothing, whether or not flushes lie")
  func orderlyEnd() throws {
    let cut = Fault.make(.powerCut) { $0.trigger.after = 1_000_000 }
    for faults in [[cut], [cut, .make(.lyingFlush)]] {
      let rig = try FaultRig(faults)
      for index in 0..<50 {
        rig.write(index..<index + 3, UInt64(index) + 1)
        if index % 7 == 0 { rig.submit(.flush) }
      }
      let expected = rig.read(0..<60)
      #expect(Array(try rig.closeAndRead()[..<60]) == expected)
    }
  }

  @Test("after a flush that lied takes what it was asked to keep")
  func lie() throws {
    let cut = Fault.make(.powerCut) { $0.trigger.after = 4 }
    for lies in [false, true] {
      let rig = try FaultRig(lies ? [cut, .make(.lyingFlush)] : [cut])
      rig.write(0..<8, 3)
      let flush = rig.submit(.flush)
      #expect(rig.status(flush) == .ok)
      rig.write(8..<16, 4)
      rig.submit(.read, 0..<1)
      rig.submit(.read, 0..<1)
      let after = try rig.closeAndRead()
      #expect(after[0] == (lies ? FaultRig.initial(0) : 3))
      #expect(after[8] == FaultRig.initial(8))
    }
  }

  @Test("of a node is told to whoever has the node; at a time it comes only when that one says so")
  func ofNode() throws {
    var cut = Fault.make(.powerCut) { $0.trigger.after = 1 }
    cut.isOfNode = true
    let rig = try FaultRig([cut])
    rig.write(0..<1, 2)
    rig.wait(.milliseconds(2))
    rig.submit(.read, 0..<1)
    #expect(
      rig.events == [.init(time: .milliseconds(2), fault: "power-cut", kind: .powerCut, isOfNode: true)])

    cut.trigger = FaultTrigger(at: .milliseconds(1))
    let timed = try FaultRig([cut])
    timed.write(0..<1, 2)
    timed.wait(.milliseconds(5))
    #expect(timed.read(0..<1) == [2])
    #expect(try timed.closeAndRead()[0] == 2 && timed.records.isEmpty)
  }

  @Test("takes a second disk of the node along, with numbers of its own")
  func sibling() throws {
    let cut = Fault.make(.powerCut) {
      $0.trigger.after = 1_000_000
      $0.keeps = .subset
    }
    let rig = try FaultRig([cut])
    for index in 0..<64 { rig.write(index..<index + 1, 2) }
    #expect(rig.events.isEmpty)
    rig.device.cutPower(named: "power-cut", at: .milliseconds(3))
    rig.device.cutPower(named: "power-cut", at: .milliseconds(4))
    #expect(rig.records.map(\.time) == [.milliseconds(3)])
    #expect(rig.records.first?.request == nil)
    let kept = (rig.records.first?.numbers("kept").count ?? 0) / 3
    #expect((10...54).contains(kept))
    #expect(try rig.closeAndRead().count { $0 == 2 } == kept)
  }
}
