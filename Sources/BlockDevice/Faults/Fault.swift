// One thing that goes wrong with a disk, as somebody asked for it.
package import Simulation

/// A fault: what, when, where, how much. A pure value; what has happened of it is elsewhere.
package struct Fault: Equatable, Sendable {
  /// What of a write cache survives a power cut.
  package enum Survival: String, CaseIterable, Sendable {
    /// Nothing.
    case none
    /// The first ones, in the order of submission, up to a random one.
    case prefix
    /// Each with a chance of one half.
    case subset
    /// Everything: a cache that is protected.
    case all
  }

  /// What a disk without power says.
  package enum Answer: String, CaseIterable, Sendable {
    /// Nothing: requests never complete.
    case never
    /// Every request fails.
    case error
  }

  /// Names its random numbers, and its decisions in logs: unique on a disk.
  package var name: String
  package var kind: FaultKind
  package var trigger = FaultTrigger()
  /// Which requests it strikes; of the kind's.
  package var operations: FaultOperations
  /// In units of 512 bytes: which requests it strikes, those that touch one of these; nil is the whole disk.
  package var sectors: Range<UInt64>?
  /// Whether it is the whole node's: a power cut then takes the other disks and the machine along.
  package var isOfNode = false

  /// `corrupt-write`, `bit-rot`: how many bits of a request are flipped.
  package var bits: UInt64 = 1
  /// `latent-errors`: how many random sectors; nil takes all of `sectors`.
  package var number: UInt64?
  /// `no-space`: how many bytes may be used that were not used at the beginning.
  package var space: UInt64 = 0
  /// `stale-read`: how many bytes of former content are kept.
  package var history: UInt64 = 16 << 20
  /// `slow`: in thousandths of what the model says.
  package var factor: UInt64 = 1000
  /// `slow`: besides.
  package var extra = SimulationDuration.zero
  /// `power-cut`: what survives.
  package var keeps = Survival.none
  /// `power-cut`: in units of which a write may survive in part, 512 or 4096 bytes; nil for whole writes.
  package var torn: UInt64?
  /// `power-cut`: bytes of the cache; what does not fit is written to the disk, oldest first.
  package var cache: UInt64 = 64 << 20
  /// `power-cut`: what requests hear afterwards.
  package var answer = Answer.never

  package init(_ kind: FaultKind, name: String? = nil) {
    self.kind = kind
    self.name = name ?? kind.rawValue
    operations = kind.operations
  }

  /// Whether it happens at a time, whether or not there is a request.
  package var isTimed: Bool {
    kind.isFinal && trigger.at != nil && trigger.probability == nil && sectors == nil
      && operations == kind.operations
  }

  /// Whether it needs simulated time.
  package var needsTime: Bool { kind.takesTime || trigger.needsTime }

  /// Complains of what contradicts itself.
  package func validate() throws(FaultError) {
    if let complaint = complaint(aboutName: name) { throw FaultError(complaint, key: "name") }
    try trigger.validate()
    guard !operations.isEmpty, kind.operations.isSuperset(of: operations) else {
      throw FaultError(
        "a \(kind.rawValue) strikes \(kind.operations.names.joined(separator: ", ")), "
          + "not \(operations.subtracting(kind.operations).names.joined(separator: ", "))", key: "operations")
    }
    if let sectors, sectors.isEmpty { throw FaultError("'sectors' names no sector", key: "sectors") }
    switch kind {
    case .powerCut: try validatePowerCut()
    case .removal: try requireMoment()
    case .slow where factor == 1000 && extra == .zero:
      throw FaultError("slow needs a 'factor' of more than 1, or 'extra'")
    case .slow where factor < 1000: throw FaultError("'factor' below 1 would make it faster", key: "factor")
    case .stall where trigger.duration == nil && trigger.until == nil:
      throw FaultError("a stall needs 'for' or 'until': without an end nothing would ever complete")
    case .latentErrors: try validateLatentErrors()
    default: break
    }
    if !kind.parameterNames.contains("count"), case .requests = trigger.period {
      throw FaultError("'every' of a \(kind.rawValue) is a time, like \"10s\"", key: "every")
    }
    if (kind == .corruptWrite || kind == .bitRot) && !(1...Limits.bitsMax).contains(bits) {
      throw FaultError("'bits' is \(bits), not 1 to \(Limits.bitsMax)", key: "bits")
    }
  }

  private func validatePowerCut() throws(FaultError) {
    try requireMoment()
    if let torn {
      guard torn == 512 || torn == 4096 else {
        throw FaultError("'torn' is \(torn), not 512 or 4096", key: "torn")
      }
      guard keeps == .prefix || keeps == .subset else {
        throw FaultError(
          "'torn' contradicts keeps = \"\(keeps.rawValue)\", which leaves no write in part: "
            + "use \"prefix\" or \"subset\"", key: "torn")
      }
    }
    if isOfNode, answer == .error {
      throw FaultError("'answer' is for a disk that loses its power alone: here its node ends", key: "answer")
    }
  }

  private func requireMoment() throws(FaultError) {
    guard trigger.at != nil || trigger.after != nil || trigger.probability != nil else {
      throw FaultError("a \(kind.rawValue) needs 'at', 'after' or 'probability'")
    }
  }

  private func validateLatentErrors() throws(FaultError) {
    guard sectors != nil || number != nil else {
      throw FaultError("latent-errors needs 'sectors' or 'number': all of the disk would be unreadable")
    }
    if let number {
      guard (1...Limits.latentSectorsMax).contains(number) else {
        throw FaultError("'number' is \(number), not 1 to \(Limits.latentSectorsMax)", key: "number")
      }
      if let sectors, number > UInt64(sectors.count) {
        throw FaultError("'number' \(number) is more than there are in 'sectors'", key: "number")
      }
    }
  }
}

/// Everything that goes wrong with one disk.
package struct FaultPlan: Equatable, Sendable {
  package var faults: [Fault]

  package init(_ faults: [Fault] = []) { self.faults = faults }

  package var isEmpty: Bool { faults.isEmpty }

  /// Whether one of them needs simulated time.
  package var needsTime: Bool { faults.contains(where: \.needsTime) }

  /// What must hold among them; each for itself is valid.
  package func validate() throws(FaultError) {
    for (index, fault) in faults.enumerated() {
      let earlier = faults[..<index]
      if earlier.contains(where: { $0.name == fault.name }) {
        throw FaultError(
          "two faults of one disk are called '\(fault.name)': give each a 'name', "
            + "from which its random numbers are derived")
      }
      if fault.kind == .powerCut,
        let other = earlier.first(where: { $0.kind == .powerCut && $0.cache != fault.cache })
      {
        throw FaultError("'\(other.name)' and '\(fault.name)' give one disk caches of two sizes")
      }
    }
  }

  /// What must hold for a disk of so many bytes.
  package func validate(size: UInt64) throws(FaultError) {
    for fault in faults {
      if let sectors = fault.sectors, sectors.upperBound > size / Limits.faultSector {
        throw FaultError(
          "fault '\(fault.name)': sectors \(sectors.lowerBound)-\(sectors.upperBound - 1) go beyond "
            + "the disk, which has \(size / Limits.faultSector)")
      }
      if let number = fault.number, number > size / Limits.faultSector {
        throw FaultError("fault '\(fault.name)': number \(number) is more sectors than the disk has")
      }
    }
  }
}

/// Why a fault was refused; one lower-case line.
package struct FaultError: Error, CustomStringConvertible {
  package let description: String
  /// The key that is wrong; whoever knows its file and line puts them before the description.
  package let key: String?

  package init(_ description: String, key: String? = nil) {
    self.description = description
    self.key = key
  }
}
