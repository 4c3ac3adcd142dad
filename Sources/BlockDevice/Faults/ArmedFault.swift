// A fault and what has become of it.
import Simulation

/// Decides for one fault. Its numbers are its own, drawn anew for each request from its name and the
/// request's sequence number: nothing that other faults, disks or nodes do moves them.
struct ArmedFault {
  let fault: Fault
  private let key: UInt64
  /// How many requests were taken that it might have struck.
  private var matched: UInt64 = 0
  private(set) var struck: UInt64 = 0
  /// When its first window begins, once that is known.
  private var begin: SimulationTime?
  /// Of `latent-errors`, chosen when they begin.
  private var marks: SectorBitmap?
  private let sectorCount: UInt64

  /// - Parameter disk: its name, with its node's.
  init(_ fault: Fault, disk: String, seed: UInt64, size: UInt64) {
    self.fault = fault
    var stream = RandomStream(seed: seed, name: "\(disk)/fault/\(fault.name)")
    key = stream.next()
    sectorCount = size / Limits.faultSector
    if fault.trigger.after == nil { begin = fault.trigger.at ?? .zero }
  }

  /// The numbers for one purpose and one request.
  func stream(_ purpose: String, _ sequence: UInt64) -> RandomStream {
    RandomStream(seed: key &+ sequence, name: purpose)
  }

  /// Counts a request, and says whether this fault strikes it; not for those that are states.
  mutating func strikes(_ request: BlockRequest, _ sequence: UInt64, at now: SimulationTime) -> Bool {
    guard matches(request) else { return false }
    count(at: now)
    guard !fault.isTimed, activeWindow(at: now) != nil else { return false }
    let trigger = fault.trigger
    if case .requests(let period) = trigger.period, (matched - (trigger.after ?? 0)) % period != 0 {
      return false
    }
    guard struck < (fault.kind.isFinal ? 1 : trigger.count ?? .max) else { return false }
    if let probability = trigger.probability {
      var random = stream("strikes", sequence)
      guard probability.strikes(random.next()) else { return false }
    }
    struck += 1
    return true
  }

  /// A power cut or a removal has happened.
  mutating func spend() { struck += 1 }

  /// Counts a request for a fault that is a state: those count all.
  mutating func count(at now: SimulationTime) {
    matched += 1
    if begin == nil, matched > fault.trigger.after ?? 0 { begin = now }
  }

  /// The window in which it is at work at `now`; nil if it is not.
  func activeWindow(at now: SimulationTime) -> Range<SimulationTime>? {
    begin.flatMap { fault.trigger.window(at: now, begin: $0) }
  }

  /// When it happens by itself, if it still does.
  var due: SimulationTime? { fault.isTimed && struck == 0 ? fault.trigger.at : nil }

  /// The first sector of a range that cannot be read now.
  mutating func unreadableSector(_ range: Range<UInt64>, at now: SimulationTime) -> UInt64? {
    guard activeWindow(at: now) != nil else { return nil }
    if marks == nil { marks = chooseMarks() }
    return marks?.firstSet(in: range)
  }

  /// These sectors were written anew.
  mutating func heal(_ range: Range<UInt64>, at now: SimulationTime) {
    if marks == nil, activeWindow(at: now) != nil { marks = chooseMarks() }
    marks?.set(range, to: false)
  }

  private func chooseMarks() -> SectorBitmap {
    var marks = SectorBitmap(unitCount: sectorCount)
    let range = fault.sectors ?? 0..<sectorCount
    guard let number = fault.number else {
      marks.set(range, to: true)
      return marks
    }
    var random = stream("sectors", 0)
    let length = range.upperBound - range.lowerBound
    for _ in 0..<number {
      let sector = range.lowerBound + random.below(length)
      marks.set(sector..<sector + 1, to: true)
    }
    return marks
  }

  private func matches(_ request: BlockRequest) -> Bool {
    guard fault.operations.contains(request.operation) else { return false }
    guard let sectors = fault.sectors else { return true }
    let first = request.offset / Limits.faultSector
    let end = (request.offset + request.length + Limits.faultSector - 1) / Limits.faultSector
    return request.length > 0 && first < sectors.upperBound && end > sectors.lowerBound
  }
}
