// The payloads, field by field.

/// Payload of GET/SET_VRING_NUM, _BASE, _ENABLE, VRING_KICK and VRING_CALL: `u32 index; u32 value`.
package struct VringState: Equatable, Sendable {
  package static let byteCount = 8

  package var index: UInt32
  package var value: UInt32

  package init(index: UInt32, value: UInt32) {
    self.index = index
    self.value = value
  }

  package init(parsing bytes: RawSpan) throws(VhostUserError) {
    try bytes.require(Self.byteCount)
    index = bytes.native32(at: 0)
    value = bytes.native32(at: 4)
  }

  package func encode(into bytes: inout [UInt8]) {
    bytes.appendNative(index)
    bytes.appendNative(value)
  }
}

/// Payload of SET_VRING_ADDR: where the front-end sees the three areas of a ring.
///
/// | offset | size | field |
/// |-|-|-|
/// | 0 | 4 | ring index |
/// | 4 | 4 | flags (bit 0: log writes to the used ring) |
/// | 8 | 8 | descriptor table |
/// | 16 | 8 | used ring |
/// | 24 | 8 | available ring |
/// | 32 | 8 | log address; UML sends all ones, so it is not looked at |
package struct VringAddress: Equatable, Sendable {
  package static let byteCount = 40

  package var index: UInt32
  package var flags: UInt32
  package var descriptors: UInt64
  package var used: UInt64
  package var available: UInt64
  package var log: UInt64

  package init(
    index: UInt32, flags: UInt32 = 0, descriptors: UInt64, used: UInt64, available: UInt64, log: UInt64 = .max
  ) {
    self.index = index
    self.flags = flags
    self.descriptors = descriptors
    self.used = used
    self.available = available
    self.log = log
  }

  package init(parsing bytes: RawSpan) throws(VhostUserError) {
    try bytes.require(Self.byteCount)
    index = bytes.native32(at: 0)
    flags = bytes.native32(at: 4)
    descriptors = bytes.native64(at: 8)
    used = bytes.native64(at: 16)
    available = bytes.native64(at: 24)
    log = bytes.native64(at: 32)
  }

  package func encode(into bytes: inout [UInt8]) {
    bytes.appendNative(index)
    bytes.appendNative(flags)
    for address in [descriptors, used, available, log] { bytes.appendNative(address) }
  }
}

/// Payload of SET_VRING_KICK, _CALL and _ERR: a `u64` of which bits 0-7 are the index and bit 8 says "no
/// descriptor".
package struct VringDescriptor: Equatable, Sendable {
  package static let byteCount = 8

  package var index: Int
  package var hasDescriptor: Bool

  package init(index: Int, hasDescriptor: Bool) {
    self.index = index
    self.hasDescriptor = hasDescriptor
  }

  package init(parsing bytes: RawSpan) throws(VhostUserError) {
    try bytes.require(Self.byteCount)
    let value = bytes.native64(at: 0)
    index = Int(value & 0xff)
    hasDescriptor = value & 0x100 == 0
  }

  package func encode(into bytes: inout [UInt8]) {
    bytes.appendNative(UInt64(index & 0xff) | (hasDescriptor ? 0 : 0x100))
  }
}

/// A range of guest memory, and the file that holds it.
///
/// | offset | size | field |
/// |-|-|-|
/// | 0 | 8 | guest physical address |
/// | 8 | 8 | size |
/// | 16 | 8 | address in the front-end |
/// | 24 | 8 | offset in the file |
package struct MemoryRegion: Equatable, Sendable {
  package static let byteCount = 32

  package var guest: UInt64
  package var size: UInt64
  package var user: UInt64
  package var fileOffset: UInt64

  package init(guest: UInt64, size: UInt64, user: UInt64, fileOffset: UInt64) {
    self.guest = guest
    self.size = size
    self.user = user
    self.fileOffset = fileOffset
  }

  /// Parses the region at an offset of a payload that is known to hold it.
  init(_ bytes: RawSpan, at offset: Int) {
    guest = bytes.native64(at: offset)
    size = bytes.native64(at: offset + 8)
    user = bytes.native64(at: offset + 16)
    fileOffset = bytes.native64(at: offset + 24)
  }

  /// Payload of ADD_MEM_REG and REM_MEM_REG: eight bytes of padding, and the region.
  package init(parsing bytes: RawSpan) throws(VhostUserError) {
    try bytes.require(8 + Self.byteCount)
    self.init(bytes, at: 8)
  }

  package func encode(into bytes: inout [UInt8]) {
    for field in [guest, size, user, fileOffset] { bytes.appendNative(field) }
  }
}

/// Payload of SET_MEM_TABLE: `u32 count; u32 padding;` and the regions.
///
/// UML sends room for two regions whatever their number, so more bytes than needed are fine.
package struct MemoryTable: Equatable, Sendable {
  package var regions: [MemoryRegion]

  package init(regions: [MemoryRegion]) { self.regions = regions }

  package init(parsing bytes: RawSpan) throws(VhostUserError) {
    guard bytes.byteCount >= 8 else { throw .payloadSize(count: bytes.byteCount, expected: 8) }
    let count = Int(bytes.native32(at: 0))
    guard count <= Limits.regionsPerTable else { throw .tooManyRegions(count) }
    let needed = 8 + count * MemoryRegion.byteCount
    guard bytes.byteCount >= needed else { throw .payloadSize(count: bytes.byteCount, expected: needed) }
    regions = (0..<count).map { MemoryRegion(bytes, at: 8 + $0 * MemoryRegion.byteCount) }
  }

  package func encode(into bytes: inout [UInt8]) {
    bytes.appendNative(UInt32(regions.count))
    bytes.appendNative(UInt32(0))
    for region in regions { region.encode(into: &bytes) }
  }
}

/// Payload of GET_CONFIG and SET_CONFIG: `u32 offset; u32 size; u32 flags;` and `size` bytes.
package struct ConfigurationAccess: Equatable, Sendable {
  package static let prefixByteCount = 12
  /// In `flags`: the front-end writes for a guest that comes from elsewhere, not for its driver.
  package static let migration: UInt32 = 1

  package var offset: UInt32
  package var flags: UInt32
  package var bytes: [UInt8]

  package init(offset: UInt32, flags: UInt32 = 0, bytes: [UInt8]) {
    self.offset = offset
    self.flags = flags
    self.bytes = bytes
  }

  package init(parsing payload: RawSpan) throws(VhostUserError) {
    let prefix = Self.prefixByteCount
    guard payload.byteCount >= prefix else { throw .payloadSize(count: payload.byteCount, expected: prefix) }
    offset = payload.native32(at: 0)
    let count = payload.native32(at: 4)
    flags = payload.native32(at: 8)
    guard count <= Limits.configurationBytes else { throw .configuration(offset: offset, count: count) }
    try payload.require(prefix + Int(count))
    bytes = payload.extracting(prefix...).withUnsafeBytes { [UInt8]($0) }
  }

  package func encode(into payload: inout [UInt8]) {
    payload.appendNative(offset)
    payload.appendNative(UInt32(bytes.count))
    payload.appendNative(flags)
    payload.append(contentsOf: bytes)
  }
}

/// Payload of GET_INFLIGHT_FD and SET_INFLIGHT_FD: `u64 size, offset; u16 queues, queueSize`, and padding
/// that some leave out.
package struct InflightLayout: Equatable, Sendable {
  package static let byteCount = 20
  package static let paddedByteCount = 24

  package var size: UInt64
  package var offset: UInt64
  package var queueCount: UInt16
  package var queueSize: UInt16

  package init(size: UInt64, offset: UInt64, queueCount: UInt16, queueSize: UInt16) {
    self.size = size
    self.offset = offset
    self.queueCount = queueCount
    self.queueSize = queueSize
  }

  package init(parsing bytes: RawSpan) throws(VhostUserError) {
    if bytes.byteCount != Self.byteCount { try bytes.require(Self.paddedByteCount) }
    size = bytes.native64(at: 0)
    offset = bytes.native64(at: 8)
    let counts = bytes.native32(at: 16)
    queueCount = UInt16(truncatingIfNeeded: counts)
    queueSize = UInt16(truncatingIfNeeded: counts >> 16)
  }

  /// With its padding, as QEMU has it.
  package func encode(into bytes: inout [UInt8]) {
    bytes.appendNative(size)
    bytes.appendNative(offset)
    bytes.appendNative(queueCount)
    bytes.appendNative(queueSize)
    bytes.appendNative(UInt32(0))
  }
}

/// Payload of SET_LOG_BASE: `u64 size, offset` of the bitmap in its file.
package struct LogLayout: Equatable, Sendable {
  package static let byteCount = 16

  package var size: UInt64
  package var offset: UInt64

  package init(size: UInt64, offset: UInt64) {
    self.size = size
    self.offset = offset
  }

  package init(parsing bytes: RawSpan) throws(VhostUserError) {
    try bytes.require(Self.byteCount)
    size = bytes.native64(at: 0)
    offset = bytes.native64(at: 8)
  }

  package func encode(into bytes: inout [UInt8]) {
    bytes.appendNative(size)
    bytes.appendNative(offset)
  }
}

/// A payload that is one `u64`: features, counts, and the answer to a message that asked for one.
package struct Number: Equatable, Sendable {
  package static let byteCount = 8

  package var value: UInt64

  package init(_ value: UInt64) { self.value = value }

  package init(parsing bytes: RawSpan) throws(VhostUserError) {
    try bytes.require(Self.byteCount)
    value = bytes.native64(at: 0)
  }

  package func encode(into bytes: inout [UInt8]) { bytes.appendNative(value) }
}
