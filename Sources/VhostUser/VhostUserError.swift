// Why a message or a session was refused.
package import Linux

/// Something that a front-end sent and that cannot be done.
package enum VhostUserError: Error, Equatable, CustomStringConvertible {
  /// A system call failed.
  case system(LinuxError)
  /// The version in the header's flags is not 1.
  case version(flags: UInt32)
  /// A message on the main channel claims to be a reply.
  case replyOnMainChannel(request: UInt32)
  /// The payload is longer than `Limits.payloadBytes`.
  case payloadTooLong(request: UInt32, count: UInt32)
  /// The payload has not the size that its request demands.
  case payloadSize(count: Int, expected: Int)
  /// The connection ended between the first and the last byte of a message.
  case closedInsideMessage(bytes: Int)
  /// More descriptors than `Limits.descriptorsPerMessage`.
  case tooManyDescriptors
  /// The message came with the wrong number of descriptors.
  case descriptorCount(Int, expected: Int)
  /// The front-end leaves replies, calls or their answers unread until the socket is full.
  case peerDoesNotRead
  /// An answer on the back-end channel that fits no message of ours.
  case badAnswer(request: UInt32, flags: UInt32, size: UInt32)
  /// The back-end channel ended.
  case backendChannelClosed
  /// No request of ours has this number.
  case unknownRequest(UInt32)
  /// The request belongs to a protocol feature that was not negotiated.
  case notNegotiated(ProtocolFeatures)
  /// Virtio feature bits that were never offered.
  case featuresNotOffered(UInt64)
  /// Protocol feature bits that were never offered.
  case protocolFeaturesNotOffered(UInt64)
  /// A ring index past the last.
  case noSuchRing(Int)
  /// A queue size of zero, not a power of two (in a split ring), or past `Limits.queueSize`.
  case queueSize(UInt32)
  /// A base that is no place in the ring.
  case baseIndex(UInt32)
  /// The message would change a ring while it runs.
  case ringRuns(Int)
  /// A ring address that is not in guest memory, or whose ring would end outside its region.
  case ringAddress(RingPart, UInt64)
  /// A ring address that is not aligned.
  case ringAlignment(RingPart, UInt64)
  /// A ring without descriptor that asks to be polled.
  case polling(Int)
  /// A descriptor of a kind that does not fit.
  case unsuitableDescriptor(String)
  /// More regions than fit.
  case tooManyRegions(Int)
  /// A region of no bytes.
  case emptyRegion(guest: UInt64)
  /// A region that runs past the end of an address space.
  case regionWraps(guest: UInt64)
  /// Two regions share addresses.
  case regionsOverlap(guest: UInt64)
  /// A region that its file does not hold.
  case regionPastFile(guest: UInt64, end: UInt64, file: Int64)
  /// REM_MEM_REG of a region that is not there.
  case noSuchRegion(guest: UInt64)
  /// An inflight area that does not fit, or contradicts itself.
  case inflight(String)
  /// A dirty log that does not fit.
  case log(String)
  /// A file of the front-end's became shorter while we used it.
  case truncated
  /// A configuration access outside the space, or one that the device refuses.
  case configuration(offset: UInt32, count: UInt32)

  package var description: String {
    switch self {
    case .system(let error): error.description
    case .version(let flags): "header flags \(hex(flags)) are not of version 1"
    case .replyOnMainChannel(let request): "a reply to request \(request), which we never sent"
    case .payloadTooLong(let request, let count):
      "request \(request) has \(count) bytes of payload, more than \(Limits.payloadBytes)"
    case .payloadSize(let count, let expected): "\(count) bytes of payload instead of \(expected)"
    case .closedInsideMessage(let bytes): "the connection ended after \(bytes) bytes of a message"
    case .tooManyDescriptors: "a message with more than \(Limits.descriptorsPerMessage) descriptors"
    case .descriptorCount(let count, let expected): "\(count) descriptors instead of \(expected)"
    case .peerDoesNotRead: "the front-end does not read what we send"
    case .badAnswer(let request, let flags, let size):
      "an answer to no message of ours: request \(request), flags \(hex(flags)), \(size) bytes"
    case .backendChannelClosed: "the back-end channel ended"
    case .unknownRequest(let request): "unknown request \(request)"
    case .notNegotiated(let feature): "needs protocol feature \(feature.names), which was not negotiated"
    case .featuresNotOffered(let bits): "features \(hex(bits)) were never offered"
    case .protocolFeaturesNotOffered(let bits): "protocol features \(hex(bits)) were never offered"
    case .noSuchRing(let index): "there is no ring \(index)"
    case .queueSize(let size): "queue size \(size) is not a power of two up to \(Limits.queueSize)"
    case .baseIndex(let index): "ring base \(hex(index)) is no place in the ring"
    case .ringRuns(let index): "ring \(index) runs"
    case .ringAddress(let part, let address): "\(part) at \(hex(address)) is not in guest memory"
    case .ringAlignment(let part, let address): "\(part) at \(hex(address)) is not aligned"
    case .polling(let index): "ring \(index) has no kick descriptor, and we do not poll"
    case .unsuitableDescriptor(let why): "unsuitable descriptor: \(why)"
    case .tooManyRegions(let count): "\(count) memory regions do not fit"
    case .emptyRegion(let guest): "the memory region at \(hex(guest)) is empty"
    case .regionWraps(let guest): "the memory region at \(hex(guest)) runs past the end of the address space"
    case .regionsOverlap(let guest): "the memory region at \(hex(guest)) overlaps another"
    case .regionPastFile(let guest, let end, let file):
      "the memory region at \(hex(guest)) ends at byte \(end) of a file of \(file)"
    case .noSuchRegion(let guest): "there is no such memory region at \(hex(guest))"
    case .inflight(let why): "unsuitable inflight area: \(why)"
    case .log(let why): "unsuitable dirty log: \(why)"
    case .truncated: "the front-end truncated memory that it shares with us"
    case .configuration(let offset, let count):
      "\(count) bytes at \(offset) of the configuration space are refused"
    }
  }
}

/// Which of the three areas of a split ring.
package enum RingPart: Equatable, Sendable, CustomStringConvertible {
  case descriptors, available, used

  package var description: String {
    switch self {
    case .descriptors: "descriptor table"
    case .available: "available ring"
    case .used: "used ring"
    }
  }
}

func hex(_ value: some FixedWidthInteger & UnsignedInteger) -> String { "0x" + String(value, radix: 16) }
