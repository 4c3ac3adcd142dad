// Feature bits of the protocol and of the rings.

/// What both ends may agree on beyond virtio (QEMU vhost-user.rst, "Protocol features").
package struct ProtocolFeatures: OptionSet, Sendable, Equatable {
  package let rawValue: UInt64

  package init(rawValue: UInt64) { self.rawValue = rawValue }

  /// More than one queue, and GET_QUEUE_NUM.
  package static let multipleQueues = Self(rawValue: 1 << 0)
  /// Any message may ask for an answer.
  package static let replyAck = Self(rawValue: 1 << 3)
  /// A channel for messages from us.
  package static let backendChannel = Self(rawValue: 1 << 5)
  /// GET_CONFIG and SET_CONFIG.
  package static let configuration = Self(rawValue: 1 << 9)
  /// GET_INFLIGHT_FD and SET_INFLIGHT_FD.
  package static let inflight = Self(rawValue: 1 << 12)
  /// RESET_DEVICE.
  package static let resetDevice = Self(rawValue: 1 << 13)
  /// Kicks and calls are messages.
  package static let inBandNotifications = Self(rawValue: 1 << 14)
  /// ADD_MEM_REG and REM_MEM_REG.
  package static let memorySlots = Self(rawValue: 1 << 15)

  /// For a log line.
  package var names: String {
    let known: [(Self, String)] = [
      (.multipleQueues, "MQ"), (.replyAck, "REPLY_ACK"), (.backendChannel, "BACKEND_REQ"),
      (.configuration, "CONFIG"), (.inflight, "INFLIGHT_SHMFD"), (.resetDevice, "RESET_DEVICE"),
      (.inBandNotifications, "INBAND_NOTIFICATIONS"),
      (.memorySlots, "CONFIGURE_MEM_SLOTS"),
    ]
    return known.filter { contains($0.0) }.map(\.1).joined(separator: "+")
  }
}

/// Virtio feature bits that concern the ring and the transport (virtio 1.2 §6); the device's own are its
/// business.
package enum RingFeatures {
  package static let indirectDescriptors: UInt64 = 1 << 28
  package static let eventIndex: UInt64 = 1 << 29
  /// "There are protocol features": of vhost-user alone.
  package static let protocolFeatures: UInt64 = 1 << 30
  package static let version1: UInt64 = 1 << 32
  /// Rings are packed instead of split.
  package static let packed: UInt64 = 1 << 34

  /// What every session offers beside the device's bits; `packed` comes by option.
  package static let offered = indirectDescriptors | eventIndex | protocolFeatures | version1
}
