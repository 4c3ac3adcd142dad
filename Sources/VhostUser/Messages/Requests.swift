// The numbers of the messages that we know.

/// A message from the front-end (QEMU vhost-user.rst, "Front-end message types").
package enum FrontEndRequest: UInt32, Sendable, CaseIterable {
  case getFeatures = 1
  case setFeatures = 2
  case setOwner = 3
  case resetOwner = 4
  case setMemoryTable = 5
  case setLogBase = 6
  case setLogDescriptor = 7
  case setVringSize = 8
  case setVringAddress = 9
  case setVringBase = 10
  case getVringBase = 11
  case setVringKick = 12
  case setVringCall = 13
  case setVringError = 14
  case getProtocolFeatures = 15
  case setProtocolFeatures = 16
  case getQueueCount = 17
  case setVringEnable = 18
  case setBackendChannel = 21
  case getConfiguration = 24
  case setConfiguration = 25
  case getInflight = 31
  case setInflight = 32
  case resetDevice = 34
  case vringKick = 35
  case getMemorySlots = 36
  case addMemoryRegion = 37
  case removeMemoryRegion = 38
  case setStatus = 39
  case getStatus = 40

  /// Whether an answer with a payload of its own belongs to it, so that it cannot be refused by a number.
  package var hasNativeReply: Bool {
    switch self {
    case .getFeatures, .getProtocolFeatures, .getQueueCount, .getVringBase, .getConfiguration,
      .getMemorySlots, .getInflight, .getStatus:
      true
    default: false
    }
  }
}

/// A message from us on the back-end channel (QEMU vhost-user.rst, "Back-end message types").
package enum BackEndRequest: UInt32, Sendable {
  case configurationChanged = 2
  case vringCall = 4
}
