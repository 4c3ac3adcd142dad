// The device status, and reset.

extension Session {
  /// The driver's status. Zero is a reset: the rings stop and the features go, but descriptors and memory
  /// stay, because QEMU gives those once.
  func setStatus(_ value: UInt64) {
    status = DeviceStatus(rawValue: UInt8(truncatingIfNeeded: value))
    if status.isEmpty { resetRings { $0.mend() } }
  }

  /// What the driver set, without the features it asked for in vain, and with what only we know: a ring that
  /// contradicted itself is set up anew, or never.
  var reportedStatus: DeviceStatus {
    var status = status
    if !acceptsFeatures { status.remove(.featuresOK) }
    if queues.contains(where: \.isBroken) { status.insert(.needsReset) }
    return status
  }

  func resetRings(_ body: (Virtqueue) -> Void) {
    for queue in queues {
      disable(queue)
      body(queue)
    }
    status = []
    acceptsFeatures = true
    features = 0
    backend.negotiated(features: 0, session: self)
  }
}
