// What can go wrong between the mock driver and a session.
package import Linux

/// The session did not do what the driver expects of it.
package enum MockDriverError: Error, Equatable, CustomStringConvertible {
  case linux(LinuxError)
  /// Nothing came, however often the session had its turn.
  case noAnswer
  /// The session closed the connection.
  case closed
  /// A message was refused.
  case refused(request: UInt32, value: UInt64)
  /// A message that should not have come now.
  case unexpected(request: UInt32, flags: UInt32, size: UInt32)

  package var description: String {
    switch self {
    case .linux(let error): error.description
    case .noAnswer: "no answer"
    case .closed: "the session closed the connection"
    case .refused(let request, let value): "request \(request) was refused with \(value)"
    case .unexpected(let request, let flags, let size):
      "unexpected message \(request), flags \(flags), \(size) bytes"
    }
  }
}
