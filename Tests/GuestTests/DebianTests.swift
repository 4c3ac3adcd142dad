// Nodes on overlays of one Debian root.
import Foundation
import Linux
import Testing

@Suite("Debian nodes on overlays of one image") struct DebianTests {
  private let nodes = [
    NodeText(
      keys: """
        count = 3
        memory = "128M"
        root = "root"
        arguments = ["init=/sbin/ttblk-init"]
        """, jobs: ["sqlite:200"],
      disks: [DiskText(name: "root", source: "image = \"debian\"", model: "affine:100us")])
  ]

  /// What the database said.
  private func answers(_ result: RunResult) -> [Substring] {
    result.console.split(separator: "\n").filter { $0 == "ok" || $0.hasPrefix("sqlite ") }
  }

  @Test("three nodes run a database with one digest and the same three contents, until the seed is another")
  func threeNodes() throws {
    let base = try Guest(debian: true).directory + "/debian.ext4"
    let folder = try Folder()
    let before = try modificationTime(base)
    let first = try folder.run(nodes)
    #expect(answers(first).filter { $0 == "ok" }.count == 3, "\(first.console)")
    #expect(Set(answers(first)).count == 2)
    #expect(Set(first.essence.contents).count == 3)
    for arrangement in Arrangement.all {
      let again = try folder.run(nodes, as: arrangement)
      #expect(again.essence == first.essence, "\(arrangement)")
    }
    let other = try folder.run(nodes, top: "seed = 8")
    #expect(answers(other) == answers(first))
    for (one, two) in zip(other.essence.contents, first.essence.contents) { #expect(one != two) }
    #expect(try modificationTime(base) == before)
    folder.expectNothingLeft()
  }

  @Test("the process that serves three overlays has their base open once")
  func openedOnce() throws {
    let base = try Guest(debian: true).directory + "/debian.ext4"
    let real = try absolutePath(base)
    let folder = try Folder()
    let scenario = try folder.write("scenario.toml", nodes.map(\.toml).joined())
    let program = try folder.start(["run", scenario, "--output", folder / "out"])
    var counts: Set<Int> = []
    let overlays = (0..<3).map { folder / "out/node\($0)-root.cow" }
    try program.waitUntil("did not end") {
      let open = (try? directoryEntries("/proc/\(program.identifier)/fd")) ?? []
      let files = open.compactMap {
        try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(program.identifier)/fd/\($0)")
      }
      // All three are being served.
      if Set(overlays).isSubset(of: files) { counts.insert(files.filter { $0 == real }.count) }
      return !program.isRunning
    }
    #expect(try program.wait() == 0, "\(program.error)")
    #expect(counts == [1])
  }
}
