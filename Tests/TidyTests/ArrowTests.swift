// Who may know whom.
import Testing

@Suite("Arrows between modules") struct ArrowTests {
  /// The whole table. An arrow that is not here is a decision to be taken, not a line to be added.
  ///
  /// CLinux beside Linux: relaxed atomics on shared memory, `iovec` and message headers must inline; a
  /// wrapper in Linux would cost a call for each access. BlockDevice beside Linux: the lanes of a disk wake
  /// each other through an eventfd. VirtioBlock knows Simulation because it is where a device meets the clock
  /// (`Simulation.Clock`), and DiskImage opens what BlockIO holds.
  static let allowed: [String: Set<String>] = [
    "CLinux": [],
    "CXXHash": [],
    "CCompression": [],
    "CUring": [],
    "CAIO": [],
    "CGnuTLS": [],
    "Linux": ["CLinux"],
    "Simulation": [],
    "Telemetry": ["Simulation", "CXXHash"],
    "TimeTravel": ["Linux", "CLinux", "Simulation"],
    "BlockIO": ["Linux", "CLinux", "CUring", "CAIO"],
    "DiskModel": ["Simulation"],
    "DiskImage": ["BlockIO", "Linux", "CLinux", "CCompression"],
    "VhostUser": ["Linux", "CLinux"],
    "BlockDevice": ["DiskImage", "BlockIO", "Linux", "DiskModel", "Simulation", "Telemetry"],
    "VirtioBlock": ["VhostUser", "BlockDevice", "Simulation", "CLinux"],
    "NBD": ["Linux", "CLinux", "CGnuTLS", "BlockDevice", "BlockIO", "DiskImage", "Simulation"],
    "Scenario": [
      "Linux", "CLinux", "Simulation", "Telemetry", "TimeTravel", "BlockIO", "DiskModel", "DiskImage",
      "VhostUser", "BlockDevice", "VirtioBlock", "NBD",
    ],
    "TestKit": [
      "Linux", "CLinux", "Simulation", "Telemetry", "TimeTravel", "BlockIO", "DiskModel", "DiskImage",
      "VhostUser", "BlockDevice", "VirtioBlock",
    ],
    "ttblk": [
      "Linux", "CLinux", "Simulation", "Telemetry", "TimeTravel", "BlockIO", "DiskModel", "DiskImage",
      "VhostUser", "BlockDevice", "VirtioBlock", "NBD", "Scenario", "TestKit",
    ],
  ]

  /// What comes from elsewhere, and who may use it. The pure modules do without the C library.
  static let foreign: [String: Set<String>] = [
    "Glibc": [
      "Linux", "TimeTravel", "BlockIO", "DiskImage", "VhostUser", "BlockDevice", "VirtioBlock", "NBD",
      "Scenario", "TestKit", "ttblk",
    ],
    // Compressing on every processor; nothing of a simulation.
    "Dispatch": ["DiskImage"],
    "Synchronization": [
      "DiskImage", "BlockIO", "BlockDevice", "VhostUser", "Linux", "TestKit", "NBD",
    ],
    "HeapModule": ["Simulation"],
    "Histogram": ["Telemetry"],
    "TOMLKit": ["Scenario"],
    "ArgumentParser": ["ttblk"],
  ]

  /// The module that each `import` line names.
  static func modules(importedBy code: [Substring]) -> [(line: Int, module: String)] {
    let pattern = /^\s*(?:@?\w+(?:\([^)]*\))?\s+)*import\s+(?:[a-z]+\s+)?(\w+)/
    return code.enumerated().compactMap { index, line in
      line.firstMatch(of: pattern).map { (index + 1, String($0.1)) }
    }
  }

  @Test("every module is in the table") func everyModuleIsInTheTable() {
    #expect(Set(Repository.modules) == Set(Self.allowed.keys))
    #expect(Set(Repository.sources.map(\.module)).count >= Repository.modules.count - 6)
  }

  @Test("the table has no cycle") func tableHasNoCycle() {
    var remaining = Self.allowed
    while let next = remaining.keys.sorted().first(where: { remaining[$0]?.isEmpty ?? false }) {
      remaining[next] = nil
      for module in remaining.keys { remaining[module]?.remove(next) }
    }
    #expect(remaining.isEmpty)
  }

  @Test("import lines are read in every form") func forms() throws {
    let lines: [Substring] = [
      "import Linux", "package import Linux", "@testable import Linux", "@_exported public import Linux",
      "import struct Glibc.iovec", "let x = important Linux",
    ]
    #expect(Self.modules(importedBy: lines).map(\.module) == ["Linux", "Linux", "Linux", "Linux", "Glibc"])
  }

  @Test("no file imports what its module must not know") func imports() {
    for file in Repository.sources {
      let imports = Self.modules(importedBy: file.code)
      for (line, imported) in imports {
        let isAllowed =
          Self.allowed[file.module]?.contains(imported) ?? false
          || Self.foreign[imported]?.contains(file.module) ?? false
        #expect(isAllowed, "\(file.path):\(line): \(file.module) -> \(imported)")
      }
      let repeated = Dictionary(grouping: imports, by: \.module).filter { $1.count > 1 }.keys.sorted()
      #expect(repeated.isEmpty, "\(file.path) imports twice: \(repeated)")
    }
  }

  @Test("Package.swift declares what is imported, and nothing else") func declarations() throws {
    let text = try PackageFile("Package.swift").lines.joined(separator: " ")
    let pattern = /\bmodule\(\s*"(\w+)"(?:,\s*\[([^\]]*)\])?/
    for match in text.matches(of: pattern.wordBoundaryKind(.simple)) {
      let module = String(match.1)
      let declared = Set((match.2 ?? "").matches(of: /"(\w+)"/).map { String($0.1) })
      let files = Repository.sources.filter { $0.module == module }
      let imported = Set(files.flatMap { Self.modules(importedBy: $0.code).map(\.module) })
      #expect(declared == imported.intersection(Self.allowed.keys), "\(module)")
    }
  }

  @Test("time travel and vhost-user do not know each other, nor a disk") func twoOfThree() {
    let disks: Set<String> = ["BlockIO", "DiskImage", "DiskModel", "BlockDevice", "VirtioBlock"]
    for module in ["TimeTravel", "VhostUser"] {
      #expect(Self.allowed[module]?.isDisjoint(with: disks.union(["TimeTravel", "VhostUser"])) == true)
    }
  }
}
