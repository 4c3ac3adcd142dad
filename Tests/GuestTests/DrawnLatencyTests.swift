// Latencies that are drawn: the same in every run of a seed, and a disk's own.
import Foundation
import Testing

@Suite("Drawn latencies in guests") struct DrawnLatencyTests {
  private func reads(_ name: String, _ model: String, _ jobs: String = "io:/dev/vda,--requests,200")
    -> NodeText
  {
    NodeText(name: name, jobs: [jobs], disks: [DiskText(model: model)])
  }

  @Test("a model file beside the scenario gives the same run however the processes are arranged")
  func modelFile() throws {
    let folder = try Folder()
    try folder.write(
      "slow.toml",
      """
      kind = "distribution"
      queue_depth = 2
      [read]
      p50 = "80us"
      p99 = "900us"
      """)
    var essences: [RunResult.Essence] = []
    for arrangement in Arrangement.all {
      let result = try folder.run([reads("node", "file:slow.toml")], as: arrangement)
      essences.append(result.essence)
      let disk = try #require(result.disks.first)
      #expect((95_000...180_000).contains(try #require(disk["latencyMean"] as? Int)))
      #expect(try #require(disk["latencyMax"] as? Int) > 300_000)
    }
    for essence in essences { #expect(essence == essences[0]) }
    folder.expectNothingLeft()
  }

  @Test("another seed draws other latencies, and another node moves none of the first one's")
  func seedsAndNames() throws {
    let folder = try Folder()
    let model = "gp3"
    func disk(_ result: RunResult, _ name: String) throws -> NSDictionary {
      try #require(result.disks.first { $0["name"] as? String == name }) as NSDictionary
    }
    let alone = try folder.run([reads("b", model)])
    let other = try folder.run([reads("b", model)], top: "seed = 8")
    let option = try folder.run([reads("b", model)], options: ["--seed", "8"])
    #expect(alone.essence.digest != other.essence.digest)
    #expect(option.essence == other.essence)
    let both = try folder.run([reads("a", model), reads("b", model)])
    #expect(try disk(both, "b-disk") == disk(alone, "b-disk"))
    #expect(
      try disk(both, "a-disk")["latencyMean"] as? Int != disk(both, "b-disk")["latencyMean"] as? Int)
  }

  @Test("a model that is wrong ends the run before it begins, with file and line")
  func wrongModelFile() throws {
    let folder = try Folder()
    try folder.write("bad.toml", "kind = \"affine\"\n\nlatency = \"5 us\"\n")
    let node = reads("node", "file:bad.toml")
    let scenario = try folder.write("scenario.toml", node.toml)
    let outcome = try folder.ttblk("run", scenario, "--output", folder / "out")
    #expect(outcome.code == 64)
    #expect(
      outcome.error.contains("bad.toml:3: 'latency' is \"5 us\"") && outcome.error.contains("scenario.toml:"))
    let image = try folder.makeImage("disk.img", size: 1 << 20)
    let served = try folder.ttblk(
      "serve", "--disk", "name=d,image=\(image),socket=d.sock,model=file:bad.toml", "--seed", "4",
      "--time-travel", "inf-cpu")
    #expect(served.code == 64 && served.error.contains("bad.toml:3: 'latency'"))
  }
}
