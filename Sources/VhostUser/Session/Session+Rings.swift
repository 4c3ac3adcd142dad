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
    guard isQueueSize(size) else { throw .queueSize(size) }
    queue.size = UInt16(size)
    queue.mend()
    try startIfReady(queue)
  }

  private func isQueueSize(_ size: UInt32) -> Bool {
    size > 0 && size <= Limits.queueSize && (isPacked || size & (size - 1) == 0)
  }

  private var isPacked: Bool { features & RingFeatures.packed != 0 }

  func setAddress(_ addresses: VringAddress) throws(VhostUserError) {
    let queue = try queue(addresses.index)
    if let size = queue.size {
      do throws(VhostUserError) {
        try Ring.check(addresses, size: size, features: features, memory: memory)
      } catch {
        // With memory slots the regions may come after the rings that lie in them.
        guard case .ringAddress = error, protocolFeatures.contains(.memorySlots) else { throw error }
      }
    }
    if queue.runs { try relocate(queue, addresses) }
    queue.addresses = addresses
    queue.mend()
    try startIfReady(queue)
  }

  func setBase(_ state: VringState) throws(VhostUserError) {
    let queue = try queue(state.index)
    guard !queue.runs else { throw .ringRuns(queue.index) }
    guard isPacked || state.value <= UInt16.max else { throw .baseIndex(state.value) }
    queue.base = state.value
    queue.isStopped = false
    queue.mend()
    try startIfReady(queue)
  }

  func stopAndGetBase(_ state: VringState) throws(VhostUserError) -> [UInt8] {
    let queue = try queue(state.index)
    stop(queue)
    queue.isStopped = true
    dropKick(queue)
    var reply: [UInt8] = []
    VringState(index: state.index, value: queue.base ?? 0).encode(into: &reply)
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
    queue.mend()
  }

  /// Starts the ring when nothing is missing, and looks at it: the driver may have kicked before we listened.
  func startIfReady(_ queue: Virtqueue) throws(VhostUserError) {
    guard !queue.runs, !isEnded, queue.isEnabled, !queue.isStopped, !queue.isBroken, hasKick(queue),
      let size = queue.size, let base = queue.base, let addresses = queue.addresses, !memory.isEmpty
    else { return }
    queue.ring = try Ring(
      size: size, addresses: addresses, base: base, features: features, memory: memory,
      suppressesKicks: queue.home != nil, inflight: inflight, queue: queue.index,
      log: dirtyLog)
    queue.memory = memory
    if let home = queue.home { home.start(queue) } else { serve(queue) }
  }

  private func hasKick(_ queue: Virtqueue) -> Bool { queue.kick != nil || isInBand }

  /// Stops the ring and remembers where it was.
  func stop(_ queue: Virtqueue, publishing: Bool = true) {
    guard queue.runs else { return }
    bringToRest(queue)
    if publishing, queue.home == nil { queue.publishAndSignal() }
    queue.base = queue.ring?.base
    queue.dropRing()
    // What its thread said last shall not come after what we say next.
    if queue.home != nil { log.collect(from: doorbell) }
  }

  /// After the return nobody touches the ring, nor the memory of its chains, and everything that was taken
  /// has been completed, or forgotten by a device that knows why.
  func bringToRest(_ queue: Virtqueue) {
    guard queue.runs else { return }
    if let home = queue.home { home.stop(queue) } else { backend.queueStopping(queue, session: self) }
  }

  /// Does something to a ring, which may be running, while nobody else looks at it.
  func perform(on queue: Virtqueue, _ body: () -> Void) {
    if queue.runs, let home = queue.home { home.perform(body) } else { body() }
  }

  /// Moves a running ring to other addresses, or into the present memory.
  func relocate(_ queue: Virtqueue, _ addresses: VringAddress) throws(VhostUserError) {
    if queue.holdsTooMuchMemory {
      stop(queue)
      queue.addresses = addresses
      return try startIfReady(queue)
    }
    var refusal: VhostUserError?
    perform(on: queue) {
      do throws(VhostUserError) {
        try queue.relocate(addresses, memory: memory)
      } catch { refusal = error }
    }
    if let refusal { throw refusal }
  }

  /// A ring that broke signals its error descriptor, once, and stays as it is, silent, until it is set up
  /// again.
  func tellFault(_ queue: Virtqueue) {
    guard queue.isBroken, !queue.isFaultTold else { return }
    queue.isFaultTold = true
    queue.error?.send()
  }
}
