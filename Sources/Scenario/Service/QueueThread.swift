// A thread that serves one ring.
import BlockDevice
import BlockIO
import Glibc
import Linux
import Simulation
import VhostUser
import VirtioBlock

/// Serves a ring on a thread of its own, which begins with the ring's first start and ends with `end`.
///
/// The thread sleeps in its lane's engine, which tells it of kicks, of finished transfers and of its mailbox:
/// with io_uring one system call submits, waits and reaps. Everything here belongs to the thread, except
/// while it stands still for the session (`Mailbox.perform`).
final class QueueThread: RingHome, @unchecked Sendable {
  private let device: SharedDevice
  private let name: String
  private let makeEngine: () throws(BlockIOError) -> any QueuedEngine
  private let report: @Sendable (String) -> Void
  private var mailbox: Mailbox?
  private var thread: WorkerThread?

  private var lane: Lane?
  private var chains: VirtioBlockQueue?
  private var queue: Virtqueue?
  private var watchedKick: CInt = -1
  private var isStopping = false
  private var isEnding = false
  private var stopped: Rendezvous?
  private var polling = KickPolling()
  private var completions: [BlockCompletion] = []
  private var ready: [UInt64] = []
  /// What past threads of this ring did.
  private var pastStatistics = DeviceStatistics()

  private enum Tag { static let mailbox: UInt64 = 0, kick: UInt64 = 1 }

  init(
    device: SharedDevice, name: String, makeEngine: @escaping () throws(BlockIOError) -> any QueuedEngine,
    report: @escaping @Sendable (String) -> Void
  ) {
    self.device = device
    self.name = name
    self.makeEngine = makeEngine
    self.report = report
  }

  // MARK: - From the session's thread

  func start(_ queue: Virtqueue) {
    guard begin() else { return }
    mailbox?.perform {
      self.queue = queue
      isStopping = false
    }
  }

  func stop(_ queue: Virtqueue) {
    guard let mailbox else { return }
    let stopped = Rendezvous()
    var isServed = false
    mailbox.perform {
      isServed = self.queue === queue
      guard isServed else { return }
      isStopping = true
      self.stopped = stopped
    }
    if isServed { stopped.wait() }
  }

  func perform(_ body: () -> Void) {
    if let mailbox { mailbox.perform(body) } else { body() }
  }

  /// What the lane did so far.
  var statistics: DeviceStatistics {
    var result = DeviceStatistics()
    perform {
      result = pastStatistics
      if let lane { result.add(lane.statistics) }
    }
    return result
  }

  /// Ends the thread; its ring has been stopped.
  func end() {
    mailbox?.perform { isEnding = true }
    thread?.join()
    thread = nil
    mailbox = nil
  }

  private func begin() -> Bool {
    guard thread == nil else { return true }
    do {
      let lane = try Lane(device, engine: try makeEngine())
      let mailbox = try Mailbox()
      try lane.watch(mailbox.descriptor, tag: Tag.mailbox)
      self.lane = lane
      chains = VirtioBlockQueue(lane: lane, name: device.name)
      isEnding = false
      thread = try WorkerThread(name) { [self] in run(mailbox) }
      self.mailbox = mailbox
      return true
    } catch {
      chains = nil
      lane = nil
      report("disk '\(device.name)': a ring cannot be served: \(error)")
      return false
    }
  }

  // MARK: - On the thread

  private func run(_ mailbox: Mailbox) {
    guard let lane, let chains else { return }
    do throws(BlockIOError) {
      while !isEnding { try turn(lane, chains, mailbox) }
    } catch {
      report("disk '\(device.name)': its engine failed: \(error)")
      // What was under way may still be written to memory: the lane stays.
      if lane.inFlight > 0 { _ = Unmanaged.passRetained(lane) }
      giveUp(mailbox)
    }
    lane.unwatch(mailbox.descriptor)
    pastStatistics.add(lane.statistics)
    self.chains = nil
    self.lane = nil
  }

  /// Waits for something to do, and does it.
  private func turn(_ lane: Lane, _ chains: VirtioBlockQueue, _ mailbox: Mailbox) throws(BlockIOError) {
    completions.removeAll(keepingCapacity: true)
    ready.removeAll(keepingCapacity: true)
    // Where work was left the driver was not asked to kick.
    let wait: Wait = lane.leftWork ? .no : .forever
    try lane.run(wait, clock: hostTime, completions: &completions, ready: &ready)
    for tag in ready {
      if tag == Tag.mailbox {
        mailbox.drain()
        try watchKick(lane)
      } else if queue?.takeKick() == false {
        unwatchKick(lane)
      }
    }
    guard let queue else { return }
    chains.put(completions, into: queue)
    let isIdle = !isStopping && lane.inFlight == 0 && !completions.isEmpty && !queue.hasAvailable
    if isIdle, let nanoseconds = polling.worthwhileTime() {
      queue.declineKicks()
      queue.publishAndSignal()
      polling.look(at: queue, for: nanoseconds)
    }
    if !isStopping {
      polling.lastTaken = hostTime()
      chains.take(from: queue, at: polling.lastTaken, asksForKick: !lane.leftWork)
    }
    queue.publishAndSignal()
    if isStopping, lane.inFlight == 0 { letGo(lane) }
  }

  /// Looks for kicks of the ring that is served now.
  private func watchKick(_ lane: Lane) throws(BlockIOError) {
    let wanted = isStopping ? -1 : queue?.kickDescriptor ?? -1
    guard wanted != watchedKick else { return }
    unwatchKick(lane)
    guard wanted >= 0 else { return }
    try lane.watch(wanted, tag: Tag.kick)
    watchedKick = wanted
  }

  private func unwatchKick(_ lane: Lane) {
    if watchedKick >= 0 { lane.unwatch(watchedKick) }
    watchedKick = -1
  }

  /// Everything that was taken from the ring is back in it.
  private func letGo(_ lane: Lane) {
    unwatchKick(lane)
    queue = nil
    stopped?.signal()
    stopped = nil
  }

  /// Without an engine nothing will complete: the ring is silent, and the session may take it down.
  private func giveUp(_ mailbox: Mailbox) {
    while !isEnding {
      guard waitUntilReadable(mailbox.descriptor) else { return }
      mailbox.drain()
      guard isStopping else { continue }
      queue = nil
      stopped?.signal()
      stopped = nil
    }
  }
}

/// The host's time since it was started.
func hostTime() -> SimulationTime {
  SimulationTime(nanoseconds: HostClock.nanoseconds)
}

private func waitUntilReadable(_ descriptor: CInt) -> Bool {
  var query = pollfd(fd: descriptor, events: CShort(POLLIN), revents: 0)
  while poll(&query, 1, -1) < 0 { if errno != EINTR { return false } }
  return true
}
