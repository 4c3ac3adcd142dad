// Commands that are killed.
import Foundation
import Simulation
import Testing

@Suite("Killed commands") struct KillTests {
  /// Of each kind and command.
  private let attempts = max(1, 100 * long)

  @Test(
    "killed at any moment, a command loses nothing, and is done when it is called again",
    arguments: FaultJob.all)
  func kill(job: FaultJob) throws {
    let folder = try FaultFolder(job)
    let began = ContinuousClock.now
    _ = try folder.run(job.arguments)
    let duration = UInt64((ContinuousClock.now - began) / .microseconds(1))
    try folder.expectSound("unkilled", isDone: true)
    try folder.expectNames("unkilled", isDone: true)
    var random = RandomStream(seed: 1, name: "kill \(job.testDescription)")

    var atTimes = 0
    for _ in 0..<attempts {
      let delay = random.next() % (duration + 1)
      try attempt(folder, "killed after \(delay) of \(duration) us") {
        if try folder.runAndKill(after: UInt32(delay)) { atTimes += 1 }
      }
    }
    var atChanges = 0
    try folder.restore()
    let changes = try folder.changes()
    for change in changes.shuffled(using: &random) where atChanges < attempts {
      try attempt(folder, "killed at \(change.call) \(change.number)") {
        if try folder.run("signal=SIGKILL", at: change).code == nil { atChanges += 1 }
      }
    }
    #expect(atChanges > 0)
    if long > 0 {
      print(
        "\(job.testDescription): killed \(atTimes) of \(attempts) times after a while, and at "
          + "\(atChanges) of \(changes.count) changes, in \(ContinuousClock.now - began)")
    }
  }

  private func attempt(_ folder: FaultFolder, _ comment: String, _ body: () throws -> Void) throws {
    try folder.restore()
    try body()
    try folder.expectSound(comment, isDone: false)
    try folder.expectCompletes(comment)
  }
}
