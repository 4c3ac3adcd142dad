// Commands that find no space.
import Foundation
import Simulation
import Testing

/// Whether this process may mount something.
private let canMount = geteuid() == 0

@Suite("Full file systems", .enabled(if: canMount, "only root can mount a small file system"))
struct FullDiskTests {
  /// Of each kind and command.
  private let attempts = max(1, 100 * long)

  /// Calls that may find no space.
  private static let calls: Set<String> = ["pwrite64", "pwritev", "pwritev2", "fallocate", "ftruncate"]

  @Test(
    "a command that finds no space says so, loses nothing, and is done when there is some",
    arguments: FaultJob.all)
  func noSpace(job: FaultJob) throws {
    let folder = try FaultFolder(job, isMount: true)
    try folder.restore()
    let space = folder.space()
    _ = try folder.run(job.arguments)
    // Some take space and give it back.
    let growth = max(space - folder.space(), 1 << 20)
    var random = RandomStream(seed: 1, name: "full \(job.testDescription)")

    var failures = 0
    for _ in 0..<attempts {
      try folder.restore()
      let free = Int(random.next() % UInt64(growth)) / 4096 * 4096
      try folder.fill(leaving: free)
      if try attempt(folder, "\(free) bytes free", { try folder.run(job.arguments) }) { failures += 1 }
    }
    try folder.restore()
    let changes = try folder.changes().filter { Self.calls.contains($0.call) }
    var failuresAtChanges = 0
    for change in changes.shuffled(using: &random) where failuresAtChanges < attempts {
      try folder.restore()
      let hasFailed = try attempt(folder, "no space at \(change.call) \(change.number)") {
        try folder.run("error=ENOSPC", at: change)
      }
      if hasFailed { failuresAtChanges += 1 }
    }
    if long > 0 {
      print(
        "\(job.testDescription): failed \(failures) of \(attempts) times on a full file system, and at "
          + "\(failuresAtChanges) of \(changes.count) changes")
    }
  }

  /// - Returns: whether the command failed.
  private func attempt(
    _ folder: FaultFolder, _ comment: String, _ body: () throws -> (code: Int32?, error: String)
  ) throws -> Bool {
    let (code, error) = try body()
    if code != 0 {
      #expect(code == 1, "\(comment): \(error)")
      // There may be warnings before it.
      let lines = error.split(separator: "\n")
      #expect(lines.count { $0.contains("No space left") } == 1, "\(comment): \(error)")
      #expect(lines.allSatisfy { $0.hasPrefix("ttblk: ") }, "\(comment): \(error)")
      #expect(!folder.hasOutput, "\(comment): an output")
    }
    try folder.expectSound(comment, isDone: code == 0)
    try folder.expectNames(comment, isDone: code == 0)
    folder.makeRoom()
    try folder.expectCompletes(comment)
    return code != 0
  }
}
