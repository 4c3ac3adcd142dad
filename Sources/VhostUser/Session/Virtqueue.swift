// One ring of a session.
import CLinux
import Glibc
import Linux
import Synchronization

/// A ring as its device sees it: chains come out, and go back in any order.
///
/// It has one owner at a time. The session sets it up and takes it down; while it runs it belongs to its
/// home's thread, or without a home to the loop of the session. Only what is marked so may be used by both.
package final class Virtqueue {
  package let index: Int
  /// What chains are translated with while the ring runs. A chain's own stays mapped until it is completed.
  package internal(set) var memory: GuestMemory
  /// Chains that may still be taken; nil: as many as there are. For passes that end before the ring does.
  package var budget: Int?

  let home: (any RingHome)?
  let doorbell: Doorbell
  private let log: SessionLog

  // What the front-end said, piece by piece.
  var size: UInt16?
  var addresses: VringAddress?
  /// Where to start: see `Ring.base`.
  var base: UInt32?
  var isEnabled = false
  /// After GET_VRING_BASE, until a base or a kick comes.
  var isStopped = false
  var kick: Descriptor?
  var kickToken: EventLoop.Token?
  var call: Signal?
  var error: Signal?

  /// Exists while the ring runs.
  var ring: Ring?
  /// No more chains: the session is over.
  var isClosed = false
  /// Signalled when something was marked in the dirty log.
  var logSignal: SharedSignal?
  /// How the driver is called when there is no descriptor for it.
  var callInBand: (() -> Void)?
  /// The loop will look at the ring again.
  var wantsAttention = false
  /// The error descriptor was signalled for the present fault.
  var isFaultTold = false
  private var faultsSeen: CUnsignedInt = 0
  private var retired: [RetiredMemory] = []
  private let broken = Atomic(false)
  private let refused = Atomic(0)

  init(index: Int, home: (any RingHome)?, doorbell: Doorbell, log: SessionLog, memory: GuestMemory) {
    self.index = index
    self.home = home
    self.doorbell = doorbell
    self.log = log
    self.memory = memory
  }

  var runs: Bool { ring != nil }

  // MARK: From any thread

  /// The ring contradicted itself; only new set-up revives it.
  package var isBroken: Bool { broken.load(ordering: .acquiring) }

  /// Chains refused since the session began.
  package var refusedChains: Int { refused.load(ordering: .relaxed) }

  // MARK: The device's

  /// How many chains the ring can hold; 0 while it does not run.
  package var capacity: Int { Int(ring?.size ?? 0) }

  /// Readable when the driver has kicked; -1 if there is none. The same from `start` to `stop`.
  package var kickDescriptor: CInt { kick?.rawValue ?? -1 }

  /// Takes back what made the kick descriptor readable; false when it will never tell anything again, and
  /// must not be watched any more.
  package func takeKick() -> Bool {
    guard let kick = kick?.rawValue else { return false }
    var count: UInt64 = 0
    let result = CLinux_take_count(kick, &count)
    if result > 0 || (result < 0 && (errno == EAGAIN || errno == EINTR)) { return true }
    say("ring \(index) lost its kick")
    return false
  }

  /// Takes the next chain; nil if there is none now, or the budget is used up.
  ///
  /// Chains that are not worth the name are returned to the driver on the way.
  /// - Parameter asksForKick: after nil for want of chains the driver will kick when there are more. One who
  ///   looks again anyway does without: that spares both sides the kick.
  package func nextChain(asksForKick: Bool = true) -> Chain? {
    while !isClosed, budget != 0, let step = ring?.next(asksForKick: asksForKick) {
      switch step {
      case .chain(let chain):
        if let budget { self.budget = budget - 1 }
        return chain
      case .refused(let fault, let head):
        if let budget { self.budget = budget - 1 }
        refused.add(1, ordering: .relaxed)
        say("ring \(index), head \(head): \(fault)")
      case .empty:
        lookForFaults()
        return nil
      case .broken(let fault):
        lookForFaults()
        breakDown(fault)
        return nil
      }
    }
    return nil
  }

  /// Whether the driver has made something available that has not been taken; asks for no kick.
  package var hasAvailable: Bool { ring?.hasAvailable ?? false }

  /// Tells the driver to kick no more: the owner looks for a while (`hasAvailable`), and then calls
  /// `nextChain`, which asks for kicks again.
  package func declineKicks() { ring?.declineKicks() }

  /// Puts a chain back; the driver sees it after `publishAndSignal`.
  /// - Parameter written: bytes written into the writable part, counted from its start.
  /// - Returns: false if the ring does not know of the chain any more.
  @discardableResult
  package func complete(head: UInt16, written: UInt32) -> Bool {
    guard ring?.complete(head: head, written: written) == true else { return false }
    if !retired.isEmpty { letGo(head) }
    return true
  }

  /// Shows the driver what was completed, and calls it if it wants that.
  package func publishAndSignal() {
    let wantsCall = ring?.publish() == true
    if wantsCall {
      if let callInBand { callInBand() } else { call?.send() }
    }
    if let logSignal, ring?.log?.log != nil { logSignal.send() }
    lookForFaults()
  }

  /// A front-end that cut its memory off loses its session, and is told by that.
  private func lookForFaults() {
    let count = CLinux_guard_faults()
    guard count != faultsSeen else { return }
    faultsSeen = count
    if memory.isBroken { doorbell.ring() }
  }

  private func breakDown(_ fault: RingFault) {
    guard !isBroken else { return }
    // The line first: whoever hears of the fault finds it in the log.
    if !memory.isBroken { say("ring \(index) is broken: \(fault)") }
    broken.store(true, ordering: .releasing)
    if home != nil { doorbell.ring() }
  }

  private func say(_ line: @autoclosure () -> String) {
    if home == nil { log(line()) } else { doorbell.post(line()) }
  }
}

// MARK: - The session's

extension Virtqueue {
  /// New set-up: what went wrong before does not count.
  func mend() {
    broken.store(false, ordering: .releasing)
    isFaultTold = false
  }

  /// The ring is gone, and with it whatever was taken from it.
  func dropRing() {
    ring = nil
    retired.removeAll()
    wantsAttention = false
    budget = nil
  }

  /// Marks writes there from now on, if they are marked.
  func setLog(_ log: DirtyLog) {
    switch ring {
    case .some(let ring): ring.log?.log = log
    case .none: break
    }
  }

  /// Goes on in another memory. What was taken keeps the one it was taken with.
  func relocate(_ addresses: VringAddress, memory: GuestMemory) throws(VhostUserError) {
    guard let heads = ring?.heldHeads else { return }
    try ring?.relocate(addresses, memory: memory)
    if !heads.isEmpty, memory !== self.memory {
      retired.append(RetiredMemory(memory: self.memory, heads: Set(heads)))
    }
    self.memory = memory
  }

  /// Whether a front-end changes its memory faster than we answer; then the ring has to come to rest.
  var holdsTooMuchMemory: Bool { retired.count >= Limits.retiredMemories }

  private func letGo(_ head: UInt16) {
    for index in retired.indices { retired[index].heads.remove(head) }
    retired.removeAll { $0.heads.isEmpty }
  }
}

/// Memory that is not the guest's any more, and the chains that may still use it.
private struct RetiredMemory {
  let memory: GuestMemory
  var heads: Set<UInt16>
}

/// A descriptor through which we wake the front-end: an eventfd, or the end of a stream that UML gives us.
struct Signal: ~Copyable {
  private let descriptor: Descriptor
  private let kind: CInt

  init(owning descriptor: consuming Descriptor) throws(VhostUserError) {
    do throws(LinuxError) {
      try descriptor.setNonblocking(true)
    } catch { throw .system(error) }
    kind = CLinux_count_kind(descriptor.rawValue)
    self.descriptor = descriptor
  }

  /// One that is full, or that nobody reads any more, is signalled enough.
  func send() { CLinux_add_count(descriptor.rawValue, kind) }
}

/// A signal of several rings, which may be on several threads.
final class SharedSignal: Sendable {
  private let signal: Signal

  init(_ signal: consuming Signal) { self.signal = signal }

  func send() { signal.send() }
}
