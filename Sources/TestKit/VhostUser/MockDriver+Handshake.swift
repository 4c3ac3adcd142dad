// Setting a device up and taking it down, in the orders seen in practice.
import CLinux
import Glibc
import Linux
package import VhostUser

extension MockDriver {
  /// Everything from the first message to running rings, in the order of UML 6.12 (`virtio_uml.c`).
  /// - Parameter configurationBytes: how much of the configuration space to read.
  /// - Returns: that much of the configuration space.
  @discardableResult
  package func handshake(
    _ wish: Handshake = Handshake(), configurationBytes: Int = 8
  ) throws(MockDriverError) -> [UInt8] {
    try introduce(wish)
    let configuration = try readConfiguration(count: configurationBytes)
    try tell(.setFeatures, bytes(features))
    try shareMemory()
    makeQueues(wish)
    for queue in queues { try setUp(queue) }
    for queue in queues { try start(queue) }
    return configuration
  }

  /// SET_OWNER, features, protocol features, back-end channel.
  package func introduce(_ wish: Handshake) throws(MockDriverError) {
    try tell(.setOwner)
    features = try number(try ask(.getFeatures)) & wish.features
    let offered = ProtocolFeatures(rawValue: try number(try ask(.getProtocolFeatures)))
    // UML counts on replies from this message on, which is the one that agrees upon them.
    protocolFeatures = offered.intersection(wish.protocolFeatures)
    try tell(.setProtocolFeatures, bytes(protocolFeatures.rawValue))
    if protocolFeatures.contains(.backendChannel) { try openChannel() }
  }

  /// SET_BACKEND_REQ_FD with one end of a new socket pair.
  package func openChannel() throws(MockDriverError) {
    let pair: DescriptorPair
    do throws(LinuxError) { pair = try UnixSocket.pair() } catch { throw .linux(error) }
    var other: CInt = -1
    pair.split { ours, theirs in
      channel = UnixSocket(owning: ours)
      other = theirs.release()
    }
    defer { close(other) }
    try tell(.setBackendChannel, descriptors: [other])
  }

  /// GET_CONFIG from offset 0.
  package func readConfiguration(count: Int) throws(MockDriverError) -> [UInt8] {
    var payload: [UInt8] = []
    ConfigurationAccess(offset: 0, bytes: [UInt8](repeating: 0, count: count)).encode(into: &payload)
    return [UInt8](try ask(.getConfiguration, payload).dropFirst(ConfigurationAccess.prefixByteCount))
  }

  /// SET_MEM_TABLE, in UML's fixed size.
  package func shareMemory() throws(MockDriverError) {
    var payload: [UInt8] = []
    MemoryTable(regions: memory.regions).encode(into: &payload)
    let size = max(payload.count, 8 + 2 * MemoryRegion.byteCount)
    payload.append(contentsOf: [UInt8](repeating: 0, count: size - payload.count))
    try tell(
      .setMemoryTable, payload,
      descriptors: [CInt](repeating: memory.descriptor.rawValue, count: memory.regions.count))
  }

  /// Lays the rings out at the beginning of memory.
  package func makeQueues(_ wish: Handshake) {
    var base = MockMemory.guestBase
    queues = (0..<wish.queueCount).map { index in
      let isPacked = features & RingFeatures.packed != 0
      let kind = isPacked ? MockPackedQueue.self : MockQueue.self
      let queue = kind.init(index: index, size: wish.queueSize, base: base, memory: memory)
      queue.usesEventIndex = features & RingFeatures.eventIndex != 0
      base = (base + UInt64(MockQueue.byteCount(size: wish.queueSize)) + 4095) & ~4095
      return queue
    }
  }

  /// CALL, NUM, BASE, ADDR.
  package func setUp(_ queue: MockQueue) throws(MockDriverError) {
    let index = UInt32(queue.index)
    if !isInBand || channel == nil {
      let call = try eventCounter()
      if let old = calls.updateValue(call, forKey: queue.index) { close(old) }
      try tell(.setVringCall, bytes(UInt64(index)), descriptors: [call])
    }
    try tell(.setVringSize, bytes(VringState(index: index, value: UInt32(queue.size))))
    try tell(.setVringBase, bytes(VringState(index: index, value: queue.ringBase)))
    var payload: [UInt8] = []
    queue.addresses.encode(into: &payload)
    try tell(.setVringAddress, payload)
  }

  /// KICK, ENABLE 1.
  package func start(_ queue: MockQueue) throws(MockDriverError) {
    let index = UInt32(queue.index)
    if !isInBand {
      let kick = try eventCounter()
      if let old = kicks.updateValue(kick, forKey: queue.index) { close(old) }
      try tell(.setVringKick, bytes(UInt64(index)), descriptors: [kick])
    }
    try tell(.setVringEnable, bytes(VringState(index: index, value: 1)))
  }

  /// ENABLE 0 for each ring, and GET_FEATURES so that it is done: all that UML does.
  package func stop() throws(MockDriverError) {
    for queue in queues { try tell(.setVringEnable, bytes(VringState(index: UInt32(queue.index), value: 0))) }
    _ = try ask(.getFeatures)
  }

  /// Kicks a ring: in band this returns when the kick has been served.
  package func kick(_ queue: MockQueue) throws(MockDriverError) {
    if isInBand {
      try tell(.vringKick, bytes(VringState(index: UInt32(queue.index), value: 0)))
    } else if let kick = kicks[queue.index] {
      var one: UInt64 = 1
      _ = Glibc.write(kick, &one, 8)
    }
  }

  /// Shows the device what was submitted, and kicks it if it wants that.
  package func publishAndKick(_ queue: MockQueue) throws(MockDriverError) {
    if queue.publish() { try kick(queue) }
  }

  private func eventCounter() throws(MockDriverError) -> CInt {
    do throws(LinuxError) { return try Descriptor.eventCounter().release() } catch { throw .linux(error) }
  }

  /// The payload that is one number.
  package func bytes(_ value: UInt64) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendNative(value)
    return bytes
  }

  /// The payload that is a ring's index and a number.
  package func bytes(_ state: VringState) -> [UInt8] {
    var bytes: [UInt8] = []
    state.encode(into: &bytes)
    return bytes
  }
}
