// The configuration file of `ttblk serve`.
import Linux
package import NBD

/// What `ttblk serve` is to do.
package struct ServeConfiguration {
  package var disks: [DiskConfiguration] = []
  /// What NBD clients need TLS for; nothing: they need none.
  package var tls = TLSCredentials.Files()

  package init() {}

  /// Reads `[[disk]]` tables, the `seed` of all of them, and where credentials are.
  package init(path: String) throws(ConfigurationError) {
    let table = try ConfigurationTable(text: try readText(path), file: path)
    let directory = directoryName(path)
    for disk in try table.tables("disk") { disks.append(try DiskConfiguration(disk, directory)) }
    if let seed = try table.integer("seed", in: 0...Int.max) {
      for index in disks.indices { disks[index].seed = UInt64(seed) }
    }
    tls.certificates = try table.string("tls-certificates").map { resolve($0, directory) }
    tls.keys = try table.string("tls-psk").map { resolve($0, directory) }
    tls.verifiesClients = try table.boolean("tls-verify-clients") ?? false
    try table.finish()
  }

  /// What must hold between disks.
  package func validate() throws(ConfigurationError) {
    guard !disks.isEmpty else { throw ConfigurationError("no disk to serve: give --disk or --config") }
    var names: Set<String> = []
    var sockets: Set<String> = []
    for disk in disks {
      try disk.validate(context: "disk '\(disk.name)'")
      guard names.insert(disk.name).inserted else {
        throw ConfigurationError("two disks have the name '\(disk.name)'")
      }
      if let socket = disk.socket, !sockets.insert(socket).inserted {
        throw ConfigurationError("two disks have the socket '\(socket)'")
      }
    }
    guard !tls.isEmpty else { return }
    guard disks.contains(where: { $0.nbd != nil }) else {
      throw ConfigurationError("TLS is for NBD clients, and no disk has an nbd address")
    }
    guard !tls.verifiesClients || tls.certificates != nil else {
      throw ConfigurationError("tls-verify-clients needs tls-certificates, for the authority's ca-cert.pem")
    }
  }
}
