// Feature bits of the protocol and of the rings.

/// What both ends may agree on beyond virtio (QEMU vhost-user.rst, "Protocol features").
package struct ProtocolFeatures: OptionSet, Sendable, Equatable {
  package let rawValue: UInt64

  package init(rawValue: UInt64) { self.rawValue = rawValue }

  /// More than one queue, and GET_QUEUE_NUM.
  package static let multipleQueues = Self(rawValue: 1 << 0)
  /// SET_LOG_BASE brings the log as a descriptor, and is answered.
  package static let logDescriptor = Self(rawValue: 1 << 1)
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
  /// SET_STATUS and GET_STATUS.
  package static let status = Self(rawValue: 1 << 16)

  /// For a log line.
  package var names: String {
    let known: [(Self, String)] = [
      (.multipleQueues, "MQ"), (.logDescriptor, "LOG_SHMFD"), (.replyAck, "REPLY_ACK"),
      (.backendChannel, "BACKEND_REQ"),
      (.configuration, "CONFIG"), (.inflight, "INFLIGHT_SHMFD"), (.resetDevice, "RESET_DEVICE"),
      (.inBandNotifications, "INBAND_NOTIFICATIONS"),
      (.memorySlots, "CONFIGURE_MEM_SLOTS"), (.status, "STATUS"),
    ]
    return known.filter { contains($0.0) }.map(\.1).joined(separator: "+")
  }
}

/// Virtio feature bits that concern the ring and the transport (virtio 1.2 §6); the device's own are its
/// business.
package enum RingFeatures {
  /// Writes to the guest's memory are marked in a log (VHOST_F_LOG_ALL): of vhost alone.
  package static let logAll: UInt64 = 1 << 26
  package static let indirectDescriptors: UInt64 = 1 << 28
  package static let eventIndex: UInt64 = 1 << 29
  /// "There are protocol features": of vhost-user alone.
  package static let protocolFeatures: UInt64 = 1 << 30
  package static let version1: UInt64 = 1 << 32
  /// Rings are packed instead of split.
  package static let packed: UInt64 = 1 << 34

  /// What every session offers beside the device's bits; `packed` comes by option, `logAll` outside
  /// simulations.
  package static let offered = indirectDescriptors | eventIndex | protocolFeatures | version1
}
