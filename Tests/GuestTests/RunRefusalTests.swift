// Scenarios that `ttblk run` does not start.
import Foundation
import Linux
import Testing

@Suite("ttblk run refuses") struct RunRefusalTests {
  private let node = "[[node]]\nname = \"n\"\nrun = \"none\"\n"

  /// It must end so, with one line that has this word, and leave nothing; no output folder if it never began.
  private func expect(
    _ code: Int32, _ word: String, _ text: String, in folder: Folder, arguments: [String] = [],
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let scenario = try folder.write("s.toml", text)
    let program = try folder.start(["run", scenario, "--output", folder / "out"] + arguments)
    let ended = try program.wait()
    #expect(ended == code, "\(program.error)", sourceLocation: sourceLocation)
    #expect(
      program.error.split(separator: "\n").count == 1, "\(program.error)", sourceLocation: sourceLocation)
    #expect(program.error.contains(word), "\(program.error)", sourceLocation: sourceLocation)
    #expect(program.output.isEmpty, sourceLocation: sourceLocation)
    folder.expectNothingLeft(sourceLocation: sourceLocation)
  }

  @Test(
    "a scenario with a mistake, and says where",
    arguments: [
      ("seed = ", "s.toml:1: "), ("[[node]\nname = \"n\"", "s.toml:1: "),
      ("sede = 3\n[[node]]\nname = \"n\"", "s.toml:1: unknown key 'sede'"),
      ("[[node]]\nname = \"n\"\nmemroy = \"64M\"", "s.toml:3: unknown key 'memroy'"),
      (
        "[[node]]\nname = \"n\"\n[[node.disk]]\nname = \"d\"\nsize = \"64M\"\nmodle = \"zero\"",
        "s.toml:6: unknown key 'modle'"
      ),
      (
        "[[node]]\nname = \"a\"\n[[node]]\nname = \"b\"\n[[node.disk]]\nname = \"d\"\nsize = 64",
        "s.toml:7: 'size'"
      ),
      ("seed = \"one\"", "s.toml:1: 'seed'"), ("seed = -1", "s.toml:1: 'seed'"),
      ("time-travel = \"sideways\"", "s.toml:1: 'time-travel'"),
      ("transport = \"pigeon\"", "s.toml:1: 'transport'"),
      ("[[node]]\nname = \"n\"\ncount = 0", "s.toml:3: 'count'"),
      ("[[node]]\nname = \"n\"\nmemory = \"lots\"", "s.toml:3: 'memory'"),
      ("[[node]]\nname = \"n\"\nwall-limit = 0", "s.toml:3: 'wall-limit'"),
      ("[[node]]\nname = \"n\"\n[[node.disk]]\nname = \"d\"\nsize = \"5K\"", "s.toml:5: 'size'"),
      ("[[node]]\nname = \"n\"\n[[node.disk]]\nname = \"d\"\nsize = \"64M\"\nmodel = \"warp\"", "s.toml:6: "),
      ("[[node]]\nname = \"n\"\n[[node.disk]]\nname = \"d\"", "s.toml:3: disk 'd'"),
      ("[[node]]\nname = \"n\"\n[[node.disk]]\nname = \"d\"\nimage = \"absent\"", "s.toml:5: image"),
      ("[[node]]\nmemory = \"64M\"", "s.toml:1: a node needs 'name'"), ("", "no node"),
      ("[[node]]\nname = \"n\"\n[[node]]\nname = \"n\"", "two nodes"),
      ("[[node]]\nname = \"n/m\"", "n/m"),
      ("[[node]]\nname = \"n\"\nkernel = \"absent\"", "absent"),
      ("[[node]]\nname = \"n\"\nroot = \"d\"", "root"),
    ])
  func mistake(text: String, word: String) throws {
    let folder = try Folder()
    try expect(64, word, text, in: folder)
    #expect(!fileExists(folder / "out"))
  }

  @Test("two disks of one name")
  func sameDisks() throws {
    let folder = try Folder()
    let disk = "[[node.disk]]\nname = \"d\"\nsize = \"64M\"\n"
    try expect(64, "two disks", node + disk + disk, in: folder)
  }

  @Test("two disks that would have one name in the output folder")
  func sameFiles() throws {
    let folder = try Folder()
    func node(_ name: String, _ disk: String) -> String {
      "[[node]]\nname = \"\(name)\"\n[[node.disk]]\nname = \"\(disk)\"\nsize = \"64M\"\n"
    }
    try expect(64, "'a-b-c'", node("a-b", "c") + node("a", "b-c"), in: folder)
  }

  @Test("one image that two nodes write")
  func sameImage() throws {
    let folder = try Folder()
    _ = try Guest()
    let image = try folder.makeImage("image", size: 4 << 20)
    let disk = "[[node.disk]]\nname = \"d\"\nimage = \"\(image)\"\noverlay = false\n"
    try expect(4, image, "[[node]]\nname = \"n\"\ncount = 2\nrun = \"none\"\n\(disk)", in: folder)
  }

  @Test("a model that nobody can be charged for", arguments: ["inf-cpu", "off"])
  func uselessModel(mode: String) throws {
    let folder = try Folder()
    let disk = "[[node.disk]]\nname = \"d\"\nsize = \"64M\"\nmodel = \"affine:50us\"\n"
    try expect(64, "under \(mode) there is nobody", "time-travel = \"\(mode)\"\n\(node)\(disk)", in: folder)
  }

  @Test(
    "a COW whose backing file has changed, and an image that is in use",
    arguments: Arrangement.all.filter { $0.transport == "message" })
  func badImages(arrangement: Arrangement) throws {
    let folder = try Folder()
    _ = try Guest()
    let base = try folder.makeImage("base", size: 4 << 20)
    let image = try folder.makeOverlay("disk.cow", on: base)
    let text = "\(node)[[node.disk]]\nname = \"d\"\nimage = \"\(image)\"\noverlay = false\n"
    let options = arrangement.isSeparate ? ["--separate"] : []
    let holder = try folder.start(["serve", "--disk", "name=d,image=\(image),socket=\(folder / "h")"])
    try holder.waitFor(output: "ready")
    let scenario = try folder.write("s.toml", text)
    let second = try folder.start(["run", scenario, "--output", folder / "out"] + options)
    #expect(try second.wait() == 4, "\(second.error)")
    #expect(second.error.contains("\(holder.identifier)") && second.error.split(separator: "\n").count == 1)
    holder.signal(SIGTERM)
    #expect(try holder.wait() == 0)

    try folder.touch("base", 1_700_000_009)
    try expect(3, "touch -d @1700000000", text, in: folder, arguments: options)
    try folder.touch("base", 1_700_000_000)
    try folder.expectValid(image)
  }

  @Test("an output folder that holds something else, and touches nothing in it")
  func foreignFolder() throws {
    let folder = try Folder()
    _ = try Guest()
    try makeDirectory(folder / "out/photos")
    try folder.write("out/photos/one", "precious")
    try expect(5, "'\(folder / "out")'", node, in: folder)
    #expect(try folder.read("out/photos/one") == "precious")
    #expect(try directoryEntries(folder / "out") == ["photos"])
  }

  @Test("to run a scenario that is not there")
  func missingScenario() throws {
    let outcome = try Folder().ttblk("run", "absent.toml")
    #expect(outcome.code == 64 && outcome.error.contains("absent.toml") && outcome.complaints.count == 1)
  }
}
