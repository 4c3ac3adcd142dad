// The kernel that images/guest/build.sh makes, and scenarios for it.
import Foundation
import Linux
import Testing

/// The guest; a test that needs it fails without it.
struct Guest {
  let directory: String

  init(debian: Bool = false, qemu: Bool = false) throws {
    let environment = ProcessInfo.processInfo.environment
    let cache =
      environment["TTBLK_CACHE"]
      ?? (environment["XDG_CACHE_HOME"] ?? (environment["HOME"] ?? "") + "/.cache") + "/ttblk"
    directory = environment["TTBLK_GUEST"] ?? cache + "/guest"
    var needed = ["linux", "initramfs.cpio.gz", "libttblk-guest.so"]
    if debian { needed.append("debian.ext4") }
    if qemu { needed += ["vmlinuz-qemu", "initramfs-qemu.cpio.gz", "programs.ext4"] }
    for file in needed where !fileExists("\(directory)/\(file)") {
      throw RigError("no guest: '\(directory)/\(file)' is missing; run images/guest/build.sh --debian --qemu")
    }
  }

  /// Starts a kernel by hand, in the test's folder.
  /// - Parameters:
  ///   - ubd: a disk for UML's own driver.
  ///   - script: of the host, for the guest to run.
  func start(
    in folder: Folder, name: String = "hand", sockets: [String] = [], ubd: String? = nil,
    jobs: [String] = [], script: String? = nil, timeTravel: String? = nil, memory: String = "64M"
  ) throws -> Program {
    var arguments = [
      "mem=\(memory)", "initrd=\(directory)/initramfs.cpio.gz", "root=/dev/ram0", "rdinit=/init", "con=null",
      "con0=null,fd:1", "ssl=null", ubd.map { "ubd0=\($0)" } ?? "ubd0r=/dev/null", "quiet", "umid=\(name)",
      "uml_dir=\(folder.path)/uml/",
    ]
    if let script { arguments.append("ttblk.script=\(script)") }
    if let timeTravel { arguments.append("time-travel=\(timeTravel)") }
    arguments += sockets.map { "virtio_uml.device=\($0):2" } + jobs.map { "ttblk.run=\($0)" }
    try makeDirectory(folder / "uml")
    return try Program(
      directory + "/linux", arguments, in: folder.path,
      environment: ["TMPDIR": "/dev/shm", "HOME": folder.path],
      withoutRandomisation: true)
  }
}

/// A disk of a scenario, in TOML.
struct DiskText {
  var name = "disk"
  /// `size = "64M"` or `image = "…"`, and whatever else.
  var source = "size = \"64M\""
  var model = "zero"
  /// `[[node.disk.fault]]` tables.
  var faults = ""

  var toml: String {
    """
    [[node.disk]]
    name = "\(name)"
    \(source)
    model = "\(model)"
    \(faults)

    """
  }
}

/// A node of a scenario, in TOML.
struct NodeText {
  var name = "node"
  var keys = ""
  var jobs: [String] = []
  var disks: [DiskText] = []

  var toml: String {
    """
    [[node]]
    name = "\(name)"
    run = [\(jobs.map { "\"\($0)\"" }.joined(separator: ", "))]
    wall-limit = 60
    \(keys)

    """ + disks.map(\.toml).joined()
  }
}

/// The two choices that must change no result.
struct Arrangement: CustomStringConvertible, Sendable {
  let transport: String
  let isSeparate: Bool
  var description: String { "\(isSeparate ? "separate" : "embedded") \(transport)" }
  static let all = [
    Arrangement(transport: "shared-memory", isSeparate: false),
    Arrangement(transport: "message", isSeparate: false),
    Arrangement(transport: "shared-memory", isSeparate: true),
    Arrangement(transport: "message", isSeparate: true),
  ]
  static var embedded: Arrangement { all[0] }
}

/// What a run showed.
struct RunResult {
  /// What must be equal in equal runs.
  struct Essence: Equatable {
    var digest: String
    var contents: [String]
    var consoles: [String]
    var simulatedNanoseconds: Int
  }

  let essence: Essence
  let messages: Int
  let disks: [[String: Any]]

  var console: String { essence.consoles.joined() }

  /// `name=123` in the consoles.
  func number(_ name: String) -> Int? { numbers(name).first }

  func numbers(_ name: String) -> [Int] {
    console.split { $0 == " " || $0 == "\n" }.filter { $0.hasPrefix("\(name)=") }.compactMap {
      Int($0.dropFirst(name.count + 1))
    }
  }
}

extension Folder {
  /// Runs a scenario that must end well, and say nothing unless it has a reason to warn.
  func run(
    _ nodes: [NodeText], top: String = "seed = 7", as arrangement: Arrangement = .embedded,
    output: String = "out", options: [String] = [], warns: Bool = false
  ) throws -> RunResult {
    try run(
      toml: "\(top)\n" + nodes.map(\.toml).joined(), as: arrangement, output: output, options: options,
      warns: warns)
  }

  /// The same for a scenario as a text.
  func run(
    toml: String, as arrangement: Arrangement = .embedded, output: String = "out", options: [String] = [],
    warns: Bool = false
  ) throws -> RunResult {
    _ = try Guest()
    let scenario = try write("scenario.toml", toml)
    let separate = arrangement.isSeparate ? ["--separate"] : []
    let program = try start(
      ["run", scenario, "--output", self / output, "--transport", arrangement.transport] + separate + options)
    let code = try program.wait()
    guard code == 0, program.error.isEmpty != warns else {
      throw RigError("\(arrangement): ttblk run ended with \(code): \(program.error)")
    }
    return try result(in: output)
  }

  private func result(in output: String) throws -> RunResult {
    let data = Data(try read("\(output)/report.json").utf8)
    let report = try #require(JSONSerialization.jsonObject(with: data) as? [String: Any])
    let disks = try #require(report["disks"] as? [[String: Any]])
    let consoles = try directoryEntries(self / output).filter { $0.hasSuffix(".console") }
    return RunResult(
      essence: RunResult.Essence(
        digest: try #require(report["digest"] as? String),
        contents: disks.compactMap { $0["contents"] as? String },
        consoles: try consoles.map { try read("\(output)/\($0)") },
        simulatedNanoseconds: try #require(report["simulatedNanoseconds"] as? Int)),
      messages: try #require(report["timeMessages"] as? Int), disks: disks)
  }
}
