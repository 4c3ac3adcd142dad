// The life of a ring: set up piece by piece, started, stopped.
import CLinux
import Glibc
import Linux

extension Session {
  func queue(_ index: some BinaryInteger) throws(VhostUserError) -> Virtqueue {
    guard index < queues.count else { throw .noSuchRing(Int(index)) }
    return queues[Int(index)]
  }

  func setSize(_ state: VringState) throws(VhostUserError) {
    let queue = try queue(state.index)
    guard !queue.runs else { throw .ringRuns(queue.index) }
    let size = state.value
    guard size > 0, size <= Limits.queueSize, size & (size - 1) == 0 else { throw .queueSize(size) }
    queue.size = UInt16(size)
    queue.isBroken = false
    try startIfReady(queue)
  }

  func setAddress(_ addresses: VringAddress) throws(VhostUserError) {
    let queue = try queue(addresses.index)
    if let size = queue.size {
      do throws(VhostUserError) {
        _ = try SplitQueue.translate(addresses, size: size, memory: memory)
      } catch {
        // With memory slots the regions may come after the rings that lie in them.
        guard case .ringAddress = error, protocolFeatures.contains(.memorySlots) else { throw error }
      }
    }
    if queue.runs { try queue.split?.relocate(addresses, memory: memory) }
    queue.addresses = addresses
    queue.isBroken = false
    try startIfReady(queue)
  }

  func setBase(_ state: VringState) throws(VhostUserError) {
    let queue = try queue(state.index)
    guard !queue.runs else { throw .ringRuns(queue.index) }
    guard let base = UInt16(exactly: state.value) else { throw .baseIndex(state.value) }
    queue.base = base
    queue.isStopped = false
    queue.isBroken = false
    try startIfReady(queue)
  }

  func stopAndGetBase(_ state: VringState) throws(VhostUserError) -> [UInt8] {
    let queue = try queue(state.index)
    stop(queue)
    queue.isStopped = true
    dropKick(queue)
    var reply: [UInt8] = []
    VringState(index: state.index, value: UInt32(queue.base ?? 0)).encode(into: &reply)
    return reply
  }

  func setEnabled(_ state: VringState) throws(VhostUserError) {
    let queue = try queue(state.index)
    if state.value == 0 { return disable(queue) }
    queue.isEnabled = true
    let ran = queue.runs
    try startIfReady(queue)
    if ran { serve(queue) }
  }

  func disable(_ queue: Virtqueue) {
    stop(queue)
    queue.isEnabled = false
  }

  /// Back to what the ring was at the beginning of the session.
  func forget(_ queue: Virtqueue) {
    dropKick(queue)
    queue.call = nil
    queue.error = nil
    queue.size = nil
    queue.addresses = nil
    queue.base = nil
    queue.isStopped = false
    queue.isBroken = false
  }

  /// Starts the ring when nothing is missing, and looks at it: the driver may have kicked before we listened.
  func startIfReady(_ queue: Virtqueue) throws(VhostUserError) {
    guard !queue.runs, !isEnded, queue.isEnabled, !queue.isStopped, !queue.isBroken, hasKick(queue),
      let size = queue.size, let base = queue.base, let addresses = queue.addresses, !memory.isEmpty
    else { return }
    queue.split = try SplitQueue(
      size: size, addresses: addresses, base: base, features: features, memory: memory)
    serve(queue)
  }

  private func hasKick(_ queue: Virtqueue) -> Bool {
    queue.kickToken != nil || protocolFeatures.contains(.inBandNotifications)
  }

  /// Stops the ring and remembers where it was.
  func stop(_ queue: Virtqueue, publishing: Bool = true) {
    guard queue.runs else { return }
    backend.queueStopping(queue.index, session: self)
    if publishing { publishAndSignal(queue: queue.index) }
    queue.base = queue.split?.nextAvailable
    queue.split = nil
    queue.wantsAttention = false
  }

  /// The ring contradicted itself: it stays as it is, silent, until it is set up again.
  func ringBroke(_ queue: Virtqueue, _ fault: RingFault) {
    guard !queue.isBroken else { return }
    queue.isBroken = true
    log("ring \(queue.index) is broken: \(fault)")
    queue.error?.send()
  }
}
