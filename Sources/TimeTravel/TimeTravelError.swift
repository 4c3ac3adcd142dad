// What can go wrong between a client and its controller.
package import Linux

package enum TimeTravelError: Error, CustomStringConvertible {
  /// A system call failed.
  case system(LinuxError)
  /// The peer closed its socket.
  case disconnected
  /// The peer sent what the protocol does not allow.
  case protocolViolation(String)
  /// The peer did not answer within `Limits.answerTimeoutMilliseconds` of real time.
  case silent(on: String)

  package var description: String {
    switch self {
    case .system(let error): error.description
    case .disconnected: "the time-travel peer went away"
    case .protocolViolation(let what): "time-travel protocol violation: \(what)"
    case .silent(let message): "the time-travel peer does not answer \(message)"
    }
  }
}

/// The numbers that bound this module.
package enum Limits {
  /// Clients of one controller: slots in the shared schedule, 128 bytes each, allocated when touched.
  /// The identifier on the wire has 16 bits.
  package static let clientsMax = 4095
  /// How long we wait for an answer that the protocol promises at once, in real time. Nothing simulated
  /// depends on it: past it the peer is given up.
  package static let answerTimeoutMilliseconds: CInt = 30_000
  /// UML asks for this or more when it has nothing to do, and panics if it is ever run then (`S64_MAX`).
  package static let idleForever = UInt64(Int64.max)
}
