// Integers in the byte order of the network.

extension RawSpan {
  func big16(at offset: Int) -> UInt16 {
    // SAFETY: the span checks its bounds, and every bit pattern is an integer.
    UInt16(bigEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: UInt16.self))
  }

  func big32(at offset: Int) -> UInt32 {
    // SAFETY: as above.
    UInt32(bigEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }

  func big64(at offset: Int) -> UInt64 {
    // SAFETY: as above.
    UInt64(bigEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }

  /// A copy.
  func array() -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(byteCount)
    withUnsafeBytes { bytes.append(contentsOf: $0) }
    return bytes
  }
}

extension [UInt8] {
  /// Appends an integer in the byte order of the network.
  package mutating func appendBig(_ value: some FixedWidthInteger) {
    Swift.withUnsafeBytes(of: value.bigEndian) { append(contentsOf: $0) }
  }
}

/// A place in an option's data, from which fields are taken one after the other.
struct FieldCursor {
  private var position = 0

  func isAtEnd(of bytes: RawSpan) -> Bool { position == bytes.byteCount }

  mutating func integer16(of bytes: RawSpan) throws(OptionRefusal) -> UInt16 {
    let offset = try advance(2, in: bytes)
    return bytes.big16(at: offset)
  }

  mutating func integer32(of bytes: RawSpan) throws(OptionRefusal) -> UInt32 {
    let offset = try advance(4, in: bytes)
    return bytes.big32(at: offset)
  }

  /// A string with its length before it.
  mutating func string(of bytes: RawSpan) throws(OptionRefusal) -> [UInt8] {
    let length = try integer32(of: bytes)
    guard length <= UInt32(ProtocolLimits.stringBytesMax) else {
      throw OptionRefusal(.tooBig, "a string of \(length) bytes: at most \(ProtocolLimits.stringBytesMax)")
    }
    let offset = try advance(Int(length), in: bytes)
    return bytes.extracting(offset..<offset + Int(length)).array()
  }

  private mutating func advance(_ count: Int, in bytes: RawSpan) throws(OptionRefusal) -> Int {
    guard bytes.byteCount - position >= count else {
      throw OptionRefusal(.invalid, "the option's data ends too early")
    }
    defer { position += count }
    return position
  }
}
