// Operations that are stopped, as by SIGINT, and called again.
import BlockIO
import Glibc
import Simulation
import Testing

@testable import DiskImage

@Suite("Stopping operations") struct InterruptTests {
  let scratch = Scratch()
  let registry = FileRegistry()

  enum Operation: String, CaseIterable, Sendable {
    case repair, rebase, compact, upgrade, snapshot, apply
  }

  func run(_ operation: Operation, _ progress: Progress) throws {
    let path = scratch.file("cow")
    switch operation {
    case .repair:
      // What was saved for the last attempt stays.
      let saved = scratch.file("saved-\(scratch.names.count)")
      _ = try Repair.run(
        path: path, options: .init(mixedPages: true, leaks: true), savingTo: saved, registry: registry,
        progress: progress)
    case .rebase:
      _ = try Rebase.run(
        path: path, backing: scratch.file("other"), unsafe: false, registry: registry, progress: progress)
    case .compact: _ = try Compact.run(path: path, registry: registry, progress: progress)
    case .upgrade: _ = try Upgrade.run(path: path, output: nil, registry: registry, progress: progress)
    case .snapshot: try Snapshot.create(of: path, name: "s", registry: registry, progress: progress)
    case .apply: try Snapshot.apply(to: path, name: "t", registry: registry, progress: progress)
    }
  }

  @Test(
    "a stop at any step leaves the image as it was for its user, and the next call goes on",
    arguments: Operation.allCases)
  func stop(operation: Operation) throws {
    let sample = COWSample(
      operation == .upgrade ? .v2 : .v3, size: 40 * 4096, path: scratch.file("base"), seed: 5)
    scratch.write("base", sample.backing)
    scratch.write("cow", sample.file)
    scratch.write("other", [UInt8](repeating: 4, count: sample.backing.count))
    if operation == .apply {
      try Snapshot.create(of: scratch.file("cow"), name: "t", registry: registry, progress: Progress())
    }
    for stop in 0..<1000 {
      let progress = Progress()
      var steps = 0
      progress.onStep = { _ in
        steps += 1
        return steps <= stop
      }
      var isDone = true
      do throws(DiskImageError) { try runTyped(operation, progress) } catch {
        try #require(error == .interrupted)
        isDone = false
      }
      let disk = try openImage(
        path: scratch.file("cow"), options: ImageOptions(readOnly: true), registry: registry)
      let isSame = try disk.all() == sample.ideal
      #expect(isSame, "stopped after \(stop) steps")
      #expect(!scratch.names.contains { $0.contains(".new-") })
      try disk.close()
      if isDone { return }
    }
    Issue.record("the operation has no end")
  }

  private func runTyped(_ operation: Operation, _ progress: Progress) throws(DiskImageError) {
    do { try run(operation, progress) } catch let error as DiskImageError { throw error } catch {
      Issue.record("\(error)")
    }
  }
}
