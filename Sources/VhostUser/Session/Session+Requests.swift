// What each message does.
import CLinux
import Glibc
import Linux

extension Session {
  /// Does what the message says; returns the payload of its native reply, if it has one.
  func perform(_ request: FrontEndRequest, _ payload: RawSpan) throws(VhostUserError) -> [UInt8]? {
    switch request {
    case .vringKick: try kickArrived(payload)
    case .getFeatures: return encoded(offeredFeatures)
    case .setFeatures: try setFeatures(try Number(parsing: payload).value)
    case .setOwner: break
    case .resetOwner: for queue in queues { disable(queue) }
    case .resetDevice: try resetDevice()
    case .getProtocolFeatures: return encoded(offeredProtocolFeatures.rawValue)
    case .setProtocolFeatures: try setProtocolFeatures(try Number(parsing: payload).value)
    case .getQueueCount: return encoded(UInt64(queues.count))
    case .setBackendChannel: try setBackendChannel()
    case .getConfiguration: return readConfiguration(payload)
    case .setConfiguration: try writeConfiguration(payload)
    case .setMemoryTable: try setMemoryTable(payload)
    case .getMemorySlots: return encoded(UInt64(Limits.regions))
    case .addMemoryRegion: try addMemoryRegion(payload)
    case .removeMemoryRegion: try removeMemoryRegion(payload)
    case .setVringSize: try setSize(try VringState(parsing: payload))
    case .setVringAddress: try setAddress(try VringAddress(parsing: payload))
    case .setVringBase: try setBase(try VringState(parsing: payload))
    case .getVringBase: return try stopAndGetBase(try VringState(parsing: payload))
    case .setVringKick: try setKick(try VringDescriptor(parsing: payload))
    case .setVringCall: try setCall(try VringDescriptor(parsing: payload))
    case .setVringError: try setError(try VringDescriptor(parsing: payload))
    case .getInflight: return try makeInflightArea(payload)
    case .setInflight: try setInflightArea(payload)
    case .setLogBase: return try setLogBase(payload)
    case .setLogDescriptor: try setLogDescriptor(payload)
    case .setStatus: setStatus(try Number(parsing: payload).value)
    case .getStatus: return encoded(UInt64(reportedStatus.rawValue))
    case .setVringEnable: try setEnabled(try VringState(parsing: payload))
    }
    return nil
  }

  func encoded(_ value: UInt64) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendNative(value)
    return bytes
  }

  private var offeredFeatures: UInt64 {
    backend.deviceFeatures | RingFeatures.offered | (options.packed ? RingFeatures.packed : 0)
      | (offersInBand ? 0 : RingFeatures.logAll)
  }

  private func setFeatures(_ value: UInt64) throws(VhostUserError) {
    let unknown = value & ~offeredFeatures
    acceptsFeatures = unknown == 0
    guard unknown == 0 else { throw .featuresNotOffered(unknown) }
    // The same again happens while rings run; a change means another ring format, so they start anew.
    guard value != features || !queues.contains(where: \.runs) else { return }
    for queue in queues { stop(queue) }
    features = value
    // Without the protocol's bit there is no SET_VRING_ENABLE: rings are enabled from the start.
    if value & RingFeatures.protocolFeatures == 0 { for queue in queues { queue.isEnabled = true } }
    backend.negotiated(features: value, session: self)
    for queue in queues { try startIfReady(queue) }
  }

  /// Configuration, replies and a channel of ours always, kicks as messages only when they are wished for:
  /// then there is a simulation, which nobody goes on with after a crash, or elsewhere.
  private var offeredProtocolFeatures: ProtocolFeatures {
    let always: ProtocolFeatures = [
      .multipleQueues, .replyAck, .backendChannel, .configuration, .resetDevice, .memorySlots,
    ]
    return always.union(offersInBand ? .inBandNotifications : [.inflight, .logDescriptor, .status])
  }

  private func setProtocolFeatures(_ value: UInt64) throws(VhostUserError) {
    let unknown = value & ~offeredProtocolFeatures.rawValue
    guard unknown == 0 else { throw .protocolFeaturesNotOffered(unknown) }
    protocolFeatures = ProtocolFeatures(rawValue: value)
  }

  func require(_ feature: ProtocolFeatures) throws(VhostUserError) {
    guard protocolFeatures.contains(feature) else { throw .notNegotiated(feature) }
  }

  /// The connection, its memory and its protocol features stay; the rings and the virtio features go.
  private func resetDevice() throws(VhostUserError) {
    try require(.resetDevice)
    resetRings { forget($0) }
  }

  /// A refused access is answered without a payload.
  private func readConfiguration(_ payload: RawSpan) -> [UInt8] {
    let space = backend.configurationSpace
    do throws(VhostUserError) {
      var access = try ConfigurationAccess(parsing: payload)
      let offset = Int(access.offset)
      guard offset <= space.count, access.bytes.count <= space.count - offset else {
        throw .configuration(offset: access.offset, count: UInt32(access.bytes.count))
      }
      access.bytes = [UInt8](space[offset..<offset + access.bytes.count])
      var reply: [UInt8] = []
      access.encode(into: &reply)
      return reply
    } catch {
      log("\(FrontEndRequest.getConfiguration) refused: \(error)")
      return []
    }
  }

  private func writeConfiguration(_ payload: RawSpan) throws(VhostUserError) {
    let access = try ConfigurationAccess(parsing: payload)
    let isMigration = access.flags == ConfigurationAccess.migration
    guard isMigration || access.flags == 0,
      backend.writeConfiguration(
        offset: Int(access.offset), bytes: access.bytes, isMigration: isMigration)
    else {
      throw .configuration(offset: access.offset, count: UInt32(access.bytes.count))
    }
  }

  private func setMemoryTable(_ payload: RawSpan) throws(VhostUserError) {
    let table = try MemoryTable(parsing: payload)
    try replaceMemory(try GuestMemory(regions: table.regions, descriptors: inboxDescriptors.borrowed))
  }

  private func addMemoryRegion(_ payload: RawSpan) throws(VhostUserError) {
    try require(.memorySlots)
    let region = try MemoryRegion(parsing: payload)
    guard inboxDescriptors.count == 1, let descriptor = inboxDescriptors.borrowed.first else {
      throw .descriptorCount(inboxDescriptors.count, expected: 1)
    }
    try replaceMemory(try memory.adding(region, descriptor: descriptor))
  }

  /// The front-end may use the memory for something else as soon as it has our answer: rings that are served
  /// elsewhere come to rest first.
  private func removeMemoryRegion(_ payload: RawSpan) throws(VhostUserError) {
    try require(.memorySlots)
    let kept = try memory.removing(try MemoryRegion(parsing: payload))
    for queue in queues where queue.home != nil { stop(queue) }
    try replaceMemory(kept)
  }

  /// Puts another memory under the rings; one that is no longer in it stops.
  private func replaceMemory(_ replacement: GuestMemory) throws(VhostUserError) {
    memory = replacement
    for queue in queues where queue.runs {
      guard let addresses = queue.addresses else { continue }
      do throws(VhostUserError) {
        try relocate(queue, addresses)
      } catch {
        log("ring \(queue.index) stops: \(error)")
        // Its used ring is gone, and whoever holds its chains must not write to it.
        stop(queue, publishing: false)
      }
    }
    for queue in queues where !queue.runs {
      do throws(VhostUserError) {
        try startIfReady(queue)
      } catch { log("ring \(queue.index) does not start: \(error)") }
    }
  }

  private func setBackendChannel() throws(VhostUserError) {
    try require(.backendChannel)
    guard inboxDescriptors.count == 1, let descriptor = inboxDescriptors.takeFirst() else {
      throw .descriptorCount(inboxDescriptors.count, expected: 1)
    }
    var kind: CInt = 0
    var length = socklen_t(MemoryLayout<CInt>.size)
    guard getsockopt(descriptor.rawValue, SOL_SOCKET, SO_TYPE, &kind, &length) == 0,
      kind == CInt(SOCK_STREAM.rawValue)
    else { throw .unsuitableDescriptor("the back-end channel is not a stream socket") }
    try openChannel(UnixSocket(owning: descriptor))
  }
}
