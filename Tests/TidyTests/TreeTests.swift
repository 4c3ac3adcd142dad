// The tree as git has it.
import Foundation
import Testing

@Suite("The tree", .enabled(if: Repository.tracked != nil)) struct TreeTests {
  let files = Repository.tracked ?? []

  @Test("holds at its top only what a newcomer looks for") func topLevel() {
    let known: Set<String> = ["Package.swift", "Sources", "Tests", "images", "bench", "README.md", "LICENSE"]
    let top = Set(files.map { String($0.path.prefix { $0 != "/" }) })
    #expect(top.filter { !known.contains($0) && !$0.hasPrefix(".") }.isEmpty)
    #expect(top.isSuperset(of: ["Package.swift", "Sources", "Tests", "LICENSE"]))
  }

  @Test("holds no build product and no large file") func sizes() {
    for file in files {
      let parts = file.path.split(separator: "/")
      #expect(parts.last != "Package.resolved" && !parts.contains { $0.hasPrefix(".build") }, "\(file.path)")
      let size = file.contents?.count ?? 0
      #expect(size <= 512 << 10, "\(file.path) has \(size >> 10) KiB")
    }
  }

  /// Each is spelled in parts, so that this file is not found.
  static let elsewhere = [
    Rule(#"/(work|farm|tmp/bash_jobs|home/\w+)[/ ]"#, "a path of one machine"),
    Rule(#"/root[/ ]"#, "a path of one machine"),
    Rule(
      [
        #"(deb|security|snapshot|ftp)\.debian\.org"#, #"\bpypi\.org"#, #"pythonhosted\.org"#, #"npmjs\.org"#,
        #"\bcrates\.io"#, #"proxy\.golang\.org"#,
      ].joined(separator: "|"), "the host of a package registry: machines have their own"),
  ]

  static let allowances = [
    Allowance(
      path: "images/guest/debian/ttblk-init", text: "HOME=/root",
      reason: "the guest's own file system")
  ]

  @Test("names no path of one machine, and no registry's host") func foreignNames() throws {
    for file in files {
      guard let contents = file.contents, !contents.contains(0) else { continue }
      let lines = String(decoding: contents, as: UTF8.self).split(
        separator: "\n", omittingEmptySubsequences: false)
      for rule in Self.elsewhere {
        for number in try rule.violations(in: lines) {
          let line = lines[number - 1]
          let isAllowed = Self.allowances.contains { $0.path == file.path && line.contains($0.text) }
          if !isAllowed { Issue.record("\(file.path):\(number): \(rule.why): \(line)") }
        }
      }
    }
  }

  @Test("has the run bit where the README says to run") func runBits() {
    let scripts = files.filter { $0.path.hasSuffix(".sh") || $0.path == ".ci/run" }
    #expect(Set(scripts.map(\.path)).isSuperset(of: [".ci/run", "Tests/run.sh"]))
    for path in [".ci/run", "Tests/run.sh", "images/demo.sh", "images/setup.sh", "images/guest/build.sh"] {
      guard let file = scripts.first(where: { $0.path == path }) else { continue }
      #expect(file.isExecutable, "\(path) has no run bit")
    }
  }

  @Test("has no test file that expects nothing, and no test target without a test") func expectations() {
    let test = "@" + "Test"
    for file in Repository.tests where file.name.hasSuffix("Tests.swift") || file.contains(test) {
      #expect(file.contains("#expect") || file.contains("#require"), "\(file.path) expects nothing")
    }
    for target in Repository.folders(below: "Tests") where target.hasSuffix("Tests") {
      #expect(
        Repository.tests.contains { $0.module == target && $0.contains(test) },
        "Tests/\(target) tests nothing")
    }
  }
}

extension PackageFile {
  func contains(_ text: String) -> Bool { code.contains { $0.contains(text) } }
}
