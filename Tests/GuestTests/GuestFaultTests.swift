// Faults of disks as a real guest meets them.
import Foundation
import Linux
import Testing

@Suite("A real guest on a disk with faults") struct GuestFaultTests {
  private func node(_ jobs: [String], _ faults: String) -> NodeText {
    NodeText(
      jobs: jobs, disks: [DiskText(source: "size = \"4M\"", model: "affine:50us", faults: faults)])
  }

  private func toml(_ node: NodeText, _ top: String = "seed = 7") -> String { "\(top)\n" + node.toml }

  @Test("sees the same faults in every arrangement, and another choice of them with another seed")
  func arrangements() throws {
    let text = toml(
      node(
        ["io:/dev/vda,--op,write,--requests,300", "fsync:/dev/vda,--requests,20"],
        """
        [[node.disk.fault]]
        kind = "slow"
        factor = 3
        probability = 0.2
        [[node.disk.fault]]
        kind = "lost-write"
        probability = 0.1
        [[node.disk.fault]]
        kind = "power-cut"
        after = 1000000
        """))
    let folder = try Folder()
    let first = try folder.run(toml: text)
    let log = try folder.read("out/faults.jsonl")
    #expect(log.contains("\"kind\":\"slow\"") && log.contains("\"kind\":\"lost-write\""))
    #expect(first.disks.first?["faults"] as? Int == log.split(separator: "\n").count)
    for arrangement in Arrangement.all.dropFirst() {
      let again = try folder.run(toml: text, as: arrangement)
      #expect(again.essence == first.essence, "\(arrangement)")
      #expect(try folder.read("out/faults.jsonl") == log, "\(arrangement)")
    }
    let replayed = try folder.write("log.jsonl", log)
    let again = try folder.run(toml: text, options: ["--replay-faults", replayed])
    #expect(again.essence == first.essence)
    #expect(try folder.read("out/faults.jsonl") == log)
    _ = try folder.run(toml: text, options: ["--seed", "8"])
    #expect(try folder.read("out/faults.jsonl") != log)
    folder.expectNothingLeft()
  }

  @Test("waits as much longer as a slow disk takes, to the nanosecond")
  func slow() throws {
    let folder = try Folder()
    let result = try folder.run(
      toml: toml(
        node(
          ["io:/dev/vda,--requests,100"],
          """
          [[node.disk.fault]]
          kind = "slow"
          factor = 2.5
          extra = "7us"
          """)))
    #expect(result.disks.first?["latencyMean"] as? Int == 132_000)
    #expect(result.disks.first?["latencyMax"] as? Int == 132_000)
  }

  /// The job must fail, and the console say so.
  private func expectFailure(_ node: NodeText, _ words: [String]) throws {
    _ = try Guest()
    let folder = try Folder()
    let scenario = try folder.write("s.toml", toml(node))
    let outcome = try folder.ttblk(["run", scenario, "--output", folder / "out"])
    #expect(outcome.code == 6 && outcome.complaints.count == 1, "\(outcome.error)")
    let console = folder.console("out/node.console")
    for word in words { #expect(console.contains(word), "'\(word)': \(console)") }
    folder.expectNothingLeft()
  }

  @Test(
    "is told of errors",
    arguments: [
      "kind = \"latent-errors\"\nsectors = \"0-8191\"\nafter = 30", "kind = \"io-error\"\nafter = 30",
      "kind = \"removal\"\nafter = 30", "kind = \"removal\"\nat = \"20ms\"",
      "kind = \"power-cut\"\nafter = 30\nanswer = \"error\"",
    ])
  func errors(fault: String) throws {
    try expectFailure(
      node(["io:/dev/vda,--requests,1000"], "[[node.disk.fault]]\n\(fault)"), ["Input/output error"])
  }

  @Test("hangs on a request that never completes, until its limit of host time")
  func hang() throws {
    _ = try Guest()
    let folder = try Folder()
    var text = toml(node(["io:/dev/vda,--requests,1000"], "[[node.disk.fault]]\nkind = \"hang\"\nafter = 30"))
    text = text.replacingOccurrences(of: "wall-limit = 60", with: "wall-limit = 3")
    let scenario = try folder.write("s.toml", text)
    let outcome = try folder.ttblk(["run", scenario, "--output", folder / "out"])
    #expect(outcome.code == 6 || outcome.code == 7, "\(outcome.error)")
    folder.expectNothingLeft()
  }

  @Test("that is gone is no reason for its disks to lose anything at a later power cut")
  func endedBefore() throws {
    let folder = try Folder()
    var first = node(["io:/dev/vda,--op,write,--requests,20"], "")
    first.name = "first"
    var second = node(["sleep:--count,50,--ns,10000000"], "")
    second.name = "second"
    func run(_ faults: String) throws -> RunResult {
      try folder.run(toml: toml(first) + faults + toml(second, ""))
    }
    let cut = "[[node.fault]]\nkind = \"power-cut\"\nat = \"400ms\"\n"
    let plain = try run("")
    #expect(plain.essence.simulatedNanoseconds > 450_000_000)
    #expect(try run(cut).essence == plain.essence)
  }
}
