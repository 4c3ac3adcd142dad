// The configuration file of `ttblk serve`.
import Linux

/// Reads `[[disk]]` tables, and the `seed` of all of them.
package func loadServeConfiguration(path: String) throws(ConfigurationError) -> [DiskConfiguration] {
  let table = try ConfigurationTable(text: try readText(path), file: path)
  var disks: [DiskConfiguration] = []
  let directory = directoryName(path)
  for disk in try table.tables("disk") { disks.append(try DiskConfiguration(disk, directory)) }
  if let seed = try table.integer("seed", in: 0...Int.max) {
    for index in disks.indices { disks[index].seed = UInt64(seed) }
  }
  try table.finish()
  return disks
}

/// What must hold between disks.
package func validateServeConfiguration(_ disks: [DiskConfiguration]) throws(ConfigurationError) {
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
}
