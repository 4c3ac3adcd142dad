// The schedule in shared memory ("schedshm"), version 2.
import CLinux
package import Linux
package import Simulation

/// The memory that a controller and its clients share (`struct um_timetravel_schedshm`), host byte order.
///
/// | offset | size | field | written by |
/// |---|---|---|---|
/// | 0 | 4 | version = 2 | controller, once |
/// | 4 | 4 | length of the file in bytes | controller, once |
/// | 8 | 8 | free_until, exclusive bound of the runner's clock, ns | controller; a client that asks earlier |
/// | 16 | 8 | current_time, ns | whoever runs |
/// | 24 | 2 | running_id, 0 = the controller | controller |
/// | 26 | 2 | max_clients | controller, once |
/// | 4096 + 128 i | 4 | capabilities of client i; bit 0: takes part | client i |
/// | +4 | 4 | flags; bit 0: asks to run | client i, or the controller on its behalf |
/// | +8 | 8 | req_time, ns | as the flags |
/// | +16 | 8 | name given at START | controller |
///
/// The messages (RUN, WAIT, replies of vhost-user) are the only ordering, so relaxed accesses suffice. Every
/// value in here may be anything at any time as far as the controller is concerned: clients are untrusted.
package struct SharedSchedule: ~Copyable {
  package static let version: UInt32 = 2
  private static let headerBytes = 4096
  private static let slotBytes = 128

  private let mapping: Mapping
  private var base: UnsafeMutableRawPointer { mapping.base }
  /// Slots, slot 0 (the controller's own) included.
  package let slotCount: Int

  /// Names one client's slot; 0 is the controller's.
  package typealias Slot = UInt16

  /// What to send to clients, sealed in its size; only the controller has it.
  private let memory: Descriptor?

  /// The descriptor to send; -1 for a client's own view.
  package var memoryDescriptor: CInt {
    switch memory {
    case .some(let descriptor): descriptor.rawValue
    case .none: -1
    }
  }

  /// A new schedule for at most `clientsMax` clients.
  /// - Parameter offered: false makes one whose version no client knows: they stay in message mode. (UML
  ///   before it reads the header takes two descriptors for granted, so they have to be sent in message mode
  ///   too.)
  package init(clientsMax: Int, offered: Bool) throws(LinuxError) {
    let count = Self.headerBytes + (clientsMax + 1) * Self.slotBytes
    let descriptor = try makeSealedMemory(named: "schedshm", count: count)
    self.init(
      mapping: try Mapping(sharing: descriptor, count: count), slotCount: clientsMax + 1, memory: descriptor)
    CLinux_store32(base, offered ? Self.version : 0)
    CLinux_store32(base + 4, UInt32(count))
    CLinux_store16(base + 26, UInt16(clientsMax + 1))
  }

  /// Maps what came with the answer to START; nil when it is another version or too short for `slot`: then
  /// the client stays in message mode.
  package static func open(_ memory: borrowing Descriptor, slot: Slot) -> SharedSchedule? {
    // Touching a page past the end of the file would be fatal, so its size comes first.
    guard fileSize(memory) >= headerBytes, let header = try? Mapping(sharing: memory, count: headerBytes)
    else {
      return nil
    }
    let length = Int(CLinux_load32(header.base + 4))
    guard CLinux_load32(header.base) == version, length >= headerBytes + (Int(slot) + 1) * slotBytes,
      fileSize(memory) >= length, let mapping = try? Mapping(sharing: memory, count: length)
    else { return nil }
    return SharedSchedule(mapping: mapping, slotCount: (length - headerBytes) / slotBytes, memory: nil)
  }

  private init(mapping: consuming Mapping, slotCount: Int, memory: consuming Descriptor?) {
    self.mapping = mapping
    self.slotCount = slotCount
    self.memory = memory
  }

  package var freeUntil: SimulationTime {
    get { SimulationTime(nanoseconds: CLinux_load64(base + 8)) }
    nonmutating set { CLinux_store64(base + 8, newValue.nanoseconds) }
  }

  package var currentTime: SimulationTime {
    get { SimulationTime(nanoseconds: CLinux_load64(base + 16)) }
    nonmutating set { CLinux_store64(base + 16, newValue.nanoseconds) }
  }

  package var runningSlot: Slot {
    get { CLinux_load16(base + 24) }
    nonmutating set { CLinux_store16(base + 24, newValue) }
  }

  /// Whether the client in `slot` takes part (`UM_TIMETRAVEL_SCHEDSHM_CAP_TIME_SHARE`).
  package func isCapable(_ slot: Slot) -> Bool {
    Int(slot) < slotCount && CLinux_load32(address(slot)) & 1 != 0
  }

  package func setCapable(_ slot: Slot, _ capable: Bool = true) {
    let others = CLinux_load32(address(slot)) & ~1
    CLinux_store32(address(slot), capable ? others | 1 : others)
  }

  /// When the client in `slot` asks to run (`UM_TIMETRAVEL_SCHEDSHM_FLAGS_REQ_RUN`), or nil.
  package func request(of slot: Slot) -> SimulationTime? {
    guard CLinux_load32(address(slot) + 4) & 1 != 0 else { return nil }
    return SimulationTime(nanoseconds: CLinux_load64(address(slot) + 8))
  }

  /// Writes the time before the flag, so that no reader sees the flag with an old time.
  package func setRequest(of slot: Slot, to time: SimulationTime?) {
    let flags = CLinux_load32(address(slot) + 4)
    guard let time else { return CLinux_store32(address(slot) + 4, flags & ~1) }
    CLinux_store64(address(slot) + 8, time.nanoseconds)
    CLinux_fence()
    CLinux_store32(address(slot) + 4, flags | 1)
  }

  package func setName(of slot: Slot, to name: UInt64) { CLinux_store64(address(slot) + 16, name) }

  /// Forgets a client: its slot is as new.
  package func clear(_ slot: Slot) {
    address(slot).initializeMemory(as: UInt8.self, repeating: 0, count: Self.slotBytes)
  }

  private func address(_ slot: Slot) -> UnsafeMutableRawPointer {
    precondition(Int(slot) < slotCount)
    return base + Self.headerBytes + Int(slot) * Self.slotBytes
  }
}
