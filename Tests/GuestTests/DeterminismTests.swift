// Equal scenarios give equal runs, on an idle machine and on a loaded one.
import Foundation
import Testing

@Suite("Equal scenarios give equal runs") struct DeterminismTests {
  /// Two programs that do nothing, as fast as they can.
  private func startLoad() throws -> [Program] {
    try (0..<2).map { _ in try Program("/bin/sh", ["-c", "while :; do :; done"]) }
  }

  private var rounds: Int { (ProcessInfo.processInfo.environment["TTBLK_LONG"] ?? "0") == "0" ? 5 : 20 }

  @Test("each of the six cases repeats to the last byte while two busy loops run")
  func underLoad() throws {
    let folder = try Folder()
    var cases = Arrangement.all.map { (arrangement: $0, top: "seed = 7", model: "affine:50us") }
    cases.append((.embedded, "seed = 7", "zero"))
    cases.append((.embedded, "seed = 7\ntime-travel = \"inf-cpu\"", "zero"))
    let load = try startLoad()
    for one in cases {
      let node = NodeText(
        jobs: ["io:/dev/vda,--requests,400,--op,mixed", "fsync:/dev/vda,--requests,20", "info:/dev/vda"],
        disks: [DiskText(model: one.model)])
      var first: RunResult?
      for _ in 0..<rounds {
        let result = try folder.run([node], top: one.top, as: one.arrangement)
        #expect(result.essence == (first ?? result).essence, "\(one)")
        #expect(result.messages == (first ?? result).messages, "\(one)")
        first = first ?? result
      }
    }
    for program in load { program.kill() }
    folder.expectNothingLeft()
  }

  @Test(
    "two nodes with two disks of different models, interleaved, are one run however the processes are arranged"
  )
  func interleaved() throws {
    let folder = try Folder()
    let disks = [
      DiskText(name: "quick", model: "affine:50us"), DiskText(name: "slow", model: "affine:120us:200MB/s"),
    ]
    // Both disks of a node at once, by two programs; both nodes at once.
    let nodes = try ["a", "b"].map { name in
      let script = try folder.write(
        "\(name).sh",
        """
        guest-test io /dev/vda --op mixed --requests 250 --seed 1\(name == "a" ? 1 : 2) &
        guest-test io /dev/vdb --op mixed --requests 150 --seed 2\(name == "a" ? 1 : 2)
        wait
        """)
      return NodeText(name: name, keys: "script = \"\(script)\"", disks: disks)
    }
    var essences: [RunResult.Essence] = []
    for arrangement in Arrangement.all { essences.append(try folder.run(nodes, as: arrangement).essence) }
    for (essence, arrangement) in zip(essences, Arrangement.all) {
      #expect(essence == essences[0], "\(arrangement)")
    }
    #expect(Set(essences[0].contents).count == 4, "four disks, four contents: \(essences[0].contents)")
    // In one simulation they are interleaved: neither ends before the other begins.
    let alone = try folder.run([nodes[0]])
    #expect(essences[0].simulatedNanoseconds < 2 * alone.essence.simulatedNanoseconds)
    folder.expectNothingLeft()
  }
}
