// The numbers of the protocol (nbd/doc/proto.md, "Values").

/// What messages begin with.
package enum Magic {
  /// The first eight bytes of a server: "NBDMAGIC".
  package static let greeting: UInt64 = 0x4e42_444d_4147_4943
  /// The second eight, and the beginning of every option: "IHAVEOPT".
  package static let option: UInt64 = 0x4948_4156_454f_5054
  package static let optionReply: UInt64 = 0x0003_e889_0455_65a9
  package static let request: UInt32 = 0x2560_9513
  package static let simpleReply: UInt32 = 0x6744_6698
  package static let chunk: UInt32 = 0x668e_33ef
}

/// What both sides say of themselves before the first option ("Handshake flags", "Client flags").
package struct HandshakeFlags: OptionSet, Sendable {
  package let rawValue: UInt32
  package init(rawValue: UInt32) { self.rawValue = rawValue }

  package static let fixedNewstyle = HandshakeFlags(rawValue: 1)
  package static let noZeroes = HandshakeFlags(rawValue: 2)
  package static let known: HandshakeFlags = [.fixedNewstyle, .noZeroes]
}

/// What an export can do ("Transmission flags").
package struct TransmissionFlags: OptionSet, Sendable {
  package let rawValue: UInt16
  package init(rawValue: UInt16) { self.rawValue = rawValue }

  package static let hasFlags = TransmissionFlags(rawValue: 1 << 0)
  package static let readOnly = TransmissionFlags(rawValue: 1 << 1)
  package static let sendFlush = TransmissionFlags(rawValue: 1 << 2)
  package static let sendFUA = TransmissionFlags(rawValue: 1 << 3)
  package static let rotational = TransmissionFlags(rawValue: 1 << 4)
  package static let sendTrim = TransmissionFlags(rawValue: 1 << 5)
  package static let sendWriteZeroes = TransmissionFlags(rawValue: 1 << 6)
  package static let sendDF = TransmissionFlags(rawValue: 1 << 7)
  package static let canMultiConn = TransmissionFlags(rawValue: 1 << 8)
  package static let sendCache = TransmissionFlags(rawValue: 1 << 10)
  package static let sendFastZero = TransmissionFlags(rawValue: 1 << 11)
}

/// What a client asks for before it chooses an export ("Option types").
package enum OptionType: UInt32, Sendable {
  case exportName = 1
  case abort = 2
  case list = 3
  case startTLS = 5
  case info = 6
  case go = 7
  case structuredReply = 8
  case listMetaContext = 9
  case setMetaContext = 10
}

/// How an option is answered ("Option reply types").
package enum OptionReplyType: UInt32, Sendable {
  case acknowledged = 1
  case server = 2
  case info = 3
  case metaContext = 4
  case unsupported = 0x8000_0001
  case policy = 0x8000_0002
  case invalid = 0x8000_0003
  case platform = 0x8000_0004
  case tlsRequired = 0x8000_0005
  case unknown = 0x8000_0006
  case shutdown = 0x8000_0007
  case tooBig = 0x8000_0009
}

/// What INFO and GO can tell of an export (`NBD_REP_INFO`).
package enum InfoType: UInt16, Sendable {
  case export = 0
  case name = 1
  case description = 2
  case blockSize = 3
}

/// What a client asks an export for ("Request types").
package enum Command: UInt16, Sendable, CaseIterable {
  case read = 0
  case write = 1
  case disconnect = 2
  case flush = 3
  case trim = 4
  case cache = 5
  case writeZeroes = 6
  case blockStatus = 7
}

/// In which way ("Command flags").
package struct CommandFlags: OptionSet, Sendable {
  package let rawValue: UInt16
  package init(rawValue: UInt16) { self.rawValue = rawValue }

  /// Durable when it is answered.
  package static let fua = CommandFlags(rawValue: 1 << 0)
  /// WRITE_ZEROES keeps the space.
  package static let noHole = CommandFlags(rawValue: 1 << 1)
  /// READ is answered in one piece.
  package static let df = CommandFlags(rawValue: 1 << 2)
  /// BLOCK_STATUS is answered with one descriptor.
  package static let reqOne = CommandFlags(rawValue: 1 << 3)
  /// WRITE_ZEROES fails if it is not faster than writing zeros.
  package static let fastZero = CommandFlags(rawValue: 1 << 4)
}

/// Why a request failed ("Error values").
package enum ErrorCode: UInt32, Sendable {
  case notPermitted = 1
  case io = 5
  case noMemory = 12
  case invalid = 22
  case noSpace = 28
  case overflow = 75
  case notSupported = 95
  case shutdown = 108
}

/// What a chunk of a structured reply is ("Structured reply types").
package enum ChunkType: UInt16, Sendable {
  case none = 0
  case offsetData = 1
  case offsetHole = 2
  case blockStatus = 5
  case error = 0x8001
}

/// What `base:allocation` says of a piece of a disk ("Metadata contexts").
package enum AllocationState {
  package static let hole: UInt32 = 1
  package static let zero: UInt32 = 2
}

/// The one metadata context there is.
package enum AllocationContext {
  package static let name = "base:allocation"
  package static let namespace = "base:"
  package static let identifier: UInt32 = 1
}
