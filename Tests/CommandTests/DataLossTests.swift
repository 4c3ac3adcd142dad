// The ways in which uml_mkcow, uml_moo and ubd lose data, each tried with our commands.
//
// Where it is cheap, the original tool is run as well, to show that the trap is still there. What belongs to
// `merge` and `commit` is tried as soon as those commands exist.
import Foundation
import Testing

@Suite("Data that the original tools lose") struct DataLossTests {
  let folder: ImageFolder

  init() throws {
    folder = try ImageFolder()
    try folder.makeCOW()
  }

  /// Runs a command that must not succeed, and looks whether any file changed.
  func refuses(_ arguments: String..., code: Int32? = nil) throws {
    let names = try folder.names()
    let before = try names.map { try folder.bytes($0) }
    let outcome = try runCommand(["image"] + arguments, in: folder.url)
    #expect(outcome.code != 0, "\(arguments)")
    if let code { #expect(outcome.code == code, "\(arguments): \(outcome.error)") }
    #expect(outcome.code < 128, "\(arguments) died")
    #expect(try folder.names() == names, "\(arguments)")
    for (name, bytes) in zip(names, before) {
      #expect(try folder.bytes(name) == bytes, "\(arguments): \(name)")
    }
  }

  /// Every command that changes an image, with arguments that would do it.
  static let changes: [[String]] = [
    ["repair", "--all", "a.cow"], ["restamp", "a.cow", "--unchecked"], ["compact", "a.cow"],
    ["rebase", "a.cow", "--backing", "other"], ["rebase", "a.cow", "--backing", "other", "--unsafe"],
    ["snapshot", "apply", "a.cow", "s"],
  ]

  @Test("1: a COW file made anew in the place of an old one has no bits of the old one") func staleBits()
    throws
  {
    try refuses("create", "a.cow", "--backing", "base", code: 5)
    if try folder.run("uml_mkcow", "theirs", "base") == 0 {
      let (bitmap, data) = (8192, 12288)
      try folder.poke("theirs", at: data + 5 * 4096, [UInt8](repeating: 0xaa, count: 4096))
      try folder.poke("theirs", at: bitmap + 5, [0xff])
      #expect(try folder.run("uml_mkcow", "-f", "theirs", "base") == 0)
      // The fresh file shows what somebody wrote into the old one.
      var stale = folder.base
      stale.replaceSubrange(5 * 4096..<6 * 4096, with: [UInt8](repeating: 0xaa, count: 4096))
      #expect(try folder.mooSees("theirs", stale))
    }
    unlink(folder.path("a.cow"))
    #expect(try folder.ttblk("create", "a.cow", "--backing", "base").isDone)
    #expect(try folder.mooSees("a.cow", folder.base))
  }

  @Test("2: a backing file named as its own COW file stays what it is") func itself() throws {
    try refuses("create", "base", "--backing", "base", code: 5)
    try refuses("create", "base", "--backing", "base", "--force", code: 5)
    try refuses("rebase", "a.cow", "--backing", "a.cow", "--unsafe", code: 3)
    try FileManager.default.createSymbolicLink(
      atPath: folder.path("link"), withDestinationPath: folder.path("a.cow"))
    try refuses("rebase", "a.cow", "--backing", "link", "--unsafe", code: 3)
  }

  @Test("3: an empty backing file is refused") func emptyBacking() throws {
    try folder.put("empty", Data())
    try refuses("create", "b.cow", "--backing", "empty", code: 3)
    #expect(try folder.ttblk("check", "--strict", "empty").code == 2)
  }

  @Test("4: a command that fails leaves no file behind") func leftovers() throws {
    try refuses("create", "b.cow", "--backing", "absent", code: 3)
    try folder.putOld("old.cow", version: 1)
    try folder.set("base", time: 5)
    try refuses("upgrade", "old.cow", "--output", "new.cow", code: 3)
    try refuses("snapshot", "create", "absent", "s", code: 3)
    try refuses("repair", "--all", "absent", code: 3)
  }

  @Test("5: arguments in another order than meant change nothing") func order() throws {
    try refuses("create", "base", code: 64)
    try refuses("create", "b.cow", "base", code: 64)
    try refuses("rebase", "base", "--backing", "a.cow", code: 3)
    try refuses("upgrade", "base", "--output", "a.cow", code: 3)
    try refuses("resize", "1M", "base", code: 64)
    try refuses("restamp", "--unchecked", "base", code: 3)
  }

  @Test("6: an output that is the backing file is refused before anything is written") func overBacking()
    throws
  {
    try folder.putOld("old.cow", version: 2)
    try refuses("upgrade", "old.cow", "--output", "base")
    link(folder.path("base"), folder.path("second-name"))
    try refuses("upgrade", "old.cow", "--output", "second-name")
    if try folder.has("merge") {
      try refuses("merge", "a.cow", "base")
      try refuses("merge", "a.cow", "base", "--force")
      try refuses("merge", "a.cow", "second-name", "--force")
    }
  }

  @Test("7: an output that is the COW file is refused before anything is written") func overItself() throws {
    try folder.putOld("old.cow", version: 2)
    try refuses("upgrade", "old.cow", "--output", "old.cow")
    try refuses("upgrade", "old.cow", "--output", "./old.cow")
    if try folder.has("merge") { try refuses("merge", "a.cow", "a.cow", "--force") }
  }

  @Test("8: a last sector that is not whole is kept") func partialSector() throws {
    let (one, two) = (
      folder.base + Data(repeating: 1, count: 100), folder.base + Data(repeating: 2, count: 100)
    )
    try folder.put("odd", one)
    try folder.put("even", two)
    #expect(try folder.ttblk("create", "odd.cow", "--backing", "odd").isDone)
    #expect(try folder.ttblk("rebase", "odd.cow", "--backing", "even").isDone)
    let file = try folder.bytes("odd.cow")
    #expect(file[(ImageFolder.dataOffset + one.count - 100)...].prefix(100) == one.suffix(100))
    // Back on the first one, the same bytes are dropped again, not the sector.
    #expect(try folder.ttblk("rebase", "odd.cow", "--backing", "odd").isDone)
    #expect(try folder.ttblk("compact", "odd.cow").isDone)
    if try folder.run("uml_moo", "odd.cow", "moo.out") == 0 {
      #expect(try folder.bytes("moo.out").count == one.count - 100)
    }
    if try folder.has("merge") {
      #expect(try folder.ttblk("merge", "odd.cow", "merged").isDone)
      #expect(try folder.bytes("merged") == one)
    }
    #expect(try folder.ttblk("snapshot", "create", "odd", "s").isDone)
    #expect(try folder.bytes("odd@s") == one)
  }

  @Test("9: an image that somebody writes to is not touched, nor is one beneath it", arguments: changes)
  func locks(arguments: [String]) throws {
    try folder.put("other", folder.base)
    #expect(try folder.ttblk("snapshot", "create", "a.cow", "s").isDone)
    let before = try folder.bytes("a.cow")
    for name in ["a.cow", "base"] {
      // Those that do not look at the backing file.
      if name == "base", arguments.contains("--unsafe") || arguments[0] == "snapshot" { continue }
      try folder.whileLocked(name) { () throws in
        let outcome = try runCommand(["image"] + arguments, in: folder.url)
        #expect(outcome.failed(4, "locked by process"), "\(arguments): \(outcome.error)")
      }
    }
    #expect(try folder.bytes("a.cow") == before)
  }

  @Test("10: the header of an old version is not replaced over its bitmap", arguments: [1, 2] as [UInt32])
  func oldHeaders(version: UInt32) throws {
    try folder.putOld("old.cow", version: version)
    try folder.put("other", folder.base)
    for unsafe in [[], ["--unsafe"]] {
      let outcome = try runCommand(
        ["image", "rebase", "old.cow", "--backing", "other"] + unsafe, in: folder.url)
      #expect(outcome.failed(3, "ttblk image upgrade"))
    }
    try refuses("repair", "--all", "old.cow", code: 3)
    try refuses("compact", "old.cow", code: 3)
    // Only the time is written in place, and only where this version has it.
    try folder.set("base", time: 1_700_000_009)
    #expect(try folder.ttblk("restamp", "old.cow", "--unchecked").isDone)
    #expect(try folder.mooSees("old.cow"))
    #expect(try folder.ttblk("upgrade", "old.cow").isDone)
    #expect(try folder.ttblk("rebase", "old.cow", "--backing", "other").isDone)
    #expect(try folder.mooSees("old.cow"))
  }

  @Test("11: pages that UML would misread are found and completed") func mixedPages() throws {
    try folder.poke(
      "a.cow", at: ImageFolder.dataOffset + 20 * 4096 + 3 * 512, [UInt8](repeating: 0xcc, count: 512))
    try folder.poke("a.cow", at: ImageFolder.bitmapOffset + 20, [0b1000])
    var expected = folder.disk
    let sector = 20 * 4096 + 3 * 512
    expected.replaceSubrange(sector..<sector + 512, with: [UInt8](repeating: 0xcc, count: 512))
    #expect(try folder.mooSees("a.cow", expected))
    #expect(try folder.ttblk("check", "--strict", "a.cow").code == 2)
    #expect(try folder.ttblk("repair", "--mixed-pages", "a.cow").isDone)
    #expect(try folder.ttblk("check", "--strict", "a.cow").code == 0)
    #expect(try folder.mooSees("a.cow", expected))
    // No command of ours makes such pages: not even one whose backing files differ in a single sector.
    var other = folder.base
    other[40 * 4096 + 700] ^= 1
    try folder.put("other", other)
    #expect(try folder.ttblk("rebase", "a.cow", "--backing", "other").isDone)
    #expect(try folder.ttblk("check", "--strict", "a.cow").code == 0)
    #expect(try folder.mooSees("a.cow", expected))
  }

  @Test("12: a disk so small that UML dies of the first write is refused or reported") func small() throws {
    try folder.put("small", Data(count: 32768))
    try refuses("create", "b.cow", "--backing", "small", code: 3)
    #expect(try folder.ttblk("create", "b.cow", "--backing", "small", "--force").isDone)
    #expect(try folder.ttblk("check", "b.cow").output.contains("UML's ubd dies"))
  }

  @Test("13: a command that finds no space, or is killed, loses nothing") func noSpace() throws {
    try folder.put("other", Data(folder.base.reversed()))
    // The limit on the length of files kills the process in the middle of its writes.
    for limit in [8, 40, 100, 150, 200] {
      let process = Process()
      process.executableURL = URL(fileURLWithPath: "/bin/sh")
      let ttblk = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
        .appendingPathComponent("ttblk").path
      process.arguments = [
        "-c", "ulimit -c 0; ulimit -f \(limit); exec \"$0\" image rebase a.cow --backing other", ttblk,
      ]
      process.currentDirectoryURL = folder.url
      process.standardError = FileHandle.nullDevice
      try process.run()
      process.waitUntilExit()
      #expect(process.terminationStatus != 0)
      #expect(try folder.ttblk("info", "a.cow").output.contains(folder.path("base")))
      #expect(try folder.mooSees("a.cow"), "limit \(limit)")
    }
    #expect(try folder.ttblk("rebase", "a.cow", "--backing", "other").isDone)
    #expect(try folder.mooSees("a.cow"))
  }

  @Test("14: writing into the backing file leaves a COW file that can be used") func commit() throws {
    // uml_moo -d changes the time of the backing file, and the COW file is refused from then on.
    try folder.put("theirs", folder.bytes("a.cow"))
    if try folder.run("uml_moo", "-d", "theirs") == 0 {
      #expect(try folder.mooSees("theirs") == false)
      #expect(try folder.ttblk("check", "theirs").output.contains("ttblk image restamp"))
      // Its own bytes are in both files now: accepting the backing file shows the same.
      #expect(try folder.ttblk("restamp", "theirs", "--unchecked").isDone)
      #expect(try folder.mooSees("theirs"))
      #expect(try folder.ttblk("compact", "theirs").isDone)
      #expect(try folder.mooSees("theirs"))
      try folder.put("base", folder.base)
    }
    guard try folder.has("commit") else { return }
    #expect(try folder.ttblk("commit", "a.cow").isDone)
    #expect(try folder.ttblk("check", "a.cow").code == 0)
    #expect(try folder.mooSees("a.cow"))
  }

  @Test("15: a backing file that was merely touched is accepted, after a look at its contents")
  func touched() throws {
    try folder.put("copy", folder.base, time: 3)
    try folder.set("base", time: 1_700_000_050)
    #expect(try folder.ttblk("info", "a.cow").code == 3)
    try refuses("compact", "a.cow", code: 3)
    #expect(try folder.ttblk("restamp", "a.cow", "--original", "copy").isDone)
    #expect(try folder.mooSees("a.cow"))
  }

  @Test("16: a backing file that changed within the same second is found out") func sameSecond() throws {
    try folder.put("copy", folder.base)
    var changed = folder.base
    changed[100_000] ^= 0xff
    try folder.put("base", changed)
    #expect(try folder.ttblk("info", "a.cow").code == 0)
    let outcome = try folder.ttblk("restamp", "a.cow", "--original", "copy")
    #expect(outcome.code == 2 && outcome.output.contains("differs from the original first at 100000"))
  }

  /// Where in the header, and what to put there.
  static let headers: [(name: String, offset: Int, bytes: [UInt8])] = [
    ("17: an alignment of 0", 24, [0, 0, 0, 0]),
    ("18: an unknown data format", 28, [0, 0, 0, 1]),
    ("19: a path without an end", 32, [UInt8](repeating: 65, count: 4096)),
    ("20: an empty path", 32, [0, 0, 0, 0]),
    ("a sector size of 0", 20, [0, 0, 0, 0]),
    ("a size beyond all files", 12, [0x7f, 0, 0, 0, 0, 0, 0, 0]),
  ]

  @Test("17 to 20: headers that make no sense are refused by every command", arguments: headers)
  func senseless(name: String, offset: Int, bytes: [UInt8]) throws {
    try folder.put("other", folder.base)
    #expect(try folder.ttblk("snapshot", "create", "a.cow", "s").isDone)
    try folder.poke("a.cow", at: offset, bytes)
    try folder.poke("a.cow@s", at: offset, bytes)
    let check = try folder.ttblk("check", "a.cow")
    #expect(check.code == 2 && check.output.contains("no usable header"), "\(name): \(check.output)")
    #expect(try folder.ttblk("info", "a.cow").code == 3)
    let before = try folder.bytes("a.cow")
    for arguments in Self.changes + [["upgrade", "a.cow"], ["resize", "a.cow", "1M"]] {
      let outcome = try runCommand(["image"] + arguments, in: folder.url)
      #expect(outcome.failed(3), "\(name), \(arguments): \(outcome.error)")
    }
    #expect(try folder.bytes("a.cow") == before)
  }

  @Test("21: what lies beyond 2 TiB stays where it is") func large() throws {
    let size: UInt64 = (2 << 40) + (1 << 30)
    try folder.putSparse("large", length: size)
    try folder.putSparse("other", length: size)
    #expect(try folder.ttblk("create", "large.cow", "--backing", "large").isDone)
    let page = (2 << 40) / 4096 + 77
    let dataOffset = ImageFolder.bitmapOffset + Int(size / 4096)
    try folder.poke("large.cow", at: dataOffset + page * 4096, [UInt8](repeating: 0xee, count: 4096))
    try folder.poke("large.cow", at: ImageFolder.bitmapOffset + page, [0xff])
    let check = try folder.ttblk("check", "large.cow")
    #expect(check.code == 0 && check.output.contains("uml_moo truncates it"))
    #expect(try folder.ttblk("compact", "large.cow").isDone)
    #expect(try folder.ttblk("rebase", "large.cow", "--backing", "other").isDone)
    let handle = try FileHandle(forReadingFrom: folder.url.appendingPathComponent("large.cow"))
    try handle.seek(toOffset: UInt64(dataOffset + page * 4096))
    #expect(try handle.read(upToCount: 4096) == Data(repeating: 0xee, count: 4096))
  }

  @Test("22: a file cut short, in its bitmap or in its data, is refused and not padded with zeros")
  func short() throws {
    try folder.put("other", folder.base)
    let whole = try folder.bytes("a.cow")
    // Within the bitmap; and within the page that the image has of its own.
    for length in [ImageFolder.bitmapOffset + 10, ImageFolder.dataOffset + 5 * 4096 + 100] {
      try folder.put("a.cow", whole.prefix(length))
      let check = try folder.ttblk("check", "a.cow")
      #expect(check.code == 2 && check.output.contains("damage:"))
      try refuses("compact", "a.cow", code: 3)
      try refuses("rebase", "a.cow", "--backing", "other", code: 3)
      try refuses("repair", "a.cow", code: 2)
    }
    // Nothing is missing here but zeros that were never written.
    try folder.put("a.cow", whole.prefix(ImageFolder.dataOffset + 8 * 4096))
    let repair = try folder.ttblk("repair", "a.cow")
    #expect(repair.isDone, "\(repair)")
    #expect(try folder.bytes("a.cow").count == whole.count)
    #expect(try folder.mooSees("a.cow"))
  }
}
