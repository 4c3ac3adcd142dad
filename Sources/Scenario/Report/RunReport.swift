// What a run showed.
import BlockIO
import DiskImage
import DiskModel
import Glibc
package import Simulation
package import Telemetry
import TimeTravel

/// The result of a run: per disk what was asked of it and how long it took, and what two equal runs have in
/// common.
package struct RunReport {
  package let scenario: String
  package let seed: UInt64
  package let timeKeeping: String
  package let transport: String
  package let isSeparate: Bool
  /// Simulated time at the end, ns; 0 where no controller kept it.
  package let simulatedNanoseconds: UInt64
  /// From the start of the first node to the end of the last one.
  package let wallMicroseconds: UInt64
  /// Time-travel messages, acknowledgements included.
  package let messages: UInt64
  package let completions: UInt64
  /// Of the completion log.
  package let digest: String
  package let disks: [DiskReport]
  /// What each disk holds at the end, in the order of `disks`; empty if they were not read.
  package private(set) var contents: [String] = []
  /// Nodes that lost their power.
  package var powerCuts: [PowerCut] = []

  /// When the power of a node was cut.
  package struct PowerCut: Equatable, Sendable {
    package let node: String
    package let time: SimulationTime
  }

  init(
    _ scenario: Scenario, isSeparate: Bool, serve: ServeReport, controller: ControllerReport,
    wallMicroseconds: UInt64
  ) {
    self.scenario = scenario.name
    seed = scenario.seed
    timeKeeping = scenario.timeKeeping.rawValue
    transport = scenario.transport.rawValue
    self.isSeparate = isSeparate
    simulatedNanoseconds = controller.time
    self.wallMicroseconds = wallMicroseconds
    messages = controller.messages
    completions = serve.completions
    digest = serve.digest
    disks = serve.disks
  }

  /// Requests of all disks.
  package var requests: UInt64 { disks.reduce(0) { $0 + $1.requests } }

  /// Reads every disk to its end.
  mutating func hashDisks(_ configurations: [DiskConfiguration]) throws(RunError) {
    let registry = FileRegistry()
    contents = []
    do throws(DiskImageError) {
      for configuration in configurations {
        let image = try openImage(
          path: configuration.image, options: ImageOptions(format: configuration.format, readOnly: true),
          registry: registry)
        contents.append(try hash(image))
        try image.close()
      }
    } catch { throw .image(error) }
  }

  private func hash(_ image: any DiskImage) throws(DiskImageError) -> String {
    let digest = Digest()
    let step = 1 << 20
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: step, alignment: 4096)
    defer { buffer.deallocate() }
    var offset: UInt64 = 0
    while offset < image.size {
      let count = Int(min(UInt64(step), image.size - offset))
      var part = iovec(iov_base: buffer.baseAddress, iov_len: count)
      let failure: DiskImageError? = withUnsafePointer(to: &part) {
        do throws(DiskImageError) {
          try image.read(at: offset, into: UnsafeBufferPointer(start: $0, count: 1))
          return nil
        } catch { return error }
      }
      if let failure { throw failure }
      digest.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
      offset += UInt64(count)
    }
    return digest.hexadecimal
  }

  /// The whole report for programs.
  package var json: JSONValue {
    .object([
      "scenario": .string(scenario),
      "seed": .unsigned(seed),
      "timeTravel": .string(timeKeeping),
      "transport": .string(transport),
      "separate": .bool(isSeparate),
      "simulatedNanoseconds": .unsigned(simulatedNanoseconds),
      "wallMicroseconds": .unsigned(wallMicroseconds),
      "timeMessages": .unsigned(messages),
      "requests": .unsigned(requests),
      "digest": .string(digest),
      "powerCuts": .array(
        powerCuts.map {
          .object(["node": .string($0.node), "nanoseconds": .unsigned($0.time.nanoseconds)])
        }),
      "disks": .array(
        disks.enumerated().map { index, disk in
          var members: [JSONValue.Member] = [
            .init("name", .string(disk.name)), .init("model", .string(disk.model)),
          ]
          members += DiskReport.fields.map { .init(camelCase($0.name), .unsigned(disk[keyPath: $0.path])) }
          members.append(
            .init("counters", .object(disk.counters.map { .init($0.name, .unsigned($0.value)) })))
          if index < contents.count { members.append(.init("contents", .string(contents[index]))) }
          return .object(members)
        }),
    ])
  }

  /// `bytes-read` as JSON has it: `bytesRead`.
  private func camelCase(_ name: String) -> String {
    name.split(separator: "-").enumerated().map { index, word in
      index == 0 ? String(word) : word.prefix(1).uppercased() + word.dropFirst()
    }.joined()
  }

  /// The report for people.
  package var text: String {
    var table = TextTable(
      columns: ["disk", "model", "requests", "read", "written", "mean", "p50", "p99", "max", "contents"])
    for (index, disk) in disks.enumerated() {
      table.add([
        disk.name, disk.model, "\(disk.requests)", bytes(disk.bytesRead), bytes(disk.bytesWritten),
        microseconds(disk.latencyMean), microseconds(disk.latencyP50), microseconds(disk.latencyP99),
        microseconds(disk.latencyMax), index < contents.count ? contents[index] : "-",
      ])
    }
    let perRequest = requests == 0 ? 0 : Double(messages) / Double(requests)
    return """
      \(table.text)
      simulated \(milliseconds(simulatedNanoseconds / 1000)) ms, wall \(milliseconds(wallMicroseconds)) ms, \
      \(messages) time messages (\(fixed(perRequest, 2)) per request, \(transport), \
      \(isSeparate ? "separate" : "embedded")), digest \(digest)
      """ + faultLines
  }

  /// What went wrong as it was asked to; nothing, where nothing did.
  private var faultLines: String {
    var text = ""
    for cut in powerCuts { text += "\npower cut: node '\(cut.node)' at \(cut.time)" }
    let struck = disks.filter { $0.faults > 0 }
    if !struck.isEmpty {
      text += "\nfaults: " + struck.map { "\($0.name) \($0.faults)" }.joined(separator: ", ")
    }
    return text
  }

  private func microseconds(_ nanoseconds: UInt64) -> String { "\(fixed(Double(nanoseconds) / 1000, 1)) us" }
  private func milliseconds(_ microseconds: UInt64) -> String { fixed(Double(microseconds) / 1000, 1) }

  private func bytes(_ count: UInt64) -> String {
    switch count {
    case 0..<10_240: "\(count) B"
    case 0..<(10 << 20): "\(count >> 10) KiB"
    default: "\(count >> 20) MiB"
    }
  }
}
