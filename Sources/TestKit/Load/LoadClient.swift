// A front-end without a guest, as fast as it can be.
import CLinux
import Glibc
package import Linux
import VhostUser

/// Why a load could not be driven.
package enum LoadError: Error, CustomStringConvertible {
  case linux(LinuxError)
  /// The back-end said something else than it should have.
  case protocolViolation(String)
  /// A request came back with a status other than 0.
  case status(UInt8, sector: UInt64)

  package var description: String {
    switch self {
    case .linux(let error): error.description
    case .protocolViolation(let what): what
    case .status(let status, let sector): "the request at sector \(sector) came back with status \(status)"
    }
  }
}

/// Sets a vhost-user-blk device up for a load and nothing else: memory of its own, rings at its beginning.
///
/// It speaks to any back-end: messages whose reply it does not need get none.
package final class LoadClient {
  /// What is known of the disk.
  package let capacitySectors: UInt64
  /// Virtio features that both have.
  package let features: UInt64

  let memory: Mapping
  private let memoryDescriptor: Descriptor
  private let socket: UnixSocket
  private let outerQueueCount: Int

  static let guestBase: UInt64 = 1 << 32
  static let userBase: UInt64 = 1 << 44

  /// Connects, agrees on features, shares the memory.
  /// - Parameters:
  ///   - memoryBytes: of all rings and buffers.
  ///   - queueCount: how many rings there will be.
  package init(socketPath: String, memoryBytes: Int, queueCount: Int) throws(LoadError) {
    do throws(LinuxError) {
      socket = try UnixSocket.connect(to: socketPath)
      memoryDescriptor = try makeSealedMemory(named: "ttblk-load", count: memoryBytes)
      memory = try Mapping(sharing: memoryDescriptor, count: memoryBytes)
    } catch { throw .linux(error) }
    outerQueueCount = queueCount
    let wanted =
      RingFeatures.indirectDescriptors | RingFeatures.eventIndex | RingFeatures.protocolFeatures
      | RingFeatures.version1 | 1 << 9 | 1 << 12
    let link = Link(socket: socket.descriptor.rawValue)
    try link.send(.setOwner)
    features = try link.askNumber(.getFeatures) & wanted
    guard features & RingFeatures.protocolFeatures != 0, features & RingFeatures.version1 != 0 else {
      throw .protocolViolation("the back-end has no protocol features, or is not of virtio 1")
    }
    let known: ProtocolFeatures = [.multipleQueues, .configuration]
    let offered = ProtocolFeatures(rawValue: try link.askNumber(.getProtocolFeatures))
    guard offered.contains(.configuration) else {
      throw .protocolViolation("the back-end has no configuration space")
    }
    try link.send(.setProtocolFeatures, number: offered.intersection(known).rawValue)
    if queueCount > 1 {
      let count = try link.askNumber(.getQueueCount)
      guard count >= queueCount else {
        throw .protocolViolation("the back-end has \(count) queues, not \(queueCount)")
      }
    }
    capacitySectors = try link.capacity()
    try link.send(.setFeatures, number: features)
    var table: [UInt8] = []
    MemoryTable(regions: [
      MemoryRegion(
        guest: Self.guestBase, size: UInt64(memoryBytes), user: Self.userBase, fileOffset: 0)
    ]).encode(into: &table)
    try link.send(.setMemoryTable, table, descriptors: [memoryDescriptor.rawValue])
  }

  /// Starts a ring that lies at `offset` of the memory.
  func start(_ index: Int, size: UInt16, offset: Int, kick: CInt, call: CInt) throws(LoadError) {
    let link = Link(socket: socket.descriptor.rawValue)
    let number = UInt32(index)
    func encoded(_ value: UInt32) -> [UInt8] {
      var bytes: [UInt8] = []
      VringState(index: number, value: value).encode(into: &bytes)
      return bytes
    }
    try link.send(.setVringSize, encoded(UInt32(size)))
    try link.send(.setVringBase, encoded(0))
    let layout = LoadQueue.Layout(size: Int(size))
    let base = Self.userBase + UInt64(offset)
    var addresses: [UInt8] = []
    VringAddress(
      index: number, descriptors: base, used: base + UInt64(layout.used),
      available: base + UInt64(layout.available)
    ).encode(into: &addresses)
    try link.send(.setVringAddress, addresses)
    try link.send(.setVringCall, number: UInt64(number), descriptors: [call])
    try link.send(.setVringKick, number: UInt64(number), descriptors: [kick])
    try link.send(.setVringEnable, encoded(1))
  }

  /// Whether the back-end has closed the connection.
  var isLeft: Bool {
    var query = pollfd(fd: socket.descriptor.rawValue, events: 0, revents: 0)
    return poll(&query, 1, 0) > 0
  }

  /// Stops the rings: what was asked for has been answered when this returns.
  package func stop() throws(LoadError) {
    let link = Link(socket: socket.descriptor.rawValue)
    for index in 0..<outerQueueCount {
      var bytes: [UInt8] = []
      VringState(index: UInt32(index), value: 0).encode(into: &bytes)
      _ = try link.ask(.getVringBase, bytes)
    }
  }
}

/// Messages, one after the other, on a socket that blocks.
private struct Link {
  let socket: CInt

  func send(_ request: FrontEndRequest, number: UInt64, descriptors: [CInt] = []) throws(LoadError) {
    var bytes: [UInt8] = []
    bytes.appendNative(number)
    try send(request, bytes, descriptors: descriptors)
  }

  func send(
    _ request: FrontEndRequest, _ payload: [UInt8] = [], descriptors: [CInt] = []
  ) throws(LoadError) {
    var bytes: [UInt8] = []
    MessageHeader(request: request.rawValue, size: UInt32(payload.count)).encode(into: &bytes)
    bytes += payload
    let count = bytes.withUnsafeBytes {
      CLinux_send(socket, $0.baseAddress, $0.count, descriptors, descriptors.count, 0)
    }
    guard count == bytes.count else { throw .linux(LinuxError("sendmsg", "back-end")) }
  }

  func ask(_ request: FrontEndRequest, _ payload: [UInt8] = []) throws(LoadError) -> [UInt8] {
    try send(request, payload)
    let bytes = try receive(MessageHeader.byteCount)
    let header: MessageHeader
    do throws(VhostUserError) { header = try MessageHeader(parsing: bytes.span.bytes) } catch {
      throw .protocolViolation("\(error)")
    }
    guard header.request == request.rawValue, header.isReply, header.size <= 4096 else {
      throw .protocolViolation("an answer to \(header.request) instead of \(request.rawValue)")
    }
    return try receive(Int(header.size))
  }

  func askNumber(_ request: FrontEndRequest) throws(LoadError) -> UInt64 {
    let bytes = try ask(request)
    guard bytes.count == 8 else {
      throw .protocolViolation("\(request) was answered by \(bytes.count) bytes")
    }
    return bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  /// The first field of the configuration space, as QEMU reads it: all of the space at once.
  func capacity() throws(LoadError) -> UInt64 {
    var payload: [UInt8] = []
    ConfigurationAccess(offset: 0, bytes: [UInt8](repeating: 0, count: 60)).encode(into: &payload)
    let reply = try ask(.getConfiguration, payload)
    let prefix = ConfigurationAccess.prefixByteCount
    guard reply.count >= prefix + 8 else { throw .protocolViolation("no configuration space came") }
    return reply[prefix..<prefix + 8].reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  private func receive(_ count: Int) throws(LoadError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var done = 0
    while done < count {
      let part = bytes.withUnsafeMutableBytes {
        let rest = UnsafeMutableRawBufferPointer(rebasing: $0[done...])
        return recv(socket, rest.baseAddress, rest.count, 0)
      }
      guard part > 0 else {
        throw part == 0
          ? .protocolViolation("the back-end closed the connection") : .linux(LinuxError("recv", "back-end"))
      }
      done += part
    }
    return bytes
  }
}
