// Faults that contradict themselves, and the pieces that faults are made of.
import Simulation
import Testing

@testable import BlockDevice

@Suite("A plan of faults") struct FaultPlanTests {
  private func refusal(_ kind: FaultKind, _ change: (inout Fault) -> Void) -> FaultError? {
    do throws(FaultError) {
      try Fault.make(kind, change).validate()
      return nil
    } catch { return error }
  }

  @Test("refuses what contradicts itself, and says which key")
  func contradictions() {
    let refusals: [(String?, FaultError?)] = [
      ("after", refusal(.hang) { $0.trigger = FaultTrigger(at: .zero, after: 1) }),
      ("until", refusal(.hang) { $0.trigger.until = .zero }),
      (
        "until",
        refusal(.hang) {
          $0.trigger.at = .milliseconds(2)
          $0.trigger.until = .milliseconds(2)
        }
      ),
      ("for", refusal(.hang) { $0.trigger.duration = .zero }),
      ("every", refusal(.hang) { $0.trigger.period = .span(.milliseconds(1)) }),
      ("every", refusal(.hang) { $0.trigger.period = .requests(0) }),
      (
        "for",
        refusal(.hang) {
          $0.trigger.period = .span(.milliseconds(1))
          $0.trigger.duration = .milliseconds(1)
        }
      ),
      ("every", refusal(.noSpace) { $0.trigger.period = .requests(3) }),
      ("count", refusal(.hang) { $0.trigger.count = 0 }),
      ("operations", refusal(.lostWrite) { $0.operations = [.write, .read] }),
      ("operations", refusal(.hang) { $0.operations = [] }),
      ("sectors", refusal(.hang) { $0.sectors = 4..<4 }),
      ("name", refusal(.hang) { $0.name = "a b" }), ("name", refusal(.hang) { $0.name = "" }),
      (nil, refusal(.powerCut) { _ in }), (nil, refusal(.removal) { _ in }),
      (
        "torn",
        refusal(.powerCut) {
          $0.trigger.after = 1
          $0.torn = 512
        }
      ),
      (
        "torn",
        refusal(.powerCut) {
          $0.trigger.after = 1
          ($0.keeps, $0.torn) = (.subset, 1024)
        }
      ),
      (
        "answer",
        refusal(.powerCut) {
          $0.trigger.after = 1
          ($0.answer, $0.isOfNode) = (.error, true)
        }
      ),
      (nil, refusal(.slow) { _ in }), ("factor", refusal(.slow) { $0.factor = 500 }),
      (nil, refusal(.stall) { _ in }), (nil, refusal(.latentErrors) { _ in }),
      (
        "number",
        refusal(.latentErrors) {
          $0.sectors = 0..<4
          $0.number = 5
        }
      ),
      ("bits", refusal(.bitRot) { $0.bits = 0 }),
    ]
    for (index, (key, error)) in refusals.enumerated() {
      #expect(error != nil && error?.key == key, "\(index): \(String(describing: error))")
    }
  }

  @Test("refuses two faults of one name, two sizes of one cache, and what is beyond the disk")
  func together() throws {
    let cut = Fault.make(.powerCut) { $0.trigger.after = 1 }
    var other = cut
    #expect(throws: FaultError.self) { try FaultPlan([cut, other]).validate() }
    other.name = "second"
    try FaultPlan([cut, other]).validate()
    other.cache = 4096
    #expect(throws: FaultError.self) { try FaultPlan([cut, other]).validate() }
    let far = FaultPlan([.make(.hang) { $0.sectors = 10..<20 }])
    try far.validate(size: 20 * 512)
    #expect(throws: FaultError.self) { try far.validate(size: 19 * 512) }
    #expect(throws: FaultError.self) {
      try FaultPlan([.make(.latentErrors) { $0.number = 9 }]).validate(size: 4096)
    }
  }

  @Test("windows begin and end where they say, once or again and again")
  func windows() {
    var trigger = FaultTrigger(at: .milliseconds(10))
    let begin = SimulationTime.milliseconds(10)
    #expect(trigger.window(at: .milliseconds(9), begin: begin) == nil)
    #expect(trigger.window(at: .milliseconds(10), begin: begin) == begin..<SimulationTime.never)
    trigger.duration = .milliseconds(3)
    #expect(trigger.window(at: .milliseconds(12), begin: begin) == begin..<SimulationTime.milliseconds(13))
    #expect(trigger.window(at: .milliseconds(13), begin: begin) == nil)
    trigger.period = .span(.milliseconds(5))
    trigger.until = .milliseconds(22)
    let active = (0..<40).filter { trigger.window(at: .milliseconds($0), begin: begin) != nil }
    #expect(active == [10, 11, 12, 15, 16, 17, 20, 21])
    let last = trigger.window(at: .milliseconds(21), begin: begin)
    #expect(last == SimulationTime.milliseconds(20)..<SimulationTime.milliseconds(22))
  }

  @Test("chances are kept to the billionth")
  func chances() throws {
    let half = try #require(Probability(billionths: 500_000_000))
    #expect(half.strikes(0) && half.strikes(UInt64.max / 2 - 1) && !half.strikes(UInt64.max / 2 + 1))
    let always = try #require(Probability(billionths: 1_000_000_000))
    #expect(always.strikes(.max))
    #expect(Probability(billionths: 0) == nil && Probability(billionths: 1_000_000_001) == nil)
    var random = RandomStream(seed: 4, name: "chances")
    let rare = try #require(Probability(billionths: 10_000_000))
    let struck = (0..<20_000).count { _ in rare.strikes(random.next()) }
    #expect((150...250).contains(struck))
  }

  @Test("a bitmap of sectors says what a set of numbers says")
  func bitmap() {
    for seed in 0..<3 * soak {
      var random = RandomStream(seed: seed, name: "bitmap")
      let count: UInt64 = (1 << 17) + 1000
      var bitmap = SectorBitmap(unitCount: count)
      var set: Set<UInt64> = []
      for _ in 0..<30 {
        let start = random.below(count)
        let length = random.next() % 5 == 0 ? random.below(count) : random.below(200)
        let range = start..<min(count, start + length)
        let value = random.next() % 2 == 0
        bitmap.set(range, to: value)
        if value { set.formUnion(range) } else { set.subtract(range) }
        let probe = random.below(count)
        let part = probe..<min(count, probe + random.below(3000))
        #expect(bitmap.count(in: part) == UInt64(part.count { set.contains($0) }))
        #expect(bitmap.firstSet(in: part) == part.first { set.contains($0) })
        #expect(bitmap.contains(probe) == set.contains(probe))
      }
    }
  }
}
