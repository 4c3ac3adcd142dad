// Scenarios of unusual shape end well, and alike however the processes are arranged.
import Foundation
import Testing

@Suite("Scenarios of every shape") struct ShapeTests {
  private func expectAlike(
    _ nodes: [NodeText], _ folder: Folder, sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> RunResult {
    let results = try Arrangement.all.map { try folder.run(nodes, as: $0) }
    for (result, arrangement) in zip(results, Arrangement.all) {
      #expect(result.essence == results[0].essence, "\(arrangement)", sourceLocation: sourceLocation)
    }
    folder.expectNothingLeft(sourceLocation: sourceLocation)
    return results[0]
  }

  @Test("nodes without disks")
  func noDisks() throws {
    let node = NodeText(keys: "count = 2", jobs: ["sleep:--count,100,--ns,1000000"])
    let result = try expectAlike([node], try Folder())
    #expect(result.disks.isEmpty && result.essence.consoles.count == 2)
    #expect(result.numbers("total_ns").allSatisfy { $0 >= 100_000_000 })
  }

  @Test("a node with thirty disks of thirty models")
  func manyDisks() throws {
    let disks = (1...30).map {
      DiskText(name: "d\($0)", source: "size = \"4M\"", model: "affine:\($0)us")
    }
    let node = NodeText(jobs: ["io:/dev/vda,--requests,10", "io:/dev/vdad,--requests,10"], disks: disks)
    let result = try expectAlike([node], try Folder())
    #expect(result.disks.compactMap { $0["latencyMax"] as? Int } == (1...30).map { $0 * 1000 })
  }

  @Test("names as long as they may be")
  func longNames() throws {
    let node = NodeText(
      name: String(repeating: "n", count: 63), jobs: ["info:/dev/vda"],
      disks: [DiskText(name: String(repeating: "d", count: 63), source: "size = \"4M\"")])
    let result = try expectAlike([node], try Folder())
    // A serial number has 20 bytes.
    #expect(result.console.contains("serial=\(String(repeating: "n", count: 20))\n"))
  }

  @Test("one read-only image for all nodes, which nobody can write")
  func sharedImage() throws {
    let folder = try Folder()
    let image = try folder.makeImage("image", size: 4 << 20)
    let before = try modificationTime(image)
    let disk = DiskText(source: "image = \"\(image)\"\nreadonly = true", model: "affine:10us")
    let node = NodeText(
      keys: "count = 3", jobs: ["io:/dev/vda,--requests,50", "info:/dev/vda"], disks: [disk])
    let result = try expectAlike([node], folder)
    #expect(result.console.split(separator: "\n").filter { $0 == "ro=1" }.count == 3)
    #expect(try modificationTime(image) == before)
  }

  @Test("twelve nodes that boot one after another and then read side by side")
  func manyNodes() throws {
    let node = NodeText(
      keys: "count = 12\nmemory = \"32M\"", jobs: ["io:/dev/vda,--op,mixed,--requests,30"],
      disks: [DiskText(source: "size = \"4M\"", model: "affine:50us")])
    let folder = try Folder()
    let results = try [Arrangement.all[0], Arrangement.all[3]].map { try folder.run([node], as: $0) }
    #expect(results[0].essence == results[1].essence)
    #expect(Set(results[0].numbers("total_ns")).count <= 12)
    folder.expectNothingLeft()
  }

  @Test("a disk whose size is no multiple of a sector ends with a whole one, which can be read and written")
  func oddSize() throws {
    let folder = try Folder()
    let image = try folder.makeImage("image", size: 1_000_001)
    let sectors = (1_000_001 + 511) / 512
    let whole = "--block,512,--pattern,sequential,--requests,\(sectors)"
    let node = NodeText(
      jobs: ["info:/dev/vda", "io:/dev/vda,--op,write,\(whole)", "verify:/dev/vda,\(whole)"],
      disks: [DiskText(source: "image = \"\(image)\"")])
    let result = try expectAlike([node], folder)
    #expect(result.number("size") == sectors * 512)
    #expect(result.console.contains("verify requests=\(sectors) block=512 ok"))
  }

  @Test("a run after one that was killed takes its folder over")
  func afterKill() throws {
    let folder = try Folder()
    let scenario = try folder.write(
      "s.toml",
      NodeText(jobs: ["io:/dev/vda,--op,write,--requests,100000000"], disks: [DiskText()]).toml)
    let first = try folder.start(["run", scenario, "--output", folder / "out"])
    try first.waitUntil("did not start") { !folder.kernels().isEmpty || !first.isRunning }
    first.signal(9)
    try first.wait()
    let second = try folder.run([NodeText(jobs: ["none"], disks: [DiskText()])])
    #expect(second.essence.contents.count == 1)
  }
}
