// The decisions of an earlier run.
import Simulation

/// What happened to one disk, to be repeated: requests by their sequence numbers, the rest by its time.
package struct FaultReplay {
  private struct Key: Hashable {
    let fault: String
    let request: UInt64
  }

  private var requests: [Key: FaultRecord] = [:]
  /// Without a request, in their order.
  private var timed: [FaultRecord] = []
  private var stalls: [FaultRecord] = []

  /// - Parameter log: of a whole run; other disks' decisions are passed over.
  package init(_ log: [FaultRecord], disk: String, plan: FaultPlan) throws(FaultError) {
    for record in log where record.disk == disk {
      guard let fault = plan.faults.first(where: { $0.name == record.fault }) else {
        throw FaultError(
          "the log has a fault '\(record.fault)' of disk '\(disk)', which has none of that name")
      }
      guard fault.kind == record.kind else {
        throw FaultError(
          "the log has '\(record.fault)' of disk '\(disk)' as a \(record.kind.rawValue), "
            + "but it is a \(fault.kind.rawValue)")
      }
      if record.kind == .stall {
        stalls.append(record)
      } else if let request = record.request {
        requests[Key(fault: record.fault, request: request)] = record
      } else {
        timed.append(record)
      }
    }
  }

  func decision(_ fault: String, _ request: UInt64?) -> FaultRecord? {
    request.flatMap { requests[Key(fault: fault, request: $0)] }
  }

  /// When a fault happens next without a request.
  func nextTime(of fault: Fault) -> SimulationTime? { timed.first { $0.fault == fault.name }?.time }

  /// Takes out the next event of a fault without a request.
  mutating func takeTimed(_ fault: String) -> FaultRecord? {
    timed.firstIndex { $0.fault == fault }.map { timed.remove(at: $0) }
  }

  func stall(of fault: Fault, at time: SimulationTime) -> Range<SimulationTime>? {
    for record in stalls where record.fault == fault.name {
      let end = SimulationTime(nanoseconds: record.numbers("until").first ?? 0)
      if record.time <= time, time < end { return record.time..<end }
    }
    return nil
  }
}
