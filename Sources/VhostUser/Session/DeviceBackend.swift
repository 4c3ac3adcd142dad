// What a session asks of a device, and how it is set up.

/// A device behind a session.
///
/// Every method is called on the loop's thread, from inside a handler of the session, and none of them may
/// run the loop.
package protocol DeviceBackend: AnyObject {
  /// The device's own virtio feature bits; the session adds the ring's.
  var deviceFeatures: UInt64 { get }
  /// How many rings there are, 1 to `Limits.queues`.
  var queueCount: Int { get }
  /// The configuration space as the driver sees it now; at most `Limits.configurationBytes`.
  var configurationSpace: [UInt8] { get }
  /// The driver writes to the configuration space, or somebody restores what it was elsewhere
  /// (`isMigration`), and that includes what a driver may only read; false refuses.
  func writeConfiguration(offset: Int, bytes: [UInt8], isMigration: Bool) -> Bool
  /// The driver took these of the offered features; 0 after a reset.
  func negotiated(features: UInt64, session: Session)
  /// There may be chains in this ring: take them until `nextChain` returns nil, complete some or all.
  ///
  /// What is completed before the return is published by the session, and the driver is called if it wants to
  /// be.
  func queueNotified(_ queue: Virtqueue, session: Session)
  /// This ring stops: complete what was taken from it (the session publishes it), or forget it.
  /// After the return none of its chains may be completed any more, and no memory of theirs be touched.
  func queueStopping(_ queue: Virtqueue, session: Session)
  /// Where this ring is served, asked once, when the session begins; nil: by the two methods above. A ring
  /// with a home never causes a call of those.
  func home(ofQueue index: Int) -> (any RingHome)?
  /// The session is over and every descriptor and mapping of it is about to go; `nil` is an orderly end.
  func sessionEnded(_ session: Session, reason: String?)
}

extension DeviceBackend {
  package func home(ofQueue index: Int) -> (any RingHome)? { nil }
}

/// A place, usually a thread of its own, where rings are served.
///
/// Between the end of `start` and the beginning of `stop` the ring belongs to the home: it watches the kick
/// descriptor and takes, completes and publishes. The session calls all three from its own thread, and waits.
/// In-band notifications are not offered by a session of which a ring has a home.
package protocol RingHome: AnyObject {
  /// The ring is set up: watch its `kickDescriptor`, and look at it at once, for the driver may have kicked
  /// before anybody listened.
  func start(_ queue: Virtqueue)
  /// Take nothing more from this ring; return when everything that was taken is completed and published, and
  /// nothing of the ring, its descriptors included, will be touched any more.
  func stop(_ queue: Virtqueue)
  /// Runs `body` while nobody touches a ring of this home, and returns when it has run. Then look at the
  /// rings: what they are may have changed.
  func perform(_ body: () -> Void)
}

/// When the reply to an in-band kick goes out, if calls were made while it was served.
package enum CallReplyOrder: Sendable {
  /// After the front-end has answered every call: external time travel with completion inside the kick.
  case beforeKickReply
  /// At once: under `inf-cpu` the guest answers calls only after the kick has returned, and would wait for
  /// ever; and timed completion makes no calls inside a kick.
  case afterKickReply
}

/// How a session behaves towards its front-end.
package struct SessionOptions: Sendable {
  /// Offer in-band notifications: under time travel, because eventfds have no order. UML takes them whenever
  /// offered.
  package var inBand: Bool
  /// What a kick's reply waits for; without in-band notifications it means nothing.
  package var callReply: CallReplyOrder
  /// Offer packed rings; UML and Linux take them whenever offered.
  package var packed: Bool

  package init(inBand: Bool, callReply: CallReplyOrder = .afterKickReply, packed: Bool = false) {
    self.inBand = inBand
    self.callReply = callReply
    self.packed = packed
  }
}
