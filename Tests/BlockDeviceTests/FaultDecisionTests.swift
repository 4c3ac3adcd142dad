// Who decides, and on what it depends: on nothing but seed, names and requests.
import DiskModel
import Simulation
import Telemetry
import Testing

@testable import BlockDevice

@Suite("Decisions of faults") struct FaultDecisionTests {
  /// All that strike requests by chance.
  private let chances: [Fault] = [
    .make(.ioError) { $0.operations = [.read, .write] }.likely(4),
    .make(.lostWrite).likely(8), .make(.misdirectedWrite).likely(8),
    .make(.corruptWrite) { $0.bits = 2 }.likely(8), .make(.bitRot).likely(20), .make(.staleRead).likely(20),
    .make(.lyingFlush).likely(50), .make(.hang) { $0.trigger.count = 2 }.likely(3),
    .make(.slow) { $0.factor = 3000 }.likely(10),
  ]

  /// Those, and what is a state or happens once.
  private var all: [Fault] {
    chances + [
      .make(.latentErrors) {
        $0.number = 8
        $0.trigger.at = .milliseconds(5)
      },
      .make(.noSpace) {
        $0.space = 65536
        $0.trigger.at = .milliseconds(40)
        $0.trigger.until = .milliseconds(50)
      },
      .make(.stall) {
        $0.trigger.period = .span(.milliseconds(20))
        $0.trigger.duration = .milliseconds(2)
      },
      .make(.powerCut) {
        $0.trigger.at = .milliseconds(70)
        ($0.keeps, $0.torn) = (.subset, 512)
      },
    ]
  }

  private let model = AffineModel(latency: .milliseconds(1), bandwidth: 8_000_000)

  private struct Outcome: Equatable {
    var digest: String
    var contents: [UInt64?]
    var records: [FaultRecord]
  }

  private func run(
    _ faults: [Fault], seed: UInt64, faultSeed: UInt64, interruptions: UInt64? = nil,
    replay: [FaultRecord]? = nil
  ) throws -> Outcome {
    let rig = try FaultRig(faults, seed: faultSeed, model: model, replay: replay)
    RandomWork(seed: seed, interruptions: interruptions).run(rig)
    rig.drain()
    return Outcome(
      digest: rig.completionLog.digest, contents: try rig.closeAndRead(), records: rig.records)
  }

  @Test("are the same for the same seed under any batching, and others for another seed")
  func batching() throws {
    for seed in 0..<4 * soak {
      let first = try run(all, seed: seed, faultSeed: seed)
      #expect(try run(all, seed: seed, faultSeed: seed, interruptions: seed + 1) == first, "seed \(seed)")
      #expect(try run(all, seed: seed, faultSeed: seed + 100).records != first.records, "seed \(seed)")
      #expect(first.records.contains { $0.kind == .powerCut })
    }
  }

  @Test("are not moved by a fault that is taken away, nor by one that is added, nor by their order")
  func independence() throws {
    for seed in 0..<2 * soak {
      let whole = try run(chances, seed: seed, faultSeed: 7).records
      #expect(Set(whole.map(\.kind)).count >= 8, "seed \(seed): \(whole.map(\.kind))")
      for removed in chances {
        let rest = try run(chances.filter { $0.name != removed.name }, seed: seed, faultSeed: 7).records
        #expect(rest == whole.filter { $0.fault != removed.name }, "seed \(seed), without \(removed.name)")
      }
      let turned = try run(chances.reversed(), seed: seed, faultSeed: 7).records
      for fault in chances {
        #expect(turned.filter { $0.fault == fault.name } == whole.filter { $0.fault == fault.name })
      }
    }
  }

  @Test("follow the fault's name and the disk's, not their kind")
  func names() throws {
    let two = [
      Fault(.lostWrite, name: "a").likely(20), Fault(.lostWrite, name: "b").likely(20),
    ]
    let records = try run(two, seed: 1, faultSeed: 1).records
    let requests = ["a", "b"].map { name in records.filter { $0.fault == name }.map(\.request) }
    #expect(requests[0] != requests[1] && !requests[0].isEmpty && !requests[1].isEmpty)
    let size: UInt64 = 1 << 20
    let draws = ["x-d", "y-d"].map { disk in
      var stream = ArmedFault(two[0], disk: disk, seed: 1, size: size).stream("strikes", 5)
      return stream.next()
    }
    #expect(draws[0] != draws[1])
  }

  @Test("are replayed from their log: the same answers, bytes and log, whatever the seed")
  func replay() throws {
    for seed in 0..<5 * soak {
      let first = try run(all, seed: seed, faultSeed: seed)
      let text = first.records.map(\.line).joined(separator: "\n") + "\n"
      let log = try FaultRecord.parse(log: text)
      #expect(log == first.records)
      #expect(try run(all, seed: seed, faultSeed: 1 << 40, replay: log) == first, "seed \(seed)")
    }
  }

  @Test("that are taken out of the log do not happen in the replay")
  func shortened() throws {
    let first = try run(all, seed: 3, faultSeed: 3)
    let log = first.records.filter { $0.kind == .lostWrite || $0.kind == .powerCut }
    let again = try run(all, seed: 3, faultSeed: 3, replay: log)
    #expect(again.records.map(\.kind) == log.map(\.kind))
    #expect(try run(all, seed: 3, faultSeed: 3, replay: []).records.isEmpty)
  }

  @Test("of a fault that the disk does not have, or has as another kind, are refused")
  func foreignLog() throws {
    let record = FaultRecord(
      time: .zero, disk: FaultRig.disk, request: 4, fault: "lost-write", kind: .lostWrite)
    var other = record
    other.disk = "another"
    #expect(throws: FaultError.self) { try FaultReplay([record], disk: FaultRig.disk, plan: FaultPlan()) }
    #expect(throws: FaultError.self) {
      try FaultReplay(
        [record], disk: FaultRig.disk, plan: FaultPlan([Fault(.hang, name: "lost-write")]))
    }
    _ = try FaultReplay([other], disk: FaultRig.disk, plan: FaultPlan())
  }

  @Test(
    "that no line of a log are are refused, with the line's number",
    arguments: [
      "", "{", "{}", "[]", #"{"time":1}"#, #"{"time":-1,"disk":"d","fault":"a","kind":"hang"}"#,
      #"{"time":1,"disk":"d","fault":"a","kind":"hung"}"#,
      #"{"time":1,"disk":"d","fault":"a","kind":"hang"} x"#,
      #"{"time":1,"time":2,"disk":"d","fault":"a","kind":"hang"}"#,
      #"{"time":99999999999999999999,"disk":"d","fault":"a","kind":"hang"}"#,
      #"{"time":1,"disk":"d\"","fault":"a","kind":"hang"}"#,
      #"{"time":1,"disk":"d","fault":"a","kind":"hang","operation":"erase"}"#,
      #"{"time":1,"disk":"d","fault":"a","kind":"hang","to":[1,]}"#,
    ])
  func badLines(line: String) throws {
    let good = #"{"time":1,"disk":"d","request":2,"fault":"a","kind":"hang"}"#
    #expect(try FaultRecord.parse(log: "\n \(good)\n").count == 1)
    guard !line.isEmpty else { return }
    #expect {
      try FaultRecord.parse(log: "\(good)\n\(line)\n")
    } throws: { "\($0)".contains("line 2") }
  }

  @Test("with numbers that make no sense do no harm in a replay")
  func hostileReplay() throws {
    func record(_ kind: FaultKind, _ request: UInt64?, _ name: String, _ numbers: [UInt64]) -> FaultRecord {
      var record = FaultRecord(
        time: .milliseconds(1), disk: FaultRig.disk, request: request, fault: kind.rawValue, kind: kind)
      record.parameters = [.init(name, numbers)]
      return record
    }
    let faults = all
    let log = [
      record(.misdirectedWrite, 0, "to", [.max]), record(.misdirectedWrite, 1, "to", []),
      record(.corruptWrite, 2, "flips", [.max, 1 << 40]), record(.bitRot, 3, "flips", [.max]),
      record(.slow, 4, "slow", [.max, .max]), record(.slow, 5, "slow", [0]),
      record(.slow, 6, "slow", [0, 0]),
      record(.stall, 7, "until", [0]),
      record(.powerCut, nil, "kept", [0, .max, 9, 1, 5, 1 << 50, 2, 0, 0, 8]),
    ]
    let rig = try FaultRig(faults, model: model, replay: log)
    for index in 0..<8 { rig.submit(index == 3 ? .read : .write, index..<index + 1, number: 4) }
    rig.advance(to: .milliseconds(100))
    #expect(rig.records.count == 8)
    #expect(try rig.closeAndRead().count == rig.sectorCount)
  }
}
