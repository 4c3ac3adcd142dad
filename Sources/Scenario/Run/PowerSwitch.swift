// Power cuts at a time.
import BlockDevice
import Simulation
import TimeTravel

/// Cuts the power of nodes when it is time, before anything else happens then.
///
/// It takes part in the simulation as a client of its own, which does not keep it going: when all nodes have
/// ended, nobody waits for a cut that is still to come.
final class PowerSwitch {
  struct Cut: Equatable {
    let time: SimulationTime
    let node: String
    let fault: String
  }

  private let client: LocalClient
  /// By time, then in the order of the nodes.
  private var cuts: [Cut]

  init(_ cuts: [Cut], _ controller: Controller, _ server: DiskServer) {
    self.cuts = cuts
    client = controller.makeLocalClient(name: .max - 1, priority: 0, isPassive: true)
    client.onTurn = { [unowned self, unowned server] in
      while let cut = self.cuts.first, cut.time <= client.now {
        self.cuts.removeFirst()
        server.cutPower(of: cut.node, by: cut.fault, at: cut.time)
      }
      client.finishTurn(next: self.cuts.first?.time)
    }
    if let first = cuts.first { client.requestWake(at: first.time) }
  }

  /// The cuts that happen at a time, whatever the nodes do; in a replay, those that happened.
  static func cuts(
    of scenario: Scenario, _ disks: [DiskConfiguration], replaying log: [FaultRecord]?
  ) -> [Cut] {
    var cuts: [Cut] = []
    for node in scenario.nodes {
      for fault in node.faults where fault.kind == .powerCut && fault.isTimed {
        guard let time = fault.trigger.at else { continue }
        let names = disks.filter { $0.node == node.name }.map(\.name)
        let happens =
          log?.contains { $0.fault == fault.name && $0.request == nil && names.contains($0.disk) } ?? true
        if happens { cuts.append(Cut(time: time, node: node.name, fault: fault.name)) }
      }
    }
    // In the order of the nodes where times are equal.
    return cuts.enumerated().sorted { ($0.element.time, $0.offset) < ($1.element.time, $1.offset) }.map(
      \.element)
  }
}
