// What the device calls.

extension Session {
  /// How many of our messages on the back-end channel the front-end has yet to answer.
  package var callsAwaitingReply: Int { unanswered.count }

  /// One of the rings.
  package func virtqueue(_ index: Int) -> Virtqueue { queues[index] }

  /// Asks for another `queueNotified`, from the loop: the device stopped taking chains and can go on.
  package func requestNotification(queue index: Int) {
    queues[index].wantsAttention = true
    doorbell.ring()
  }

  /// Tells the driver to read the configuration space again, if it can be told.
  package func configurationChanged() {
    guard protocolFeatures.contains([.backendChannel, .configuration]) else { return }
    sendOnChannel(.configurationChanged, nil)
  }

  /// Whether a ring is running.
  package func isRunning(queue index: Int) -> Bool { queues[index].runs && !queues[index].isBroken }

  /// Lets the device look at a ring: at most as many chains as the ring holds, the rest on the loop's next
  /// turn. A ring with a home looks by itself; of that it is reminded.
  func serve(_ queue: Virtqueue) {
    guard queue.runs, !queue.isBroken, !isEnded else { return }
    if let home = queue.home { return home.perform {} }
    servedRing = true
    queue.budget = queue.capacity
    backend.queueNotified(queue, session: self)
    queue.publishAndSignal()
    tellFault(queue)
    if queue.budget == 0, queue.hasAvailable { requestNotification(queue: queue.index) }
    queue.budget = nil
  }
}
