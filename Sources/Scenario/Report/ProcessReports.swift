// What `ttblk serve` and `ttblk controller` leave for whoever started them.
import DiskModel
package import Linux
import Simulation
import Telemetry
import TimeTravel

/// The end of `ttblk serve --report FILE`, as TOML.
package struct ServeReport: Equatable, Sendable {
  package var disks: [DiskReport]
  /// Completed requests, and the digest of their log.
  package var completions: UInt64
  package var digest: String

  package init(_ service: ServeLoop) { self.init(service.server) }

  init(_ server: any DiskService) {
    disks = server.reports
    completions = server.completions
    digest = server.digest
  }

  /// Of no disks.
  init() {
    disks = []
    completions = 0
    digest = CompletionLog().digest
  }

  /// Reads back what `write` wrote.
  init(path: String) throws(ConfigurationError) {
    let table = try ConfigurationTable(text: try readText(path), file: path)
    completions = UInt64(try table.integer("completions", in: 0...Int.max) ?? 0)
    digest = try table.string("digest") ?? ""
    disks = []
    for entry in try table.tables("disk") {
      var disk = DiskReport(name: try entry.string("name") ?? "", model: try entry.string("model") ?? "")
      for field in DiskReport.fields {
        disk[keyPath: field.path] = UInt64(try entry.integer(field.name, in: 0...Int.max) ?? 0)
      }
      disk.counters = try entry.counts("counters").map { ModelCounter($0.name, $0.count) }
      try entry.finish()
      disks.append(disk)
    }
    try table.finish()
  }

  package func write(to path: String) throws(LinuxError) {
    // Names and digests have no signs that TOML strings would need to escape; models may have a path.
    var text = "completions = \(completions)\ndigest = \"\(digest)\"\n"
    for disk in disks {
      text += "\n[[disk]]\nname = \"\(disk.name)\"\nmodel = \(tomlString(disk.model))\n"
      for field in DiskReport.fields { text += "\(field.name) = \(disk[keyPath: field.path])\n" }
      guard !disk.counters.isEmpty else { continue }
      text += "\n[disk.counters]\n"
      for counter in disk.counters { text += "\(counter.name) = \(counter.value)\n" }
    }
    try writeFile(path, text)
  }
}

/// The end of `ttblk controller --report FILE`, as TOML.
package struct ControllerReport: Equatable, Sendable {
  /// Time-travel messages with all clients, acknowledgements included.
  package var messages: UInt64
  /// Simulated time at the end, ns.
  package var time: UInt64

  package init(_ service: ControllerLoop) {
    messages = service.controller.messageCount
    time = service.controller.now.nanoseconds
  }

  init(messages: UInt64, time: UInt64) {
    self.messages = messages
    self.time = time
  }

  init(path: String) throws(ConfigurationError) {
    let table = try ConfigurationTable(text: try readText(path), file: path)
    messages = UInt64(try table.integer("messages", in: 0...Int.max) ?? 0)
    time = UInt64(try table.integer("time", in: 0...Int.max) ?? 0)
    try table.finish()
  }

  package func write(to path: String) throws(LinuxError) {
    try writeFile(path, "messages = \(messages)\ntime = \(time)\n")
  }
}
