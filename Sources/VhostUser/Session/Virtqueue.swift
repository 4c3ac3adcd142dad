// What a session knows of one ring.
import CLinux
import Linux

/// The set-up of a ring as the front-end gave it, piece by piece, and the ring itself while it runs.
final class Virtqueue {
  let index: Int
  var size: UInt16?
  var addresses: VringAddress?
  /// The available index to start with.
  var base: UInt16?
  var isEnabled = false
  /// After GET_VRING_BASE, until a base or a kick comes.
  var isStopped = false
  /// The ring contradicted itself; only new set-up revives it.
  var isBroken = false
  var kick: Descriptor?
  var kickToken: EventLoop.Token?
  var call: Signal?
  var error: Signal?
  /// Exists while the ring runs.
  var split: SplitQueue?
  /// Chains that may still be taken in this pass; nil outside of one.
  var budget: Int?
  /// The loop will look at the ring again.
  var wantsAttention = false
  /// Chains refused since the session began.
  var refusedChains = 0

  init(index: Int) { self.index = index }

  var runs: Bool { split != nil }
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
