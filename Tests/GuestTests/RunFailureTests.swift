// Runs that end badly: who is named, how soon, and what is left.
import Foundation
import Glibc
import Linux
import Testing

@Suite("A run that ends badly") struct RunFailureTests {
  private let endless = "io:/dev/vda,--op,mixed,--requests,100000000"
  private let disk = "[[node.disk]]\nname = \"d\"\nsize = \"64M\"\nmodel = \"affine:50us\"\n"

  /// A node that goes on until somebody stops it, after one that ends well.
  private var endlessNodes: String {
    """
    [[node]]
    name = "good"
    run = "none"
    [[node]]
    name = "endless"
    run = "\(endless)"
    \(disk)
    """
  }

  /// Starts a run, and waits until its kernels are there and the disk is being written.
  private func startEndless(_ folder: Folder, _ arrangement: Arrangement) throws -> Program {
    _ = try Guest()
    let scenario = try folder.write("s.toml", endlessNodes)
    let options = arrangement.isSeparate ? ["--separate"] : []
    let program = try folder.start(
      ["run", scenario, "--output", folder / "out", "--transport", arrangement.transport] + options)
    try program.waitUntil("wrote nothing") {
      var status = stat()
      let isWriting = stat(folder / "out/endless-d.cow", &status) == 0 && status.st_blocks > 200
      return isWriting || !program.isRunning
    }
    try #require(program.isRunning, "\(program.error)")
    return program
  }

  private func expectFailure(
    _ text: String, code: Int32, words: [String], in folder: Folder,
    arrangement: Arrangement = .embedded, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    _ = try Guest()
    let scenario = try folder.write("s.toml", text)
    let options = arrangement.isSeparate ? ["--separate"] : []
    let outcome = try folder.ttblk(
      ["run", scenario, "--output", folder / "out", "--transport", arrangement.transport] + options)
    #expect(outcome.code == code, "\(outcome.error)", sourceLocation: sourceLocation)
    #expect(outcome.complaints.count == 1, "\(outcome.error)", sourceLocation: sourceLocation)
    for word in words {
      #expect(outcome.error.contains(word), "\(outcome.error)", sourceLocation: sourceLocation)
    }
    #expect(!outcome.output.contains("digest"), sourceLocation: sourceLocation)
    folder.expectNothingLeft(sourceLocation: sourceLocation)
  }

  @Test("a node that panics is named at once", arguments: Arrangement.all)
  func panic(arrangement: Arrangement) throws {
    let text = """
      [[node]]
      name = "good"
      run = "sleep:--count,1000000000"
      [[node]]
      name = "bad"
      root = "d"
      wall-limit = 100
      \(disk)
      """
    try expectFailure(
      text, code: 6, words: ["node 'bad' panicked", "Kernel panic"], in: try Folder(),
      arrangement: arrangement)
  }

  @Test("a node that hangs past its limit is named", arguments: ["off", "external", "inf-cpu"])
  func hang(mode: String) throws {
    let text = """
      time-travel = "\(mode)"
      [[node]]
      name = "slow"
      run = "\(mode == "off" ? "sleep:--count,1,--ns,60000000000" : "sleep:--count,100000000,--ns,1000")"
      wall-limit = 1
      """
    try expectFailure(
      text, code: 6, words: ["node 'slow' hung", "wall-limit"], in: try Folder())
  }

  @Test("a node whose job fails is named, with the exit code of the job", arguments: Arrangement.all)
  func failingJob(arrangement: Arrangement) throws {
    let text = "[[node]]\nname = \"n\"\nrun = \"io:/dev/vdz\"\n\(disk)"
    try expectFailure(
      text, code: 6, words: ["node 'n'", "exit code 1"], in: try Folder(),
      arrangement: arrangement)
  }

  @Test(
    "a job that does not exist, and no job at all, are failures of their node",
    arguments: ["run = \"dance\"", ""])
  func noJob(line: String) throws {
    let text = "[[node]]\nname = \"n\"\n\(line)\n"
    try expectFailure(text, code: 6, words: ["node 'n'", "exit code 127"], in: try Folder())
  }

  @Test("a kernel that is no program is one line")
  func noKernel() throws {
    let folder = try Folder()
    try folder.write("kernel", "not a program")
    try expectFailure(
      "[[node]]\nname = \"n\"\nkernel = \"kernel\"\nrun = \"none\"\n", code: 1, words: ["kernel"],
      in: folder)
  }

  @Test(
    "a kernel that is killed while it writes ends the run with 6, and the image is whole",
    arguments: Arrangement.all)
  func killedKernel(arrangement: Arrangement) throws {
    let folder = try Folder()
    let program = try startEndless(folder, arrangement)
    for kernel in folder.kernels(named: "endless") { Glibc.kill(kernel, SIGKILL) }
    #expect(try program.wait() == 6)
    #expect(program.error.contains("node 'endless' its kernel ended with signal 9"), "\(program.error)")
    #expect(program.error.split(separator: "\n").count == 1, "\(program.error)")
    folder.expectNothingLeft()
    try folder.expectValid(folder / "out/endless-d.cow")
  }

  @Test(
    "SIGINT, SIGTERM and SIGHUP stop everything in order",
    arguments: [SIGINT, SIGTERM, SIGHUP], [Arrangement.all[0], Arrangement.all[2]])
  func interrupted(signal: Int32, arrangement: Arrangement) throws {
    let folder = try Folder()
    let program = try startEndless(folder, arrangement)
    program.signal(signal)
    #expect(try program.wait() == 1)
    #expect(program.error == "ttblk: interrupted\n", "\(program.error)")
    folder.expectNothingLeft()
    try folder.expectValid(folder / "out/endless-d.cow")
  }

  @Test("SIGKILL of ttblk run leaves no process", arguments: [Arrangement.all[0], Arrangement.all[2]])
  func killed(arrangement: Arrangement) throws {
    let folder = try Folder()
    let program = try startEndless(folder, arrangement)
    #expect(!folder.kernels().isEmpty)
    program.signal(SIGKILL)
    try program.wait()
    folder.expectNobodyLeft()
    try folder.expectValid(folder / "out/endless-d.cow")
  }

  @Test(
    "a controller or a disk process that is killed ends a separate run with 7, and is named",
    arguments: [("controller", "the controller"), ("serve", "the disks")])
  func killedService(command: String, word: String) throws {
    let folder = try Folder()
    let program = try startEndless(folder, Arrangement.all[2])
    let victims = folder.users.filter { $0.contains(" \(command) --") }
    #expect(victims.count == 1, "\(folder.users)")
    for victim in victims { Glibc.kill(Int32(victim.prefix { $0 != ":" }) ?? 0, SIGKILL) }
    let code = try program.wait()
    #expect(code == 7, "\(program.error)")
    #expect(program.error.contains(word), "\(program.error)")
    #expect(program.error.split(separator: "\n").count == 1, "\(program.error)")
    folder.expectNothingLeft()
    try folder.expectValid(folder / "out/endless-d.cow")
  }

  @Test("SIGKILL of ttblk run leaves nothing that a kernel had started, either")
  func killedWithHelpers() throws {
    let folder = try Folder()
    _ = try Guest()
    try folder.write("kernel", "#!/bin/sh\nsleep 600 &\necho started\nwait\n")
    try #require(chmod(folder / "kernel", 0o755) == 0)
    let node = "[[node]]\nname = \"n\"\ncount = 3\nkernel = \"kernel\"\n"
    let program = try folder.start(["run", try folder.write("s.toml", node), "--output", folder / "out"])
    try program.waitUntil("did not start its nodes") {
      (0..<3).allSatisfy { folder.console("out/n\($0).console").contains("started") } || !program.isRunning
    }
    try #require(program.isRunning, "\(program.error)")
    #expect(folder.users.count >= 7)
    program.signal(SIGKILL)
    try program.wait()
    folder.expectNobodyLeft()
  }

  @Test("a run after a bad one empties the folder and ends well")
  func again() throws {
    let folder = try Folder()
    let program = try startEndless(folder, .embedded)
    program.signal(SIGINT)
    try program.wait()
    let result = try folder.run([NodeText(jobs: ["none"], disks: [DiskText()])])
    #expect(result.essence.contents.count == 1)
    #expect(!fileExists(folder / "out/endless-d.cow"))
  }
}
