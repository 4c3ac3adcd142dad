// Answers to requests, written to where they are sent from.

/// Writes the heads of replies ("Simple reply message", "Structured reply chunk message").
///
/// SAFETY: the memory belongs to the caller, who gives as much as each function says; nothing is kept.
package enum Reply {
  /// Magic, error, cookie.
  package static let simpleByteCount = 16
  /// Magic, flags, type, cookie, length of what follows.
  package static let chunkByteCount = 20
  /// A chunk's head and the offset of its data.
  package static let dataByteCount = 28
  /// A chunk's head, offset and length.
  package static let holeByteCount = 32
  /// The longest of all.
  package static let byteCountMax = chunkByteCount + 6 + ProtocolLimits.errorTextBytesMax

  private static let done: UInt16 = 1

  /// Writes `simpleByteCount` bytes.
  /// - Parameter error: nil for success.
  package static func writeSimple(_ memory: UnsafeMutableRawPointer, cookie: UInt64, error: ErrorCode?) {
    memory.storeBig(Magic.simpleReply, at: 0)
    memory.storeBig(error?.rawValue ?? 0, at: 4)
    memory.storeBig(cookie, at: 8)
  }

  /// Writes `chunkByteCount` bytes.
  package static func writeChunk(
    _ memory: UnsafeMutableRawPointer, _ type: ChunkType, cookie: UInt64, length: UInt32, isLast: Bool
  ) {
    memory.storeBig(Magic.chunk, at: 0)
    memory.storeBig(isLast ? done : 0, at: 4)
    memory.storeBig(type.rawValue, at: 6)
    memory.storeBig(cookie, at: 8)
    memory.storeBig(length, at: 16)
  }

  /// Writes `dataByteCount` bytes, behind which `count` bytes of the disk are sent.
  package static func writeData(
    _ memory: UnsafeMutableRawPointer, cookie: UInt64, offset: UInt64, count: UInt32, isLast: Bool
  ) {
    writeChunk(memory, .offsetData, cookie: cookie, length: count + 8, isLast: isLast)
    memory.storeBig(offset, at: chunkByteCount)
  }

  /// Writes `holeByteCount` bytes.
  package static func writeHole(
    _ memory: UnsafeMutableRawPointer, cookie: UInt64, offset: UInt64, count: UInt32, isLast: Bool
  ) {
    writeChunk(memory, .offsetHole, cookie: cookie, length: 12, isLast: isLast)
    memory.storeBig(offset, at: chunkByteCount)
    memory.storeBig(count, at: chunkByteCount + 8)
  }

  /// Writes at most `byteCountMax` bytes.
  /// - Returns: how many.
  package static func writeError(
    _ memory: UnsafeMutableRawPointer, cookie: UInt64, _ code: ErrorCode, _ text: StaticString
  ) -> Int {
    let count = min(text.utf8CodeUnitCount, ProtocolLimits.errorTextBytesMax)
    writeChunk(memory, .error, cookie: cookie, length: UInt32(6 + count), isLast: true)
    memory.storeBig(code.rawValue, at: chunkByteCount)
    memory.storeBig(UInt16(count), at: chunkByteCount + 4)
    (memory + chunkByteCount + 6).copyMemory(from: text.utf8Start, byteCount: count)
    return chunkByteCount + 6 + count
  }
}

extension UnsafeMutableRawPointer {
  /// Stores an integer in the byte order of the network.
  ///
  /// SAFETY: as with `storeBytes(of:toByteOffset:as:)`.
  @inline(__always)
  func storeBig<Integer: FixedWidthInteger & BitwiseCopyable>(_ value: Integer, at offset: Int) {
    storeBytes(of: value.bigEndian, toByteOffset: offset, as: Integer.self)
  }
}
