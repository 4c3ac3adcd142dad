// Machines that lose their power, and what they find when they come up again.
import Foundation
import Linux
import Testing

/// A Debian node that works on a disk until its power goes, and boots again on what is left.
struct PowerCutBench {
  let folder: Folder
  /// What it does, and what it asks afterwards.
  let job: String
  let question: String
  /// Keys of a flush that lies; nil for an honest disk.
  var lie: String?

  /// What a cut left.
  struct Aftermath {
    /// The last thing that the node was promised to keep.
    let acknowledged: Int
    /// What the second boot said.
    let console: String
    /// What e2fsck said of the file system after the second boot, or why there was none; empty if all is in
    /// order.
    let complaints: String

    /// `name=N` in the second boot's console.
    func number(_ name: String) -> Int {
      let words = console.split { $0 == " " || $0 == "\n" }
      return words.first { $0.hasPrefix("\(name)=") }.flatMap { Int($0.dropFirst(name.count + 1)) } ?? -1
    }

    func says(_ line: String) -> Bool { console.split(separator: "\n").contains { $0 == line } }
  }

  private func node(_ job: String, disk: String) -> NodeText {
    NodeText(
      keys: """
        memory = "96M"
        root = "root"
        arguments = ["init=/sbin/ttblk-init"]
        """, jobs: [job], disks: [DiskText(name: "root", source: disk, model: "affine:100us")])
  }

  /// The scenario with a power cut of these keys.
  func text(_ cut: String) -> String {
    "seed = 7\n" + node(job, disk: "image = \"debian\"").toml
      + "[[node.fault]]\nkind = \"power-cut\"\n\(cut)\n"
      + (lie.map { "[[node.fault]]\nkind = \"lying-flush\"\n\($0)\n" } ?? "")
  }

  /// Cuts the power, boots again, and looks.
  func aftermath(_ cut: String) throws -> Aftermath {
    _ = try Guest(debian: true)
    let first = try folder.run(toml: text(cut), output: "cut")
    let image = folder / "cut/node-root.cow"
    let again = node(question, disk: "image = \"\(image)\"\noverlay = false").toml
    let second = try folder.ttblk(
      "run", try folder.write("again.toml", again), "--output", folder / "second")
    return Aftermath(
      acknowledged: first.lastAcknowledged, console: folder.console("second/node.console"),
      complaints: second.error + (try checkFileSystem(image)))
  }

  /// What e2fsck has to say.
  private func checkFileSystem(_ image: String) throws -> String {
    let raw = folder / "raw"
    let made = try folder.ttblk("image", "convert", image, raw, "--to", "raw")
    try #require(made.code == 0, "\(made.error)")
    let check = try Program("/usr/sbin/e2fsck", ["-fn", raw], in: folder.path)
    let code = try check.wait()
    return code == 0 ? "" : "e2fsck ended with \(code): \(check.output)"
  }
}

extension RunResult {
  /// The number of the last `acknowledged N`; 0 without any.
  var lastAcknowledged: Int {
    console.split(separator: "\n").compactMap {
      $0.hasPrefix("acknowledged ") ? Int($0.dropFirst("acknowledged ".count)) : nil
    }.last ?? 0
  }
}

@Suite("A power cut of a real guest") struct PowerCutTests {
  private static let policies = [
    "keeps = \"none\"", "keeps = \"subset\"\ntorn = 512", "keeps = \"prefix\"\ntorn = 4096",
  ]

  @Test(
    "on an honest disk takes no acknowledged transaction of SQLite, and leaves everything in order",
    arguments: ["wal", "delete"])
  func database(mode: String) throws {
    for (index, time) in ["31ms", "38ms", "45ms"].enumerated() {
      let bench = PowerCutBench(
        folder: try Folder(), job: "transactions:200,\(mode)", question: "recovered")
      let after = try bench.aftermath("at = \"\(time)\"\n\(Self.policies[index])")
      let label = "\(mode) at \(time): \(after.console)"
      #expect(after.acknowledged > 5, "\(label)")
      // One more may have become durable before anybody could say so.
      let recovered = after.number("transactions")
      #expect((after.acknowledged...after.acknowledged + 1).contains(recovered), "\(label)")
      #expect(after.says("integrity ok") && after.says("whole 1"), "\(label)")
      #expect(after.complaints.isEmpty, "\(label)\(after.complaints)")
    }
  }

  @Test("on an honest disk takes no file that ext4 was asked to keep, and leaves the file system in order")
  func files() throws {
    for (index, time) in ["25ms", "31ms", "36ms"].enumerated() {
      let bench = PowerCutBench(folder: try Folder(), job: "renames:60", question: "renamed")
      let after = try bench.aftermath("at = \"\(time)\"\n\(Self.policies[index])")
      let label = "at \(time): \(after.console)"
      #expect(after.acknowledged > 5, "\(label)")
      let kept = after.number("files")
      #expect((after.acknowledged...after.acknowledged + 1).contains(kept), "\(label)")
      #expect(after.complaints.isEmpty, "\(label)\(after.complaints)")
    }
  }

  @Test("after flushes that lied takes transactions that SQLite had acknowledged")
  func lostTransactions() throws {
    let bench = PowerCutBench(
      folder: try Folder(), job: "transactions:200", question: "recovered", lie: "at = \"30ms\"")
    let after = try bench.aftermath("at = \"45ms\"\nkeeps = \"none\"")
    // What was durable before the lies began is in order, and old.
    #expect(after.says("integrity ok") && after.complaints.isEmpty, "\(after.console)\(after.complaints)")
    #expect((1..<after.acknowledged - 5).contains(after.number("transactions")), "\(after.console)")
  }

  @Test("after flushes that lied leaves a database that is none any more")
  func ruinedDatabase() throws {
    let bench = PowerCutBench(
      folder: try Folder(), job: "transactions:200,persist", question: "recovered", lie: "at = \"30ms\"")
    let after = try bench.aftermath("at = \"50ms\"\nkeeps = \"subset\"")
    #expect(after.acknowledged > 5)
    #expect(!(after.says("integrity ok") && after.complaints.isEmpty), "\(after.console)")
  }

  @Test("after flushes that lied takes files that ext4 had synchronised")
  func lostFiles() throws {
    let bench = PowerCutBench(
      folder: try Folder(), job: "renames:100", question: "renamed", lie: "at = \"20ms\"")
    let after = try bench.aftermath("at = \"40ms\"\nkeeps = \"subset\"\ntorn = 512")
    #expect((0..<after.acknowledged - 5).contains(after.number("files")), "\(after.console)")
  }

  @Test("after flushes that lied leaves an ext4 that its own checks refuse, sooner or later")
  func ruinedFileSystem() throws {
    // Its journal has checksums, and hides most of what is missing: then it is in order, and old.
    let ruined = try ["40ms", "45ms", "50ms", "55ms"].contains { time in
      let bench = PowerCutBench(
        folder: try Folder(), job: "transactions:200", question: "recovered", lie: "at = \"30ms\"")
      let after = try bench.aftermath("at = \"\(time)\"\nkeeps = \"subset\"\ntorn = 512")
      #expect(after.number("transactions") < after.acknowledged, "\(after.console)")
      return !after.complaints.isEmpty || after.console.contains("EXT4-fs error")
    }
    #expect(ruined)
  }

  @Test(
    "shows what SQLite says of itself: in mode delete, FULL may lose the last transaction, EXTRA does not")
  func fullAndExtra() throws {
    var lost: [String: Int] = [:]
    for synchronous in ["full", "extra"] {
      for time in ["40ms", "42.3ms", "45ms", "47.3ms"] {
        let bench = PowerCutBench(
          folder: try Folder(), job: "transactions:200,delete,\(synchronous)", question: "recovered")
        let after = try bench.aftermath("at = \"\(time)\"")
        #expect(after.says("integrity ok") && after.says("whole 1"), "\(synchronous): \(after.console)")
        let missing = after.acknowledged - after.number("transactions")
        #expect(missing <= 1)
        lost[synchronous, default: 0] += max(missing, 0)
      }
    }
    #expect(lost["extra"] == 0 && lost["full"] ?? 0 > 0, "\(lost)")
  }

  @Test("comes at its nanosecond, and is the same in every run, in every transport, and replayed")
  func reproducible() throws {
    _ = try Guest(debian: true)
    let folder = try Folder()
    let bench = PowerCutBench(folder: folder, job: "transactions:200", question: "recovered")
    let text = bench.text("at = \"40.000001ms\"\nkeeps = \"subset\"\ntorn = 512")
    let first = try folder.run(toml: text)
    #expect(first.essence.simulatedNanoseconds == 40_000_001)
    let log = try folder.read("out/faults.jsonl")
    #expect(log.hasPrefix("{\"time\":40000001,\"disk\":\"node-root\",\"fault\":\"power-cut\""))
    let message = try folder.run(toml: text, as: Arrangement.all[1])
    #expect(message.essence == first.essence)
    #expect(try folder.read("out/faults.jsonl") == log)
    let kept = try folder.write("kept.jsonl", log)
    #expect(try folder.run(toml: text, options: ["--replay-faults", kept]).essence == first.essence)
    // Without its line there is no cut.
    let empty = try folder.write("empty.jsonl", "")
    let whole = try folder.run(toml: text, options: ["--replay-faults", empty])
    #expect(whole.console.contains("transactions done"), "\(whole.console)")
    #expect(whole.console.hasPrefix(first.console))
    folder.expectNothingLeft()
  }

  @Test("after a number of requests ends the node within its kick, and nothing of another node changes")
  func neighbour() throws {
    let folder = try Folder()
    func node(_ name: String) -> NodeText {
      NodeText(
        name: name, jobs: ["io:/dev/vda,--op,write,--requests,300", "fsync:/dev/vdb,--requests,20"],
        disks: ["a", "b"].map { DiskText(name: $0, source: "size = \"8M\"", model: "affine:50us") })
    }
    let others = node("good").toml
    let cut = "[[node.fault]]\nkind = \"power-cut\"\nafter = 100\nkeeps = \"prefix\"\n"
    let plain = try folder.run(toml: node("bad").toml + others)
    for transport in Arrangement.all[..<2] {
      let struck = try folder.run(toml: node("bad").toml + cut + others, as: transport)
      #expect(struck.essence.contents[2...] == plain.essence.contents[2...])
      #expect(struck.essence.contents[0] != plain.essence.contents[0])
      let good = try folder.read("out/good.console")
      #expect(plain.essence.consoles.contains(good))
      #expect(struck.disks.map { $0["faults"] as? Int } == [1, 1, 0, 0])
      #expect(!(try folder.read("out/bad.console")).contains("exit"))
      let report = try folder.read("out/report.json")
      #expect(report.contains("\"powerCuts\": [\n    {\n      \"node\": \"bad\""), "\(report)")
    }
    folder.expectNothingLeft()
  }
}
