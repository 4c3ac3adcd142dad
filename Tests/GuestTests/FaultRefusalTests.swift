// Faults that `ttblk run` and `ttblk serve` do not take.
import Foundation
import Linux
import Testing

@Suite("A fault that makes no sense") struct FaultRefusalTests {
  private static let disk = """
    [[node]]
    name = "n"
    run = "none"
    [[node.disk]]
    name = "d"
    size = "1M"
    [[node.disk.fault]]

    """
  private static let node = """
    [[node]]
    name = "n"
    run = "none"
    [[node.disk]]
    name = "d"
    size = "1M"
    [[node.fault]]

    """

  private func expect(
    _ code: Int32, _ words: [String], _ arguments: [String], in folder: Folder,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let outcome = try folder.ttblk(arguments)
    #expect(outcome.code == code, "\(outcome.error)", sourceLocation: sourceLocation)
    #expect(outcome.complaints.count == 1, "\(outcome.error)", sourceLocation: sourceLocation)
    for word in words {
      #expect(outcome.error.contains(word), "'\(word)': \(outcome.error)", sourceLocation: sourceLocation)
    }
    folder.expectNothingLeft(sourceLocation: sourceLocation)
  }

  @Test(
    "is refused with file, line, key and value, before anything is made",
    arguments: [
      ("at = \"1s\"", ["s.toml:7: ", "needs 'kind'"]),
      ("kind = \"power-cu\"", ["s.toml:8: ", "\"power-cu\"", "did you mean \"power-cut\""]),
      ("kind = \"latent-error\"", ["s.toml:8: ", "did you mean \"latent-errors\""]),
      ("kind = \"explosion\"", ["s.toml:8: ", "known are power-cut, latent-errors"]),
      ("kind = 3", ["s.toml:8: ", "'kind'"]),
      ("kind = \"hang\"\nprobabilty = 0.5", ["s.toml:9: ", "unknown key 'probabilty'"]),
      ("kind = \"hang\"\nbits = 3", ["s.toml:9: ", "a hang has no 'bits'"]),
      ("kind = \"hang\"\nprobability = 0", ["s.toml:9: ", "'probability'"]),
      ("kind = \"hang\"\nprobability = 1.5", ["s.toml:9: ", "'probability'"]),
      ("kind = \"hang\"\nprobability = \"often\"", ["s.toml:9: ", "'probability'"]),
      ("kind = \"hang\"\nat = \"soon\"", ["s.toml:9: ", "'at'"]),
      ("kind = \"hang\"\nat = \"1s\"\nafter = 3", ["s.toml:10: ", "'at' and 'after'"]),
      ("kind = \"hang\"\nat = \"2s\"\nuntil = \"1s\"", ["s.toml:10: ", "'until' 1000000000 ns"]),
      ("kind = \"hang\"\nevery = \"1s\"", ["s.toml:9: ", "needs 'for'"]),
      ("kind = \"hang\"\nevery = \"1s\"\nfor = \"2s\"", ["s.toml:10: ", "'for' 2s is not shorter"]),
      ("kind = \"hang\"\ncount = 0", ["s.toml:9: ", "'count' is 0"]),
      ("kind = \"hang\"\noperations = \"erase\"", ["s.toml:9: ", "[\"erase\"]", "write-zeroes"]),
      ("kind = \"bit-rot\"\noperations = \"write\"", ["s.toml:9: ", "strikes read, not write"]),
      ("kind = \"hang\"\nsectors = \"9-4\"", ["s.toml:9: ", "'sectors'"]),
      ("kind = \"hang\"\nname = \"a/b\"", ["s.toml:9: ", "'a/b'"]),
      ("kind = \"power-cut\"", ["s.toml:7: ", "needs 'at', 'after' or 'probability'"]),
      ("kind = \"power-cut\"\nafter = 3\nkeeps = \"most\"", ["s.toml:10: ", "'keeps'", "\"subset\""]),
      ("kind = \"power-cut\"\nafter = 3\ntorn = 512", ["s.toml:10: ", "contradicts keeps = \"none\""]),
      (
        "kind = \"power-cut\"\nafter = 3\nkeeps = \"subset\"\ntorn = 1000",
        ["s.toml:11: ", "1000, not 512 or 4096"]
      ),
      ("kind = \"power-cut\"\nafter = 3\ncache = \"5\"", ["s.toml:10: ", "'cache'"]),
      ("kind = \"slow\"", ["s.toml:7: ", "'factor'"]),
      ("kind = \"slow\"\nfactor = 0.5", ["s.toml:9: ", "'factor'"]),
      ("kind = \"stall\"", ["s.toml:7: ", "'for' or 'until'"]),
      ("kind = \"latent-errors\"", ["s.toml:7: ", "'sectors' or 'number'"]),
      ("kind = \"latent-errors\"\nsectors = \"0-3\"\nnumber = 5", ["s.toml:10: ", "'number' 5"]),
      (
        "kind = \"hang\"\n[[node.disk.fault]]\nkind = \"hang\"",
        ["two faults of one disk are called 'hang'"]
      ),
    ])
  func mistakes(text: String, words: [String]) throws {
    let folder = try Folder()
    let scenario = try folder.write("s.toml", Self.disk + text)
    try expect(64, words, ["run", scenario, "--output", folder / "out"], in: folder)
    #expect(!fileExists(folder / "out"))
  }

  @Test("of a node is refused where nodes have none, or where its disk has one of that name")
  func ofNode() throws {
    let folder = try Folder()
    func refuse(_ words: [String], _ text: String, _ options: [String] = []) throws {
      let scenario = try folder.write("s.toml", text)
      try expect(64, words, ["run", scenario, "--output", folder / "out"] + options, in: folder)
    }
    let cut = "kind = \"power-cut\"\nafter = 3\n"
    try refuse(["s.toml:10: ", "'answer'"], Self.node + cut + "answer = \"error\"")
    try refuse(["two faults"], Self.node + cut + "[[node.disk.fault]]\n" + cut)
    try refuse(["has faults, but no disk"], "[[node]]\nname = \"n\"\n[[node.fault]]\n" + cut)
    _ = try Guest()
    try refuse(["'n' has a power cut", "without --separate"], Self.node + cut, ["--separate"])
  }

  @Test("is refused in real time, and under inf-cpu if it needs a clock", arguments: ["off", "inf-cpu"])
  func withoutTime(mode: String) throws {
    let folder = try Folder()
    let reason = mode == "off" ? "faults need time travel" : "needs external time travel"
    for text in ["kind = \"stall\"\nfor = \"1s\"", "kind = \"hang\"\nat = \"1s\""] {
      let scenario = try folder.write("s.toml", "time-travel = \"\(mode)\"\n" + Self.disk + text)
      try expect(64, [reason, "'d' of node 'n'"], ["run", scenario, "--output", folder / "out"], in: folder)
    }
    let image = try folder.makeImage("image", size: 1 << 20)
    let faults = try folder.write("f.toml", "[[fault]]\nkind = \"slow\"\nextra = \"1ms\"\n")
    try expect(
      64, [reason, "disk 'd'"],
      [
        "serve", "--time-travel", mode, "--disk",
        "name=d,image=\(image),socket=\(folder / "s"),faults=\(faults)",
      ], in: folder)
  }

  @Test("of a disk that is served is refused with its file and line, or with the disk that is too short")
  func served() throws {
    let folder = try Folder()
    let image = try folder.makeImage("image", size: 1 << 20)
    func refuse(_ words: [String], _ faults: String) throws {
      let file = try folder.write("f.toml", faults)
      let disk = "name=d,image=\(image),socket=\(folder / "s"),faults=\(file)"
      try expect(64, words, ["serve", "--time-travel", "inf-cpu", "--disk", disk], in: folder)
    }
    try refuse(["f.toml: no [[fault]]"], "")
    try refuse(["f.toml:2: ", "did you mean \"hang\""], "[[fault]]\nkind = \"hank\"")
    try refuse(["f.toml:1: unknown key 'faults'"], "[[faults]]\nkind = \"hang\"")
    try refuse(["two faults"], "[[fault]]\nkind = \"hang\"\n[[fault]]\nkind = \"hang\"")
    try refuse(
      ["disk 'd'", "sectors 2000-2048 go beyond"], "[[fault]]\nkind = \"hang\"\nsectors = \"2000-2048\"")
    let missing = "name=d,image=\(image),socket=\(folder / "s"),faults=\(folder / "absent")"
    try expect(64, ["absent"], ["serve", "--disk", missing], in: folder)
    let config = try folder.write(
      "c.toml",
      """
      [[disk]]
      name = "d"
      image = "\(image)"
      socket = "\(folder / "s")"
      [[disk.fault]]
      kind = "slow"
      """)
    try expect(64, ["c.toml:5: slow needs"], ["serve", "--config", config], in: folder)
  }

  @Test("a log that is none, or of other disks or faults, is not replayed")
  func logs() throws {
    _ = try Guest()
    let folder = try Folder()
    let scenario = try folder.write("s.toml", Self.disk + "kind = \"hang\"\nafter = 1000000")
    func refuse(_ words: [String], _ log: String) throws {
      let file = try folder.write("log", log)
      try expect(
        64, words, ["run", scenario, "--output", folder / "out", "--replay-faults", file], in: folder)
    }
    let line = #"{"time":1,"disk":"n-d","request":5,"fault":"hang","kind":"hang"}"#
    try refuse(["log: line 2"], line + "\nnonsense\n")
    try refuse(["no disk 'm-d'"], line.replacingOccurrences(of: "n-d", with: "m-d"))
    try refuse(
      ["'n-d'", "fault 'hung'"],
      line.replacingOccurrences(of: "\"fault\":\"hang\"", with: "\"fault\":\"hung\""))
    try refuse(["as a slow"], line.replacingOccurrences(of: "\"kind\":\"hang\"", with: "\"kind\":\"slow\""))
    let plain = try folder.write("p.toml", "[[node]]\nname = \"n\"\nrun = \"none\"\n")
    try expect(
      64, ["no disk of this scenario has a fault"],
      ["run", plain, "--output", folder / "out", "--replay-faults", folder / "log"], in: folder)
  }
}
