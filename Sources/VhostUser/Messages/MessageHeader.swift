// The twelve bytes before every message.

/// Header of a vhost-user message, in the host's byte order.
///
/// | offset | size | field |
/// |-|-|-|
/// | 0 | 4 | request |
/// | 4 | 4 | flags: bits 0-1 version (1), bit 2 reply, bit 3 needs a reply |
/// | 8 | 4 | bytes of payload that follow |
///
/// Source: QEMU vhost-user.rst, "Message Specification".
package struct MessageHeader: Equatable, Sendable {
  /// Length on the wire.
  package static let byteCount = 12
  package static let version: UInt32 = 1
  package static let versionMask: UInt32 = 3
  package static let reply: UInt32 = 4
  package static let needReply: UInt32 = 8

  package var request: UInt32
  package var flags: UInt32
  package var size: UInt32

  package init(request: UInt32, flags: UInt32 = version, size: UInt32) {
    self.request = request
    self.flags = flags
    self.size = size
  }

  package init(parsing bytes: RawSpan) throws(VhostUserError) {
    guard bytes.byteCount == Self.byteCount else {
      throw .payloadSize(count: bytes.byteCount, expected: Self.byteCount)
    }
    request = bytes.native32(at: 0)
    flags = bytes.native32(at: 4)
    size = bytes.native32(at: 8)
  }

  package func encode(into bytes: inout [UInt8]) {
    bytes.appendNative(request)
    bytes.appendNative(flags)
    bytes.appendNative(size)
  }

  package var isReply: Bool { flags & Self.reply != 0 }
  package var needsReply: Bool { flags & Self.needReply != 0 }
  package var hasVersion1: Bool { flags & Self.versionMask == Self.version }

  /// The header of the answer to this message.
  package func answer(size: Int) -> MessageHeader {
    MessageHeader(request: request, flags: Self.version | Self.reply, size: UInt32(size))
  }
}

// vhost-user messages are in the byte order of the host that both ends run on; virtio structures are not.
extension RawSpan {
  func native32(at offset: Int) -> UInt32 {
    // SAFETY: the span checks its bounds, and every bit pattern is an integer.
    unsafeLoadUnaligned(fromByteOffset: offset, as: UInt32.self)
  }

  func native64(at offset: Int) -> UInt64 {
    // SAFETY: as above.
    unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self)
  }

  /// Refuses a payload that has not exactly this length.
  func require(_ count: Int) throws(VhostUserError) {
    guard byteCount == count else { throw .payloadSize(count: byteCount, expected: count) }
  }
}

extension [UInt8] {
  /// Appends an integer in the host's byte order.
  package mutating func appendNative(_ value: some FixedWidthInteger) {
    Swift.withUnsafeBytes(of: value) { append(contentsOf: $0) }
  }
}
