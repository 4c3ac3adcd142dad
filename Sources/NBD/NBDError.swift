// What can go wrong before a client comes.
package import Linux

/// Why a server cannot be.
package enum NBDError: Error, Equatable, CustomStringConvertible {
  /// Not an address; why.
  case address(String, String)
  /// The name of the host leads nowhere.
  case unknownHost(String, String)
  case cannotListen(String, LinuxError)
  /// Two exports have one name.
  case sameName(String)
  case nameTooLong(String)
  case noExport
  /// A file that TLS needs; why it is of no use.
  case credentials(String, String)

  package var description: String {
    switch self {
    case .address(let text, let why): "'\(text)' is no address for NBD: \(why)"
    case .unknownHost(let host, let why): "no address of '\(host)': \(why)"
    case .cannotListen(let address, let error): "cannot listen on \(address): \(error.reason)"
    case .sameName(let name): "two NBD exports are named '\(name)'"
    case .nameTooLong(let name): "the name of an NBD export has \(name.utf8.count) bytes: at most 4096"
    case .noExport: "an NBD server without an export"
    case .credentials(let path, let why): "TLS cannot use '\(path)': \(why)"
    }
  }
}
