// The commands that keep images in order: each once right, and once with each wrong input.
import Foundation
import Testing

@Suite("ttblk image, upkeep") struct UpkeepTests {
  let folder: ImageFolder

  init() throws {
    folder = try ImageFolder()
    try folder.makeCOW()
  }

  func object(_ outcome: Outcome) throws -> [String: Any] {
    try #require(JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any])
  }

  @Test("check") func check() throws {
    var outcome = try folder.ttblk("check", "a.cow")
    #expect(outcome.isDone && outcome.output == "a.cow: clean\n")
    try folder.poke("a.cow", at: ImageFolder.bitmapOffset + 20, [0x01])
    outcome = try folder.ttblk("check", "a.cow")
    #expect(outcome.isDone && outcome.output.contains("warning: 1 pages are in the file only in part"))
    #expect(outcome.output.contains("  at 81920, 4096 bytes\na.cow: usable, with warnings\n"))
    #expect(try folder.ttblk("check", "--strict", "a.cow").code == 2)
    try folder.set("base", time: 5)
    let report = try object(try folder.ttblk("check", "--json", "a.cow"))
    #expect(report["damaged"] as? Bool == true)
    let findings = try #require(report["findings"] as? [[String: Any]])
    #expect(findings.map { $0["kind"] as? String } == ["backing", "mixed-pages"])
    #expect(try folder.ttblk("check", "a.cow").code == 2)
    #expect(try folder.ttblk("check", "base").output == "base: clean\n")
    #expect(try folder.ttblk("check", "absent").failed(3, "'absent'"))
    #expect(try folder.ttblk("check", ".").failed(3, "neither a regular file"))
    try folder.whileLocked("a.cow") { () throws in
      #expect(try folder.ttblk("check", "a.cow").failed(4, "locked by process"))
      #expect(try folder.ttblk("check", "--force-share", "a.cow").code == 2)
    }
  }

  @Test("repair") func repair() throws {
    #expect(try folder.ttblk("repair", "a.cow").output == "a.cow: nothing was repaired\n")
    try folder.poke("a.cow", at: ImageFolder.bitmapOffset + 20, [0x01])
    try folder.poke("a.cow", at: ImageFolder.dataOffset + 30 * 4096, [1, 2, 3])
    let before = try folder.bytes("a.cow")
    let dry = try folder.ttblk("repair", "--all", "--dry-run", "a.cow")
    #expect(dry.isDone && dry.output.contains("would repair: 1 pages"))
    #expect(try folder.bytes("a.cow") == before && folder.names() == ["a.cow", "base"])
    let repaired = try folder.ttblk("repair", "--all", "a.cow")
    #expect(repaired.isDone && repaired.output.contains("repaired: 4096 bytes of data"))
    let saved = try #require(try folder.names().first { $0.hasPrefix("a.cow.repair-") })
    #expect(repaired.output.contains("what was changed is saved in '\(saved)'"))
    #expect(saved.count == "a.cow.repair-20261124-135144".count)
    #expect(try folder.ttblk("check", "a.cow").output == "a.cow: clean\n")
    #expect(try folder.ttblk("repair", "--undo", saved, "--leaks", "a.cow").failed(64, "--undo"))
    #expect(try folder.ttblk("repair", "--undo", "base", "a.cow").failed(3, "is not what a repair saved"))
    #expect(try folder.ttblk("repair", "--undo", saved, "a.cow").isDone)
    #expect(try folder.bytes("a.cow") == before)
    let json = try object(try folder.ttblk("repair", "--json", "--dry-run", "--all", "a.cow"))
    #expect((json["repaired"] as? [Any])?.count == 2 && json["saved"] is NSNull)
    #expect(try folder.ttblk("repair", "base").failed(3, "nothing that could be repaired"))
    #expect(try folder.ttblk("repair", "absent").failed(3, "'absent'"))
    try folder.putOld("old.cow", version: 2)
    #expect(try folder.ttblk("repair", "old.cow").failed(3, "ttblk image upgrade"))
    try folder.set("base", time: 5)
    let beyond = try folder.ttblk("repair", "--mixed-pages", "a.cow")
    #expect(beyond.code == 2 && beyond.output.contains("remains: the backing file"))
  }

  @Test("restamp") func restamp() throws {
    try folder.put("copy", folder.base)
    #expect(try folder.ttblk("restamp", "a.cow").failed(64, "--original FILE", "--unchecked"))
    #expect(try folder.ttblk("restamp", "a.cow", "--unchecked", "--original", "copy").failed(64))
    #expect(try folder.ttblk("restamp", "a.cow", "--original", "copy").output.contains("already"))
    try folder.set("base", time: 1_700_000_007)
    let outcome = try folder.ttblk("restamp", "a.cow", "--original", "copy")
    #expect(outcome.isDone)
    #expect(
      outcome.output == "a.cow: accepts the backing file's time @1700000007 instead of @1700000000\n")
    #expect(try folder.ttblk("info", "a.cow").code == 0)
    try folder.poke("copy", at: 4097, [99])
    let differs = try folder.ttblk("restamp", "a.cow", "--json", "--original", "copy")
    #expect(try differs.code == 2 && object(differs)["firstDifference"] as? Int == 4097)
    #expect(try folder.ttblk("restamp", "a.cow", "--original", "absent").failed(3, "'absent'"))
    #expect(try folder.ttblk("restamp", "base", "--unchecked").failed(3, "is raw"))
    try folder.put("base", folder.base.dropLast(512), time: 3)
    #expect(try folder.ttblk("restamp", "a.cow", "--unchecked").failed(3, "has 261632 bytes"))
  }

  @Test("rebase") func rebase() throws {
    var other = folder.base
    other.replaceSubrange(10 * 4096..<11 * 4096, with: [UInt8](repeating: 0x77, count: 4096))
    try folder.put("other", other, time: 44)
    let outcome = try folder.ttblk("rebase", "a.cow", "--backing", "other")
    #expect(outcome.isDone && outcome.output.contains("/other', 4096 bytes (4.0 KiB) copied\n"))
    #expect(try folder.mooSees("a.cow"))
    let json = try object(try folder.ttblk("rebase", "a.cow", "--backing", "base", "--json"))
    #expect(json["copied"] as? Int == 0 && json["backing"] as? String == folder.path("base"))
    #expect(try folder.mooSees("a.cow"))
    try FileManager.default.moveItem(atPath: folder.path("base"), toPath: folder.path("moved"))
    #expect(try folder.ttblk("rebase", "a.cow", "--backing", "moved").failed(3, "base' of 'a.cow' is unavai"))
    #expect(try folder.ttblk("rebase", "a.cow", "--backing", "moved", "--unsafe").isDone)
    #expect(try folder.mooSees("a.cow"))
    try folder.put("short", Data(count: 65536))
    #expect(try folder.ttblk("rebase", "a.cow", "--backing", "short").failed(3, "has 65536 bytes, the disk"))
    #expect(try folder.ttblk("rebase", "a.cow").code == 64)
    #expect(try folder.ttblk("rebase", "a.cow", "--backing", "absent").failed(3))
    #expect(try folder.ttblk("rebase", "a.cow", "--backing", "a.cow").failed(3, "choose another"))
    #expect(try folder.ttblk("rebase", "moved", "--backing", "other").failed(3, "is raw"))
  }

  @Test("compact") func compact() throws {
    let outcome = try folder.ttblk("compact", "a.cow")
    #expect(outcome.isDone && outcome.output.hasPrefix("a.cow: 8192 bytes (8.0 KiB) given back"))
    #expect(try folder.mooSees("a.cow"))
    try folder.put("raw", Data(count: 65536))
    let json = try object(try folder.ttblk("compact", "--json", "raw"))
    #expect(json["freed"] as? Int == 65536)
    #expect(try folder.bytes("raw") == Data(count: 65536))
    #expect(try folder.ttblk("compact", "absent").failed(3))
    try folder.putOld("old.cow", version: 1)
    #expect(try folder.ttblk("compact", "old.cow").failed(3, "ttblk image upgrade"))
    try folder.set("base", time: 5)
    #expect(try folder.ttblk("compact", "a.cow").failed(3, "changed at 5"))
    try folder.whileLocked("raw") {
      let busy = try folder.ttblk("compact", "raw")
      #expect(busy.failed(4))
    }
  }

  @Test("upgrade") func upgrade() throws {
    #expect(try folder.ttblk("upgrade", "a.cow").output == "a.cow: is current, nothing to do\n")
    try folder.putOld("old.cow", version: 1)
    let outcome = try folder.ttblk("upgrade", "old.cow", "--output", "new.cow")
    #expect(outcome.isDone && outcome.output == "old.cow: version 1 rewritten as 'new.cow'\n")
    #expect(try folder.mooSees("new.cow"))
    #expect(try folder.ttblk("upgrade", "old.cow", "--output", "new.cow").failed(5, "'new.cow' exists"))
    let json = try object(try folder.ttblk("upgrade", "--json", "old.cow"))
    #expect(json["kept"] as? String == "old.cow.v1" && json["version"] as? String == "1")
    #expect(try folder.ttblk("check", "old.cow").output == "old.cow: clean\n")
    #expect(try folder.ttblk("upgrade", "base").failed(3, "is raw"))
    #expect(try folder.ttblk("upgrade", "absent").failed(3))
    try folder.set("base", time: 5)
    #expect(try folder.ttblk("upgrade", "old.cow.v1").failed(3, "changed at 5"))
  }

  @Test("resize") func resize() throws {
    try folder.put("raw", Data(repeating: 7, count: 65536))
    #expect(
      try folder.ttblk("resize", "raw", "1M").output.hasPrefix("raw: 1048576 bytes (1.0 MiB), was 65536"))
    #expect(try folder.ttblk("resize", "raw", "+512k").isDone)
    #expect(try folder.ttblk("resize", "raw", "-512k").failed(3, "524288 bytes, 0 of them data", "--shrink"))
    #expect(try folder.ttblk("resize", "raw", "--shrink", "--", "-448k").isDone)
    #expect(try folder.ttblk("resize", "raw", "-1024k", "--shrink").isDone)
    #expect(try folder.bytes("raw") == Data(repeating: 7, count: 65536))
    let json = try object(try folder.ttblk("resize", "--json", "raw", "64k"))
    #expect(json["before"] as? Int == 65536 && json["after"] as? Int == 65536)
    for size in ["", "x", "1.5G", "-", "+", "99999999999E"] {
      #expect(try folder.ttblk("resize", "raw", size).code == 64, "\(size)")
    }
    #expect(try folder.ttblk("resize", "raw", "1", "2").code == 64)
    #expect(try folder.ttblk("resize", "raw", "1000").failed(3, "multiple of 512"))
    #expect(try folder.ttblk("resize", "raw", "-64k", "--shrink").failed(3))
    #expect(try folder.ttblk("resize", "a.cow", "2M").failed(3, "as long as its backing file"))
    #expect(try folder.ttblk("resize", "absent", "2M").failed(3))
    #expect(try folder.bytes("raw").count == 65536)
  }

  @Test("snapshot") func snapshot() throws {
    func snapshot(_ words: String...) throws -> Outcome {
      try runCommand(["image", "snapshot"] + words, in: folder.url)
    }
    #expect(try snapshot("list", "a.cow").output == "a.cow: no snapshots\n")
    #expect(try snapshot("create", "a.cow", "one").isDone)
    try folder.write("a.cow", page: 5, [UInt8](repeating: 0xbb, count: 4096))
    #expect(try snapshot("create", "a.cow", "one").failed(5, "'a.cow@one' exists"))
    #expect(try snapshot("create", "a.cow", "a/b").failed(3, "no name for a snapshot"))
    #expect(try snapshot("create", "absent", "x").failed(3))
    #expect(try snapshot("create", "a.cow").code == 64)
    let list = try snapshot("list", "a.cow").output
    #expect(list.contains("name") && list.contains("one") && list.contains("yes"))
    let json = try JSONSerialization.jsonObject(
      with: Data(try snapshot("list", "--json", "a.cow").output.utf8))
    let entry = try #require((json as? [[String: Any]])?.first)
    #expect(entry["name"] as? String == "one" && entry["valid"] as? Bool == true)
    try folder.whileLocked("a.cow") { () throws in
      #expect(try snapshot("create", "a.cow", "two").failed(4))
      #expect(try snapshot("apply", "a.cow", "one").failed(4))
    }
    #expect(try snapshot("apply", "a.cow", "absent").failed(3))
    #expect(try snapshot("apply", "a.cow", "one").isDone)
    #expect(try folder.mooSees("a.cow"))
    #expect(try snapshot("delete", "a.cow", "one").isDone)
    #expect(try snapshot("delete", "a.cow", "one").failed(3))
    #expect(try folder.names() == ["a.cow", "base"])
  }
}
