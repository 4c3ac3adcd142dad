// So many requests at a time, first come first served.
package import Simulation

/// When a queue's servers, all alike, are free: the closed form of first come first served.
///
/// A request's service time is known when it comes, and nobody overtakes: so its end is known, too, and
/// nothing that comes later changes it.
package struct ServerPool: Sendable {
  /// When each server is free; a heap, the first of them in front.
  private var free: [SimulationTime]
  /// All service that was given, ns.
  package private(set) var busy: UInt64 = 0

  package init(count: Int) { free = Array(repeating: .zero, count: count) }

  /// Serves one request: the end of its service. - Complexity: O(log servers)
  package mutating func serve(at now: SimulationTime, for service: SimulationDuration) -> SimulationTime {
    let done = max(now, free[0]) + service
    let (sum, overflow) = busy.addingReportingOverflow(service.nanoseconds)
    busy = overflow ? .max : sum
    var hole = 0
    while true {
      var child = 2 * hole + 1
      guard child < free.count else { break }
      if child + 1 < free.count, free[child + 1] < free[child] { child += 1 }
      guard free[child] < done else { break }
      free[hole] = free[child]
      hole = child
    }
    free[hole] = done
    return done
  }
}
