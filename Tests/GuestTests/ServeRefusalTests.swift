// What `ttblk serve` does not start with.
import Foundation
import Glibc
import Linux
import Testing

@Suite("ttblk serve refuses") struct ServeRefusalTests {
  /// A folder with a base, a COW over it, and nobody who uses them.
  final class Rig {
    let folder: Folder
    let base: String
    let image: String
    let socket: String

    init() throws {
      folder = try Folder()
      base = try folder.makeImage("base", size: 4 << 20)
      image = try folder.makeOverlay("disk.cow", on: base)
      socket = folder / "s"
    }

    func disk(_ more: String = "") -> String { "name=disk,image=\(image),socket=\(socket)\(more)" }

    /// It must end with this code and one line that has all these words, and leave nothing.
    func expect(
      _ code: Int32, _ words: [String], _ arguments: [String],
      sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
      let program = try folder.start(["serve"] + arguments)
      let ended = try program.wait()
      #expect(ended == code, "\(program.error)", sourceLocation: sourceLocation)
      #expect(
        program.error.split(separator: "\n").count == 1, "\(program.error)", sourceLocation: sourceLocation)
      for word in words {
        #expect(program.error.contains(word), "\(program.error)", sourceLocation: sourceLocation)
      }
      #expect(program.output.isEmpty, sourceLocation: sourceLocation)
    }

    func expectNothingChanged(sourceLocation: SourceLocation = #_sourceLocation) throws {
      folder.expectNothingLeft(sourceLocation: sourceLocation)
      try folder.expectValid(image, sourceLocation: sourceLocation)
    }
  }

  @Test("a missing image")
  func missingImage() throws {
    let rig = try Rig()
    try rig.expect(
      3, ["absent.cow"], ["--disk", "name=disk,image=\(rig.folder / "absent.cow"),socket=\(rig.socket)"])
    // What was opened before it is closed again.
    try rig.expect(
      3, ["absent.cow"],
      ["--disk", rig.disk(), "--disk", "name=two,image=\(rig.folder / "absent.cow"),socket=\(rig.socket)2"])
    try rig.expectNothingChanged()
  }

  @Test("a backing file of another time, with the remedy, which works")
  func wrongTime() throws {
    let rig = try Rig()
    try rig.folder.touch("base", 1_700_000_009)
    try rig.expect(3, ["touch -d @1700000000"], ["--disk", rig.disk()])
    let remedy = try Program("/usr/bin/touch", ["-d", "@1700000000", rig.base])
    #expect(try remedy.wait() == 0)
    try rig.expectNothingChanged()
  }

  @Test("an image that another process has, and names it")
  func locked() throws {
    let rig = try Rig()
    let first = try rig.folder.start(["serve", "--disk", rig.disk()])
    try first.waitFor(output: "ready")
    try rig.expect(
      4, ["\(first.identifier)", "disk.cow"],
      ["--disk", "name=disk,image=\(rig.image),socket=\(rig.socket)2"])
    #expect(fileExists(rig.socket) && first.isRunning)
    first.signal(SIGTERM)
    #expect(try first.wait() == 0 && first.error.isEmpty)
    try rig.expectNothingChanged()
  }

  @Test("a socket path that is too long")
  func longPath() throws {
    let rig = try Rig()
    let long = rig.folder / String(repeating: "x", count: 120)
    try rig.expect(64, ["107", "shorter"], ["--disk", "name=disk,image=\(rig.image),socket=\(long)"])
    try rig.expectNothingChanged()
  }

  @Test("a socket path on which somebody listens")
  func takenSocket() throws {
    let rig = try Rig()
    let other = try rig.folder.makeOverlay("other.cow", on: rig.base)
    let first = try rig.folder.start(["serve", "--disk", rig.disk()])
    try first.waitFor(output: "ready")
    try rig.expect(
      1, ["'\(rig.socket)' is taken"], ["--disk", "name=disk,image=\(other),socket=\(rig.socket)"])
    #expect(fileExists(rig.socket))
    first.signal(SIGTERM)
    #expect(try first.wait() == 0)
    try rig.expectNothingChanged()
  }

  @Test("a socket path that is a file, and leaves it")
  func fileAsSocket() throws {
    let rig = try Rig()
    try rig.folder.write("s", "precious")
    try rig.expect(1, ["'\(rig.socket)' is taken"], ["--disk", rig.disk()])
    #expect(try rig.folder.read("s") == "precious")
    try rig.expectNothingChanged()
  }

  @Test("but not a socket that a killed process left")
  func abandonedSocket() throws {
    let rig = try Rig()
    for _ in 0..<2 {
      let program = try rig.folder.start(["serve", "--disk", rig.disk()])
      try program.waitFor(output: "ready")
      program.signal(SIGKILL)
      try program.wait()
      #expect(fileExists(rig.socket))
    }
    try removeFile(rig.socket)
    try rig.expectNothingChanged()
  }

  @Test(
    "a model it does not know or cannot read",
    arguments: [
      "warp", "affine", "affine:", "affine:50", "affine:50parsecs", "affine:50us:", "affine:50us:fast",
      "affine:-1us",
      "affine:99999999999999999999us", "zero:1",
    ])
  func badModel(model: String) throws {
    let rig = try Rig()
    try rig.expect(64, ["model '\(model)'"], ["--disk", rig.disk(",model=\(model)")])
    try rig.expectNothingChanged()
  }

  @Test("a model that nobody can be charged for", arguments: ["inf-cpu", "off"])
  func uselessModel(mode: String) throws {
    let rig = try Rig()
    try rig.expect(
      64, ["'disk'", "affine:50us", "external"],
      ["--disk", rig.disk(",model=affine:50us"), "--time-travel", mode])
    try rig.expectNothingChanged()
  }

  @Test("to run without its controller")
  func noController() throws {
    let rig = try Rig()
    try rig.expect(
      7, ["no controller at '\(rig.folder / "absent")'"],
      ["--disk", rig.disk(), "--time-travel", "external=\(rig.folder / "absent")"])
    try rig.expectNothingChanged()
  }

  @Test(
    "options without sense",
    arguments: [
      (["--disk", "image=a,socket=b"], "name="), (["--disk", "name=a,socket=b"], "image="),
      (["--disk", "name=a,image=b"], "socket="), (["--disk", "name=a,image=b,socket=c,size=4"], "size=4"),
      (["--disk", "name=a,name=b,image=b,socket=c"], "twice"),
      (["--disk", "name=a/b,image=b,socket=c"], "name"), ([], "no disk"),
      (["--disk", "name=a,image=b,socket=c", "--time-travel", "sideways"], "sideways"),
      (["--disk", "name=a,image=b,socket=c", "--disk", "name=a,image=b,socket=d"], "two disks"),
      (["--disk", "name=a,image=b,socket=c", "--disk", "name=b,image=b,socket=c"], "two disks"),
      (["--disk", "name=a,image=b,socket=c,format=tape"], "tape"),
      (["--config", "absent.toml"], "absent.toml"),
    ] as [([String], String)])
  func badOptions(arguments: [String], word: String) throws {
    let rig = try Rig()
    try rig.expect(64, [word], arguments)
    try rig.expectNothingChanged()
  }

  @Test(
    "a configuration file with a mistake, and says where",
    arguments: [
      ("[[disk]]\nname = \"a\nimage", "c.toml:2: "),
      ("[[disk]]\nname = \"a\"\nimgae = \"b\"", "c.toml:3: unknown key 'imgae'"),
      ("\n[[disk]]\nname = 3", "c.toml:3: 'name'"),
      (
        "[[disk]]\nname = \"a\"\nimage = \"b\"\nsocket = \"c\"\nmodle = \"zero\"",
        "c.toml:5: unknown key 'modle'"
      ),
      ("[[disk]]\nname = \"a\"\nimage = \"b\"\nsocket = \"c\"\nmodel = \"warp\"", "c.toml:5: disk 'a'"),
      ("[[disk]]\nname = \"a\"\nimage = \"b\"\nsocket = \"c\"\nreadonly = \"yes\"", "c.toml:5: 'readonly'"),
      ("disk = 3", "c.toml:1: 'disk'"), ("[disk]\nname = \"a\"", "c.toml:1: 'disk'"), ("", "no disk"),
    ])
  func badConfiguration(text: String, line: String) throws {
    let rig = try Rig()
    let file = try rig.folder.write("c.toml", text)
    try rig.expect(64, [line], ["--config", file])
    try rig.expectNothingChanged()
  }
}

private func removeFile(_ path: String) throws { try FileManager.default.removeItem(atPath: path) }
