// One ring and one lane.
package import BlockDevice
package import Simulation
package import VhostUser

/// Takes the chains of a ring to a lane, and the lane's answers back; both belong to the thread that calls.
package final class VirtioBlockQueue {
  private let lane: Lane
  private let name: String
  private var parser = VirtioBlockParser()
  private var open = OpenChains()

  /// - Parameter name: what GET_ID says.
  package init(lane: Lane, name: String) {
    self.lane = lane
    self.name = name
  }

  /// Submits what the driver has made available; what needs no disk is answered at once.
  /// - Parameter asksForKick: the driver will kick when there is more.
  package func take(from queue: Virtqueue, at now: SimulationTime, asksForKick: Bool) {
    while var chain = queue.nextChain(asksForKick: asksForKick) {
      switch parser.parse(&chain) {
      case .malformed: queue.complete(head: chain.head, written: 0)
      case .answer(let status): open.refuse(chain, status, in: queue)
      case .identify:
        chain.identify(as: name)
        open.refuse(chain, .ok, in: queue)
      case .requests:
        open.open(chain, answers: parser.requests.count)
        for request in parser.requests { lane.submit(request, data: chain.data(for: request), at: now) }
      }
    }
  }

  /// Puts the answers of the lane back into the ring; they are not published yet.
  package func put(_ completions: [BlockCompletion], into queue: Virtqueue) {
    for completion in completions { open.close(completion, in: queue) }
  }
}
