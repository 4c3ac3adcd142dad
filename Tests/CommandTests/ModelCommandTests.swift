// ttblk model, as a shell runs it.
import Foundation
import Testing

@Suite("ttblk model") final class ModelCommandTests {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("ttblk-test-\(UUID())")

  init() throws { try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true) }

  deinit { try? FileManager.default.removeItem(at: folder) }

  func ttblk(_ arguments: String...) throws -> Outcome { try runCommand(arguments, in: folder) }

  func write(_ name: String, _ text: String) throws {
    try Data(text.utf8).write(to: folder.appendingPathComponent(name))
  }

  func json(_ outcome: Outcome) throws -> Any {
    try JSONSerialization.jsonObject(with: Data(outcome.output.utf8))
  }

  @Test("list names every preset, and JSON says where its numbers are from") func list() throws {
    let table = try ttblk("model", "list")
    #expect(table.code == 0 && table.error.isEmpty)
    for name in ["optane", "gp2", "gp3", "io2"] { #expect(table.output.contains("\n\(name) ")) }
    let presets = try #require(try json(try ttblk("model", "list", "--json")) as? [[String: String]])
    #expect(presets.count == table.output.split(separator: "\n").count - 1)
    #expect(presets.allSatisfy { $0["source"]?.isEmpty == false && $0["kind"]?.isEmpty == false })
  }

  @Test("what show prints is a model file, and is the same model") func show() throws {
    let presets = try #require(try json(try ttblk("model", "list", "--json")) as? [[String: String]])
    for name in presets.compactMap({ $0["name"] }) {
      let shown = try ttblk("model", "show", name)
      #expect(shown.code == 0 && shown.output.hasPrefix("# \(name): "))
      try write("again.toml", shown.output)
      let check = try ttblk("model", "check", "again.toml")
      #expect(check.code == 0 && check.output == "again.toml: ok\n" && check.error.isEmpty, "\(check.error)")
    }
    #expect(try ttblk("model", "show", "gp3:iops=4000").output.contains("iops = \"4000\"\n"))
  }

  @Test("an unknown name is told what is near") func unknown() throws {
    for verb in [["show"], ["run", "--workload", "randread,4k"], ["plot"]] {
      let outcome = try runCommand(["model"] + verb + ["gp4"], in: folder)
      #expect(outcome.code == 64 && outcome.output.isEmpty)
      #expect(outcome.error.contains("unknown model 'gp4'; did you mean gp2 or gp3"), "\(outcome.error)")
    }
  }

  @Test("what a newcomer may write is answered in one line that says what to do") func newcomers() throws {
    try write("mine.toml", "kind = \"affine\"\nlatency = \"5us\"\n")
    for (arguments, words) in [
      (["show", "mine.toml"], "a model file is named file:mine.toml"),
      (["run", "./mine.toml", "--workload", "read,4k"], "a model file is named file:./mine.toml"),
      (["show", ""], "unknown model ''; known are zero, affine"),
      (["show", "gp3:=5"], "unknown key ''; known here are"),
      (["show", "hdd-7200:kind=ssd"], "preset hdd-7200 is of another kind: leave 'kind' out"),
      (["check", "gp3", "--disk-size", "0"], "--disk-size is 1M to 1024T"),
    ] {
      let outcome = try runCommand(["model"] + arguments, in: folder)
      #expect(
        outcome.code == 64 && outcome.output.isEmpty && outcome.error.contains(words), "\(outcome.error)")
    }
    #expect(try ttblk("model", "--help").output.contains("with 64"))
  }

  @Test("check says file, line, key and value of what is wrong, and ends with 2") func check() throws {
    try write("bad.toml", "kind = \"affine\"\nlatency = \"5 years\"\n")
    let bad = try ttblk("model", "check", "bad.toml")
    #expect(bad.code == 2 && bad.output.isEmpty)
    #expect(bad.error.hasPrefix("ttblk: bad.toml:2: 'latency' is \"5 years\", not a time"))
    try write("torn.toml", "kind = \"affine\nlatency = 4")
    #expect(try ttblk("model", "check", "torn.toml").code == 2)
    #expect(try ttblk("model", "check", "gp3:iops=17000").code == 2)
    #expect(try ttblk("model", "check", "gp3:iops=7000", "--disk-size", "1G").code == 0)
    let absent = try ttblk("model", "check", "absent.toml")
    #expect(absent.code == 64 && absent.error.contains("'absent.toml' does not exist"))
    #expect(try ttblk("model", "check").code == 64)
  }

  @Test("run prints what the model's closed form says, and the same digest every time") func run() throws {
    let arguments = [
      "model", "run", "affine:100us:servers=4", "--workload", "randread,4k,depth=32,count=400", "--json",
    ]
    let first = try #require(try json(try runCommand(arguments, in: folder)) as? [String: Any])
    // 100 rounds of four.
    #expect(
      first["elapsedNanoseconds"] as? Int == 10_000_000 && first["requestsPerSecond"] as? Double == 40_000)
    #expect(first["requests"] as? Int == 400 && first["maxNanoseconds"] as? Int == 800_000)
    #expect(first["p50Nanoseconds"] as? Int == 800_000)
    #expect((first["counters"] as? [String: Int])?["busy_ns"] == 40_000_000)
    let again = try #require(try json(try runCommand(arguments, in: folder)) as? [String: Any])
    let digest = try #require(first["digest"] as? String)
    #expect(digest.count == 32 && again["digest"] as? String == digest)
    let other = try #require(
      try json(try runCommand(arguments + ["--seed", "2"], in: folder)) as? [String: Any])
    #expect(other["digest"] as? String != digest)
    let text = try ttblk("model", "run", "gp3", "--workload", "write,16k,depth=8,count=4000")
    #expect(text.code == 0 && text.error.isEmpty)
    for word in ["a second", "p99.9", "throttled", "digest", "host"] { #expect(text.output.contains(word)) }
  }

  @Test("a workload that makes no sense is refused, and says why")
  func workloads() throws {
    for (workload, words) in [
      ("", "not one of read, write"), ("randreed,4k", "randreed"), ("randread", "bytes of a request"),
      ("randread,0", "bytes of a request"), ("randread,1000", "multiple of 512"),
      ("randread,4k,depth=0", "depth is"), ("randread,4k,depth=x", "depth is"),
      ("randread,4k,count=0", "count is"),
      ("randread,4k,deep=3", "'deep=3'"), ("randread,4k,depth=1,depth=2", "twice"),
      ("randread,4k,size=2G", "size is bytes of the disk"), ("randread,4k,size=1k", "hold no request"),
    ] {
      let outcome = try ttblk("model", "run", "gp3", "--workload", workload)
      #expect(outcome.code == 64 && outcome.error.contains(words), "\(workload): \(outcome.error)")
      #expect(outcome.error.split(separator: "\n").count == 1)
    }
    #expect(try ttblk("model", "run", "gp3").code == 64)
    #expect(try ttblk("model", "run", "zero", "--workload", "read,4k").error.contains("takes no time"))
    #expect(try ttblk("model", "run", "gp3", "--workload", "read,4k", "--disk-size", "5").code == 64)
  }

  @Test("plot writes data, script and picture; without gnuplot it says so") func plot() throws {
    let outcome = try ttblk("model", "plot", "optane", "--count", "200", "--output", "p")
    let files = try FileManager.default.contentsOfDirectory(atPath: folder.appendingPathComponent("p").path)
    for name in ["latency", "depth"] {
      #expect(files.contains("\(name).csv") && files.contains("\(name).gnuplot"))
    }
    let data = try String(contentsOf: folder.appendingPathComponent("p/depth.csv"), encoding: .utf8)
    let lines = data.split(separator: "\n")
    #expect(lines.count == 8 && lines[1].hasPrefix("1,") && lines[7].hasPrefix("64,"))
    if FileManager.default.isExecutableFile(atPath: "/usr/bin/gnuplot") {
      #expect(outcome.code == 0 && outcome.error.isEmpty, "\(outcome.error)")
      #expect(outcome.output == "p/latency.png\np/depth.png\n")
      let picture = try Data(contentsOf: folder.appendingPathComponent("p/depth.png"))
      #expect(picture.starts(with: [0x89, 0x50, 0x4e, 0x47]) && picture.count > 5000)
    } else {
      #expect(outcome.code == 1 && outcome.error.contains("gnuplot is not installed"))
    }
    // Where there is no program at all.
    let process = Process()
    process.executableURL = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
      .appendingPathComponent("ttblk")
    process.arguments = ["model", "plot", "affine:9us", "--count", "100", "--output", "q"]
    process.currentDirectoryURL = folder
    process.environment = ["PATH": "/nowhere"]
    let (output, error) = (Pipe(), Pipe())
    process.standardOutput = output
    process.standardError = error
    try process.run()
    let said = String(decoding: error.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    #expect(process.terminationStatus == 1 && said.contains("gnuplot is not installed"))
    #expect(FileManager.default.fileExists(atPath: folder.appendingPathComponent("q/latency.csv").path))
  }

  @Test("fit makes a model of a result, and says how well") func fit() throws {
    try write(
      "r.json",
      """
      {"fio version": "fio-3.33", "jobs": [{"jobname": "j", "read": {"total_ios": 4, "clat_ns":
      {"min": 90000, "max": 120000, "mean": 102400.0, "N": 4, "bins": {"90624": 1, "99840": 2, "119296": 1}}}}]}
      """)
    let printed = try ttblk("model", "fit", "r.json")
    #expect(printed.code == 0 && printed.error.isEmpty, "\(printed.error)")
    #expect(printed.output.contains("# read: 4 latencies from 3 bins") && printed.output.contains("error "))
    let written = try ttblk("model", "fit", "r.json", "--output", "m.toml")
    #expect(written.code == 0 && written.output.hasPrefix("read: 4 latencies from 3 bins"))
    #expect(try ttblk("model", "check", "m.toml").code == 0)
    let run = try ttblk("model", "run", "file:m.toml", "--workload", "randread,4k,count=2000", "--json")
    let result = try #require(try json(run) as? [String: Any])
    let mean = try #require(result["meanNanoseconds"] as? Int)
    #expect((98_000...104_000).contains(mean), "\(mean)")
    #expect(try ttblk("model", "fit", "r.json", "--output", "m.toml").code == 5)
    let unknown = try ttblk("model", "fit", "r.json", "--job", "k")
    #expect(unknown.code == 64 && unknown.error.contains("no job 'k'"))
    try write(
      "down.json",
      "{\"jobs\": [{\"read\": {\"total_ios\": 1, \"clat_ns\":\n{\"percentile\": {\"1\": 9, \"2\": 8}}}}]}")
    let down = try ttblk("model", "fit", "down.json")
    #expect(down.code == 64 && down.error.hasPrefix("ttblk: down.json:2: 'read': percentile 2 is 8 ns"))
    #expect(try ttblk("model", "fit", "absent.json").code == 64)
  }

  @Test(
    "fit reads what fio itself writes",
    .enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/fio")))
  func fio() throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/fio")
    process.currentDirectoryURL = folder
    process.arguments = [
      "--name=null", "--ioengine=null", "--size=64m", "--number_ios=4000", "--bs=4k", "--rw=randrw",
      "--output-format=json+", "--output=null.json",
    ]
    process.standardOutput = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0)
    let outcome = try ttblk("model", "fit", "null.json", "--output", "null.toml")
    #expect(outcome.code == 0, "\(outcome.error)")
    #expect(outcome.output.contains("read: ") && outcome.output.contains("write: "))
    #expect(outcome.output.contains(" bins, mean "))
    #expect(try ttblk("model", "check", "null.toml").code == 0)
  }
}
