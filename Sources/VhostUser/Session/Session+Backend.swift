// What the device calls.
import CLinux
import Glibc

extension Session {
  /// How many of our messages on the back-end channel the front-end has yet to answer.
  package var callsAwaitingReply: Int { unanswered.count }

  /// Takes the next chain of a ring; nil if there is none now, or not in this pass.
  ///
  /// Chains that are not worth the name are returned to the driver on the way.
  package func nextChain(queue index: Int) -> Chain? {
    let queue = queues[index]
    while !isEnded, queue.budget != 0, let step = queue.split?.next() {
      switch step {
      case .chain(let chain):
        if let budget = queue.budget { queue.budget = budget - 1 }
        return chain
      case .refused(let fault, let head):
        if let budget = queue.budget { queue.budget = budget - 1 }
        queue.refusedChains += 1
        log("ring \(index), head \(head): \(fault)")
      case .empty: return nil
      case .broken(let fault):
        ringBroke(queue, fault)
        return nil
      }
    }
    return nil
  }

  /// Puts a chain into the used ring; the driver sees it after `publishAndSignal`.
  /// - Parameter written: bytes written into the writable part, counted from its start.
  /// - Returns: false if the ring does not know of the chain any more.
  @discardableResult
  package func complete(queue index: Int, head: UInt16, written: UInt32) -> Bool {
    queues[index].split?.complete(head: head, written: written) ?? false
  }

  /// Shows the driver what was completed, and calls it if it wants that.
  package func publishAndSignal(queue index: Int) {
    let queue = queues[index]
    guard queue.split?.publish() == true else { return }
    call(queue)
  }

  /// Writes one byte, the status of a request; false if the address is not in guest memory.
  @discardableResult
  package func writeByte(_ value: UInt8, atGuestAddress address: UInt64) -> Bool {
    guard let piece = memory.piece(at: address, count: 1), let base = piece.baseAddress else { return false }
    base.storeBytes(of: value, as: UInt8.self)
    return true
  }

  /// Asks for another `queueNotified`, from the loop: the device stopped taking chains and can go on.
  package func requestNotification(queue index: Int) {
    queues[index].wantsAttention = true
    ringDoorbell()
  }

  /// Tells the driver to read the configuration space again, if it can be told.
  package func configurationChanged() {
    guard protocolFeatures.contains([.backendChannel, .configuration]) else { return }
    sendOnChannel(.configurationChanged, nil)
  }

  /// How many chains of a ring were refused since the session began.
  package func refusedChains(queue index: Int) -> Int { queues[index].refusedChains }

  /// Whether a ring is running.
  package func isRunning(queue index: Int) -> Bool { queues[index].runs && !queues[index].isBroken }

  /// Lets the device look at a ring: at most as many chains as the ring holds, the rest on the loop's next
  /// turn.
  func serve(_ queue: Virtqueue) {
    guard let size = queue.split?.size, !queue.isBroken, !isEnded else { return }
    servedRing = true
    queue.budget = Int(size)
    backend.queueNotified(queue.index, session: self)
    publishAndSignal(queue: queue.index)
    if queue.budget == 0, queue.split?.hasAvailable == true { requestNotification(queue: queue.index) }
    queue.budget = nil
  }
}
