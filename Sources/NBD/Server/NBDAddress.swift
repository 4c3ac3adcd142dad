// Where clients come.

/// An address as it is written: `unix:PATH`, `HOST:PORT`, `HOST`, `:PORT`; an IPv6 address in brackets.
package enum NBDAddress: Hashable, Sendable, CustomStringConvertible {
  case unix(String)
  /// No host: the loopback addresses.
  case tcp(host: String?, port: UInt16)

  /// The port that NBD is known by (IANA).
  package static let defaultPort: UInt16 = 10809

  /// Reads an address.
  package init(parsing text: String) throws(NBDError) {
    if text.hasPrefix("unix:") {
      let path = text.dropFirst(5)
      guard !path.isEmpty else { throw .address(text, "name a path after 'unix:'") }
      self = .unix(String(path))
      return
    }
    var host = Substring(text)
    var port: Substring?
    if text.hasPrefix("[") {
      guard let bracket = text.firstIndex(of: "]") else { throw .address(text, "a bracket is not closed") }
      host = text[text.index(after: text.startIndex)..<bracket]
      let rest = text[text.index(after: bracket)...]
      guard rest.isEmpty || rest.hasPrefix(":") else { throw .address(text, "use [HOST]:PORT") }
      port = rest.isEmpty ? nil : rest.dropFirst()
      guard !host.isEmpty else { throw .address(text, "use [HOST]:PORT") }
    } else if let colon = text.lastIndex(of: ":") {
      host = text[..<colon]
      port = text[text.index(after: colon)...]
      guard !host.contains(":") else { throw .address(text, "put an IPv6 address in brackets") }
    } else if text.isEmpty {
      throw .address(text, "use unix:PATH or HOST:PORT")
    }
    guard let port else {
      self = .tcp(host: String(host), port: Self.defaultPort)
      return
    }
    guard let number = UInt16(port) else { throw .address(text, "'\(port)' is no port: use 1 to 65535") }
    self = .tcp(host: host.isEmpty ? nil : String(host), port: number)
  }

  package var description: String {
    switch self {
    case .unix(let path): "unix:\(path)"
    case .tcp(let host?, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    case .tcp(nil, let port): "localhost:\(port)"
    }
  }
}
