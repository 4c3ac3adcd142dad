// The wire format of external time travel.

/// What a message asks for (`enum um_timetravel_ops`, include/uapi/linux/um_timetravel.h).
package enum Operation: UInt32, CaseIterable, Sendable, CustomStringConvertible {
  case acknowledge = 0
  case start = 1
  case request = 2
  case wait = 3
  case get = 4
  case update = 5
  case run = 6
  case freeUntil = 7
  case getTimeOfDay = 8
  case broadcast = 9

  /// As the protocol calls it.
  package var description: String {
    switch self {
    case .acknowledge: "ACK"
    case .start: "START"
    case .request: "REQUEST"
    case .wait: "WAIT"
    case .get: "GET"
    case .update: "UPDATE"
    case .run: "RUN"
    case .freeUntil: "FREE_UNTIL"
    case .getTimeOfDay: "GET_TOD"
    case .broadcast: "BROADCAST"
    }
  }
}

/// One message (`struct um_timetravel_msg`), host byte order.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | operation |
/// | 4 | 4 | sequence: each side counts its own; an acknowledgement repeats the one it answers |
/// | 8 | 8 | time in nanoseconds, or the payload of a broadcast, or the client's name at START |
package struct Message: Equatable, Sendable {
  /// As it came: a peer may send what `Operation` does not know.
  package var rawOperation: UInt32
  package var sequence: UInt32
  package var time: UInt64

  package static let byteCount = 16
  /// What clients put into a time field that means nothing.
  package static let unusedTime = UInt64.max

  package init(_ operation: Operation, sequence: UInt32, time: UInt64 = unusedTime) {
    rawOperation = operation.rawValue
    self.sequence = sequence
    self.time = time
  }

  package init(parsing bytes: RawSpan) {
    rawOperation = bytes.unsafeLoadUnaligned(fromByteOffset: 0, as: UInt32.self)
    sequence = bytes.unsafeLoadUnaligned(fromByteOffset: 4, as: UInt32.self)
    time = bytes.unsafeLoadUnaligned(fromByteOffset: 8, as: UInt64.self)
  }

  package var operation: Operation? { Operation(rawValue: rawOperation) }

  package func encode(into bytes: UnsafeMutableRawBufferPointer) {
    bytes.storeBytes(of: rawOperation, toByteOffset: 0, as: UInt32.self)
    bytes.storeBytes(of: sequence, toByteOffset: 4, as: UInt32.self)
    bytes.storeBytes(of: time, toByteOffset: 8, as: UInt64.self)
  }
}
