// Models in files, and on which line they are wrong.
import DiskModel
import Foundation
import Scenario
import Simulation
import Testing

@Suite struct ModelFileTests {
  let folder: Folder

  init() throws { folder = try Folder() }

  private func read(_ text: String) throws -> ModelDescription {
    try readModel("file:" + folder.write("m.toml", text))
  }

  @Test func aFileHasAKindAndItsNumbers() throws {
    let model = try read(
      """
      kind = "affine"   # comment
      latency = "50us"
      servers = 3
      """)
    #expect(model.parameters["latency"] == "50us" && model.parameters["servers"] == 3 && model.takesTime)
  }

  @Test func aFileMayHaveManyNumbersWithDecimals() throws {
    let decimals = String(repeating: "\"1.5us\", ", count: 50)
    let error = #expect(throws: ConfigurationError.self) {
      try read("kind = \"affine\"\nlatency = [1.5, \(String(repeating: "2.5, ", count: 50))\(decimals)]\n")
    }
    #expect(error?.description.contains("'latency[0]' is 1.5: write") == true)
  }

  @Test func aFileOrAPresetAndWhatIsDifferent() throws {
    let model = try read(
      """
      preset = "gp3"
      iops = 4000
      queue_depth = 16

      [read]
      p99 = "7ms"
      """)
    #expect(model.parameters["kind"] == "cloud" && model.parameters["iops"] == 4000)
    #expect(model.parameters["read"] == ["p50": "600us", "p99": "7ms"])
    // More of it may follow the file's name.
    let path = folder.url.appendingPathComponent("m.toml").path
    #expect(try readModel("file:\(path):iops=5000").parameters["iops"] == "5000")
  }

  @Test func whateverIsShownIsReadAgain() throws {
    for preset in Preset.all {
      let again = try read(preset.parameters.toml).parameters
      #expect(sorted(.table(again)) == sorted(.table(preset.parameters)), "\(preset.name)")
    }
    let odd: ParameterTable = [
      "kind": "affine", "a b": "\"\\\u{1}é", "list": ["x", 1, true, ["y"]],
      "long": .array((0..<9).map { .integer($0) }), "t": ["u": ["v": 1]], "zone": [["a": 1], ["a": 2]],
    ]
    let file = try ModelFile(text: odd.toml, path: "odd.toml").parameters
    for entry in odd.entries { #expect(file[entry.key] == entry.value, "\(entry.key)") }
  }

  /// With the keys of all tables in one order: TOML has none.
  private func sorted(_ value: ParameterValue) -> ParameterValue {
    switch value {
    case .array(let values): .array(values.map(sorted))
    case .table(let table):
      .table(
        ParameterTable(
          table.entries.sorted { $0.key < $1.key }.map { .init(key: $0.key, value: sorted($0.value)) }))
    default: value
    }
  }

  @Test func whatIsWrongHasItsFileAndLine() throws {
    for (text, line, words) in [
      ("kind = \"affine\"\nlatency = \"50 us\"\n", 2, "'latency' is \"50 us\""),
      ("kind = \"affine\"\n\n\nlatancy = \"50us\"\n", 1, "'latency' is missing"),
      ("kind = \"affine\"\nlatency = \"5us\"\n\nserver = 4\n", 4, "did you mean servers"),
      ("preset = \"gp9\"\n", 1, "gp9"),
      ("kind = \"distribution\"\n[read]\np50 = \"1ms\"\np99 = \"1us\"\n", 4, "'p99' is 1us"),
      (
        "kind = \"distribution\"\nlatency = \"1us\"\n[bursts]\ncalm = \"1s\"\n", 3,
        "'bursts.length' is missing"
      ),
      ("kind = \"distribution\"\nread = { p50 = \"1ms\", p99 = \"1us\" }\n", 2, "p99"),
      ("kind = \"affine\"\nlatency = 1.5\n", 2, "'latency'"),
      ("kind = \"affine\"\nlatency = [1, 2.5]\n", 2, "'latency[1]'"),
      ("kind = \"affine\"\nlatency = \"1us\n", 2, "parsing string"),
      ("kind = \"affine\"\n  [.a]\n", 2, "name is missing"),
      ("kind = \"affine\"\nlist = [\n[1],\n['x]'], # [\n{ a = \"[\" }]\n[[ é ]]\n", 6, "name is missing"),
      ("kind = \"affine\"\nlist = [ }\n", 2, "closes nothing"),
      ("kind = \"affine\"\nlist = [\u{2028}]\n", 2, "belongs in quotes"),
      ("kind = \"affine\"\nlatency = 2026-01-01T):\n", 2, "a date"),
      ("kind = \"affine\"\nlatency = 2026-01-01T.\"x:\n", 2, "a date"),
      ("text = \"\"\"\n[.x\n\\\"\"\"\"\"\n[\n", 4, "name is missing"),
      // Tables within tables, which whoever takes them apart has no stack for.
      ("kind = \"affine\"\n" + String(repeating: "a.", count: 100_000) + "a = 1\n", 2, "more than 32 parts"),
      ("[" + String(repeating: "a.", count: 100_000) + "a]\n", 1, "more than 32 parts"),
      ("x = 1\ny = { " + String(repeating: "a.", count: 40) + "a = 1 }\n", 2, "more than 32 parts"),
      ("kind = \"affine\"\r\n\r\nlatency = \"50 us\"\r\n", 3, "'latency' is \"50 us\""),
      ("kind = \"affine\"\nlatency = nan\n", 2, "'latency' is nan: write"),
      ("kind = \"affine\"\nlatency = 1e400\n", 2, "1e400"),
      ("kind = \"affine\"\nlatency = [\(String(repeating: "1, ", count: 9000))]\n", 2, "…, not a time"),
      ("kind = \"distribution\"\nfio = 4\n", 2, "'fio'"),
      ("kind = \"distribution\"\n\nfio = \"absent.json\"\n", 3, "absent.json"),
    ] as [(String, Int, String)] {
      let error = #expect(throws: ConfigurationError.self, "\(text)") { try read(text) }
      let message = error?.description ?? ""
      #expect(message.contains("m.toml:\(line): ") || line == 1, "\(text): \(message)")
      #expect(message.contains(words) && message.contains("m.toml"), "\(text): \(message)")
      #expect(!message.contains("\n"))
    }
    let absent = #expect(throws: ConfigurationError.self) { try readModel("file:/nonexistent/m.toml") }
    #expect(absent?.description.contains("/nonexistent/m.toml") == true)
  }

  @Test func aScenariosModelFileIsSeenFromTheScenario() throws {
    try folder.write("slow.toml", "kind = \"affine\"\nlatency = \"5ms\"\n")
    let kernel = try folder.write("linux", "")
    let initramfs = try folder.write("initramfs", "")
    func scenario(_ model: String) throws -> Scenario {
      try Scenario.load(
        path: folder.write(
          "run.toml",
          """
          seed = 9
          [[node]]
          name = "n"
          kernel = "\(kernel)"
          initramfs = "\(initramfs)"
          [[node.disk]]
          name = "d"
          size = "1M"
          model = "\(model)"
          """))
    }
    let loaded = try scenario("file:slow.toml")
    let model = loaded.nodes[0].disks[0].model
    #expect(loaded.seed == 9 && model.hasPrefix("file:/") && model.hasSuffix("/slow.toml"))
    #expect(try readModel(model).parameters["latency"] == "5ms")
    let error = #expect(throws: ConfigurationError.self) { try scenario("gp33") }
    #expect(error?.description.contains("run.toml:9: ") == true)
    #expect(error?.description.contains("did you mean gp3") == true)
  }

  @Test func mutilatedFilesAreRefusedInOneLineOrTaken() throws {
    let seed: UInt64 = 8
    print("seed \(seed)")
    var random = RandomStream(seed: seed, name: "mutations")
    let texts = Preset.all.map { Array($0.parameters.toml.utf8) }
    var refused = 0
    for _ in 0..<1500 {
      var bytes = texts[Int(random.next(upperBound: UInt64(texts.count)))]
      mutate(&bytes, &random)
      do {
        let file = try ModelFile(text: String(decoding: bytes, as: UTF8.self), path: "m.toml")
        _ = try? ModelDescription(specification: "m", parameters: file.parameters)
      } catch {
        refused += 1
        #expect(error.description.hasPrefix("m.toml"), "\(error)")
      }
    }
    #expect(refused > 100)
  }
}

/// Changes, drops, doubles or moves a few bytes.
func mutate(_ bytes: inout [UInt8], _ random: inout RandomStream) {
  for _ in 0...random.next(upperBound: 4 as UInt64) {
    guard !bytes.isEmpty else { return }
    let place = Int(random.next(upperBound: UInt64(bytes.count)))
    let count = Int(random.next(upperBound: 12 as UInt64))
    let end = min(place + count, bytes.count)
    switch random.next(upperBound: 4 as UInt64) {
    case 0: bytes[place] = UInt8(truncatingIfNeeded: random.next())
    case 1: bytes.removeSubrange(place..<end)
    case 2: bytes.insert(contentsOf: Array(bytes[place..<end]), at: place)
    default:
      let signs = Array("-0919.,:{}[]\"\\e".utf8)
      bytes[place] = signs[Int(random.next(upperBound: UInt64(signs.count)))]
    }
  }
}
