// Every command of `ttblk image` on qcow2, judged by QEMU.
import Foundation
import Linux
import Testing

extension ImageFolder {
  /// Runs a shell script in the folder.
  @discardableResult
  func shell(_ script: String) throws -> (code: Int32, output: String) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-ec", script]
    process.currentDirectoryURL = url
    let output = Pipe()
    process.standardOutput = output
    process.standardError = output
    try process.run()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    return (process.terminationStatus, text)
  }

  /// A script that must end well.
  func require(_ script: String) throws {
    let outcome = try shell(script)
    try #require(outcome.code == 0, "\(script): \(outcome.output)")
  }

  /// What QEMU sees of an image.
  func qemuSees(_ name: String, _ options: String = "") throws -> Data {
    try require("rm -f .seen; qemu-img convert \(options) -O raw '\(name)' .seen")
    defer { unlink(path(".seen")) }
    return try bytes(".seen")
  }

  /// What `qemu-img check` ends with: 0 good, 2 corrupt, 3 leaks.
  func qemuCheck(_ name: String) throws -> Int32 { try shell("qemu-img check -q -f qcow2 '\(name)'").code }

  /// What QEMU prints as JSON.
  func qemuJSON(_ command: String) throws -> Any {
    let outcome = try shell("qemu-img \(command) --output=json 2>/dev/null")
    return try JSONSerialization.jsonObject(with: Data(outcome.output.utf8))
  }

  /// A qcow2 file over `base` by QEMU, which shows what `makeCOW` makes.
  func makeQCOW2(_ name: String = "q", _ options: String = "cluster_size=4096", on base: String = "base")
    throws
  {
    let format = try bytes(base).prefix(3) == Data("QFI".utf8) ? "qcow2" : "raw"
    try require(
      """
      qemu-img create -q -f qcow2 -o \(options) -b \(base) -F \(format) \(name)
      qemu-io -f qcow2 -c 'write -q -P 0xaa 20k 4k' -c 'write -q -z 24k 4k' -c 'write -q -P 8 28k 4k' \(name)
      """)
  }
}

extension Outcome {
  func json() throws -> [String: Any] {
    try #require(JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Any], "\(output)\(error)")
  }

  func jsonList() throws -> [[String: Any]] {
    try #require(
      JSONSerialization.jsonObject(with: Data(output.utf8)) as? [[String: Any]], "\(output)\(error)")
  }
}

@Suite("ttblk image on qcow2") struct QCOW2CommandTests {
  let folder: ImageFolder

  init() throws { folder = try ImageFolder() }

  func expectGood(_ name: String, shows disk: Data, sourceLocation: SourceLocation = #_sourceLocation) throws
  {
    #expect(try folder.qemuCheck(name) == 0, sourceLocation: sourceLocation)
    let isSame = try folder.qemuSees(name) == disk
    #expect(isSame, "\(name) shows something else", sourceLocation: sourceLocation)
  }

  @Test("create") func create() throws {
    for size in ["512", "2M", "4k"] {
      let made = try folder.ttblk("create", size, "--format", "qcow2", "--size", "3M", "--cluster-size", size)
      #expect(made.isDone, "\(made.error)")
      try expectGood(size, shows: Data(count: 3 << 20))
    }
    #expect(try folder.ttblk("create", "q", "--format", "qcow2", "--backing", "base").isDone)
    try expectGood("q", shows: folder.base)
    let info = try #require(try folder.qemuJSON("info q") as? [String: Any])
    #expect(info["backing-filename"] as? String == "base")
    #expect(info["backing-filename-format"] as? String == "raw")
    #expect(try folder.ttblk("create", "long", "--format", "qcow2", "--backing", "q", "--size", "1M").isDone)
    try expectGood("long", shows: folder.base + Data(count: (1 << 20) - folder.base.count))
    try folder.require("mkdir sub")
    #expect(try folder.ttblk("create", "sub/q", "--format", "qcow2", "--backing", "q").isDone)
    try expectGood("sub/q", shows: folder.base)

    #expect(try folder.ttblk("create", "q", "--format", "qcow2", "--size", "1M").failed(5, "'q' exists"))
    let absent = try folder.ttblk("create", "r", "--format", "qcow2", "--backing", "absent")
    #expect(absent.failed(3, "absent"))
    for wrong in [["--size", "1M", "--cluster-size", "1000"], ["--size", "1M", "--space", "full"], []] {
      let outcome = try runCommand(["image", "create", "r", "--format", "qcow2"] + wrong, in: folder.url)
      #expect(outcome.code == 64, "\(wrong)")
    }
    #expect(try folder.ttblk("create", "r", "--format", "qcow2", "--size", "8E").code == 3)
    #expect(try !folder.names().contains("r"))
  }

  @Test("info, and snapshot list") func info() throws {
    try folder.makeQCOW2()
    try folder.require("qemu-img snapshot -c first q; qemu-io -c 'write -q -P 1 0 64k' q")
    try folder.require("qemu-img snapshot -c 'the second' q")
    let qemu = try #require(try folder.qemuJSON("info q") as? [String: Any])
    let ours = try folder.ttblk("info", "--json", "q").json()
    let details = try #require(ours["qcow2"] as? [String: Any])
    #expect(ours["virtualSize"] as? Int == qemu["virtual-size"] as? Int)
    #expect(details["clusterSize"] as? Int == qemu["cluster-size"] as? Int)
    #expect((ours["chain"] as? [Any])?.count == 2)
    #expect(
      (details["snapshots"] as? [[String: Any]])?.map { $0["name"] as? String } == ["first", "the second"])
    #expect(try folder.ttblk("info", "q").output.contains("2 'the second', 262144 bytes"))

    #expect(try folder.ttblk("snapshot", "create", "q", "beside").isDone)
    let list = try folder.ttblk("snapshot", "list", "--json", "q").jsonList()
    #expect(list.map { $0["kind"] as? String } == ["internal", "internal", "file"])
    #expect(list.map { $0["name"] as? String } == ["first", "the second", "beside"])
    #expect(list.map { $0["id"] as? String } == ["1", "2", nil])
    #expect(list.allSatisfy { $0["valid"] as? Bool == true })
    #expect(list[0]["virtualSize"] as? Int == folder.base.count)
    let theirs = try #require(qemu["snapshots"] as? [[String: Any]])
    #expect(list[1]["modified"] as? Int == theirs[1]["date-sec"] as? Int)
    let table = try folder.ttblk("snapshot", "list", "q").output
    #expect(
      table.contains("internal 1") && table.contains("the second") && table.contains("file"), "\(table)")
    // A snapshot with a table that leads nowhere is listed, and an image that is none hides no snapshot.
    let place = try folder.bytes("q")[64..<72].reduce(0) { $0 << 8 | Int($1) }
    try folder.poke("q", at: place, [0xff, 0, 0, 0, 0, 0, 0, 0])
    let broken = try folder.ttblk("snapshot", "list", "--json", "q").jsonList()
    #expect(broken.map { $0["valid"] as? Bool } == [false, true, true])
    try folder.poke("q", at: 4, [0, 0, 0, 9])
    #expect(try folder.ttblk("snapshot", "list", "--json", "q").jsonList().count == 1)
    #expect(try folder.ttblk("info", "q").failed(3, "version"))
    #expect(try folder.ttblk("snapshot", "apply", "q", "beside").isDone)
    #expect(try folder.qemuCheck("q") == 0)

    try FileManager.default.removeItem(atPath: folder.path("base"))
    let orphan = try folder.ttblk("info", "q")
    #expect(orphan.code == 3 && orphan.output.contains("is unavailable"))
    // Encrypted as of old: LUKS needs time that is measured by the processor's.
    try folder.require("qemu-img create -q -f qcow2 e 1M")
    try folder.poke("e", at: 32, [0, 0, 0, 1])
    #expect(try folder.ttblk("compare", "e", "e").failed(3, "encrypt"))
  }

  @Test("map") func map() throws {
    try folder.makeQCOW2()
    try folder.makeQCOW2("r", "cluster_size=4096,compat=0.10", on: "q")
    try folder.require(
      """
      qemu-io -c 'write -q -P 3 100k 30k' -c 'discard -q 120k 8k' r
      qemu-img convert -O qcow2 -c r c
      """)
    for name in ["q", "r", "c"] {
      let keys = ["start", "length", "depth", "offset"]
      let flags = ["present", "zero", "data"]
      func text(_ one: [String: Any]) -> String {
        (keys.map { "\($0) \(one[$0] as? Int ?? -1)" } + flags.map { "\($0) \(one[$0] as? Bool ?? false)" })
          .joined(separator: " ")
      }
      let qemu = try #require(try folder.qemuJSON("map \(name)") as? [[String: Any]])
      let ours = try folder.ttblk("map", "--json", name).jsonList()
      #expect(ours.map(text) == qemu.map(text), "\(name)")
    }
    #expect(try folder.ttblk("map", "absent").failed(3, "absent"))
  }

  @Test("check and repair") func checkAndRepair() throws {
    try folder.makeQCOW2()
    #expect(try folder.ttblk("check", "q").output == "q: clean\n")
    let clusters = try folder.bytes("q").count / 4096
    func number(_ offset: Int) throws -> Int {
      try folder.bytes("q")[offset..<offset + 8].reduce(0) { $0 << 8 | Int($1) }
    }
    let block = try number(number(48))
    // A cluster that nothing refers to.
    try folder.require("truncate -s +4096 q")
    try folder.poke("q", at: block + 2 * clusters, [0, 1])
    #expect(try folder.qemuCheck("q") == 3)
    let leaks = try folder.ttblk("check", "q")
    #expect(leaks.isDone && leaks.output.contains("warning: "), "\(leaks.output)")
    #expect(try folder.ttblk("check", "--strict", "q").code == 2)
    #expect(try folder.ttblk("repair", "q").isDone)
    #expect(try folder.qemuCheck("q") == 3)
    let dry = try folder.ttblk("repair", "--leaks", "--dry-run", "q")
    #expect(dry.isDone && dry.output.contains("would repair"), "\(dry.output)")
    #expect(try folder.qemuCheck("q") == 3)
    let repaired = try folder.ttblk("repair", "--leaks", "q")
    #expect(repaired.isDone, "\(repaired.error)")
    try expectGood("q", shows: folder.disk)
    let saved = try #require(try folder.names().first { $0.hasPrefix("q.repair-") })
    #expect(repaired.output.contains(saved))
    #expect(try folder.ttblk("repair", "--undo", saved, "q").failed(3, "only the repair of a UML COW"))

    // A count that is too low.
    try folder.poke("q", at: block + 2 * (clusters - 1), [0, 0])
    #expect(try folder.qemuCheck("q") == 2)
    let damaged = try folder.ttblk("check", "--json", "q")
    #expect(try damaged.code == 2 && damaged.json()["damaged"] as? Bool == true)
    #expect(try folder.ttblk("repair", "q").isDone)
    try expectGood("q", shows: folder.disk)
    #expect(try folder.ttblk("check", "q").output == "q: clean\n")
    // Not closed properly.
    try folder.poke("q", at: 79, [1])
    let dirty = try folder.ttblk("check", "q")
    #expect(dirty.isDone && dirty.output.contains("not closed properly"), "\(dirty.output)")
    #expect(try folder.ttblk("repair", "q").isDone)
    try expectGood("q", shows: folder.disk)
    #expect(try folder.bytes("q")[79] == 0)
    try folder.poke("q", at: 4, [0, 0, 0, 7])
    #expect(try folder.ttblk("check", "q").code == 2)
    #expect(try folder.ttblk("repair", "absent").failed(3, "absent"))
  }

  @Test("commit") func commit() throws {
    try folder.makeQCOW2()
    try folder.require("qemu-img convert -O qcow2 base base2")
    try folder.makeQCOW2("r", on: "base2")
    let outcome = try folder.ttblk("commit", "--json", "q")
    #expect(try outcome.json()["committed"] as? Int == 3 * 4096)
    #expect(try folder.bytes("base") == folder.disk)
    try expectGood("q", shows: folder.disk)
    #expect(try folder.ttblk("commit", "r").isDone)
    try expectGood("base2", shows: folder.disk)
    try expectGood("r", shows: folder.disk)
    let map = try #require(try folder.qemuJSON("map r") as? [[String: Any]])
    #expect(map.allSatisfy { $0["depth"] as? Int != 0 })
    // Into one that is shorter.
    try folder.require(
      "qemu-img create -q -f qcow2 -b base2 -F qcow2 s 1M; qemu-io -c 'write -q -P 9 900k 4k' s")
    let long = try folder.qemuSees("s")
    #expect(try folder.ttblk("commit", "s").isDone)
    try expectGood("base2", shows: long)
    #expect(try folder.ttblk("commit", "base2").failed(3, "no backing file"))
    #expect(try folder.ttblk("commit", "base").failed(3, "is raw"))
    #expect(try folder.ttblk("commit", "absent").failed(3, "absent"))
  }

  @Test("rebase") func rebase() throws {
    try folder.makeQCOW2()
    var other = folder.base
    other.replaceSubrange(10 * 4096..<20 * 4096, with: Data(repeating: 0x77, count: 10 * 4096))
    try folder.put("other", other)
    try folder.require("qemu-img convert -O qcow2 -c other other2; head -c 64k other >short")
    for backing in ["other", "other2", "short", "base", ""] {
      let outcome = try folder.ttblk("rebase", "q", "--backing", backing)
      #expect(outcome.isDone, "\(backing): \(outcome.error)")
      try expectGood("q", shows: folder.disk)
      let info = try #require(try folder.qemuJSON("info q") as? [String: Any])
      #expect(info["backing-filename"] as? String == (backing.isEmpty ? nil : backing))
    }
    try folder.makeQCOW2("r")
    try folder.require("cp base moved; mv base gone")
    #expect(try folder.ttblk("rebase", "r", "--backing", "moved").failed(3, "is unavailable"))
    let json = try folder.ttblk("rebase", "r", "--backing", "moved", "--unsafe", "--json").json()
    #expect(json["copied"] as? Int == 0)
    try expectGood("r", shows: folder.disk)
    let before = try folder.bytes("r")
    try folder.makeQCOW2("loop", on: "r")
    #expect(try folder.ttblk("rebase", "r", "--backing", "r").failed(3, "'r'"))
    #expect(try folder.ttblk("rebase", "r", "--backing", "./r", "--unsafe").failed(3, "'./r'"))
    #expect(try folder.ttblk("rebase", "r", "--backing", "loop").failed(3, "lead back"))
    #expect(try folder.ttblk("rebase", "r", "--backing", "absent").failed(3, "absent"))
    #expect(try folder.ttblk("rebase", "r").code == 64)
    #expect(try folder.bytes("r") == before)
  }

  @Test("compact") func compact() throws {
    try folder.makeQCOW2()
    try folder.require("qemu-io -c 'write -q -P 0 64k 64k' -c 'write -q -P 0x33 200k 4k' q; chmod 640 q")
    let shown = try folder.qemuSees("q")
    let json = try folder.ttblk("compact", "--json", "q").json()
    let (before, after) = (json["before"] as? Int ?? 0, json["after"] as? Int ?? 0)
    #expect(after <= before - 60 << 10 && json["freed"] as? Int == before - after, "\(json)")
    try expectGood("q", shows: shown)
    let permissions = try FileManager.default.attributesOfItem(atPath: folder.path("q"))[.posixPermissions]
    #expect(permissions as? Int == 0o640)
    let info = try #require(try folder.qemuJSON("info q") as? [String: Any])
    #expect(info["backing-filename"] as? String == "base" && info["cluster-size"] as? Int == 4096)
    try folder.require("qemu-img convert -O qcow2 -c q c")
    let compressed = try folder.bytes("c").count
    #expect(try folder.ttblk("compact", "c").isDone)
    try expectGood("c", shows: shown)
    #expect(try folder.bytes("c").count <= compressed + 65536)
    try folder.require("qemu-img snapshot -c s q")
    #expect(try folder.ttblk("compact", "q").failed(3, "internal snapshots"))
    try folder.require("qemu-img create -q -f qcow2 bitmap 1M; qemu-img bitmap --add bitmap b")
    #expect(try folder.ttblk("compact", "bitmap").failed(3, "bitmap"))
    #expect(try folder.names().allSatisfy { !$0.contains(".new-") })
  }

  @Test("upgrade") func upgrade() throws {
    try folder.makeQCOW2("q", "compat=0.10,cluster_size=4096")
    try folder.require("qemu-img snapshot -c s q")
    let outcome = try folder.ttblk("upgrade", "q")
    #expect(outcome.isDone, "\(outcome.error)")
    try expectGood("q", shows: folder.disk)
    #expect(try folder.ttblk("info", "q").output.contains("version 3"))
    #expect(try folder.ttblk("upgrade", "q").output == "q: is current, nothing to do\n")
    let other = try folder.ttblk("upgrade", "q", "--output", "new")
    #expect(other.failed(3, "in place"))
  }

  @Test("resize") func resize() throws {
    try folder.makeQCOW2()
    #expect(try folder.ttblk("resize", "q", "+1M").isDone)
    let long = folder.disk + Data(count: 1 << 20)
    try expectGood("q", shows: long)
    #expect(try folder.ttblk("resize", "q", "100k").failed(3, "--shrink"))
    #expect(try folder.ttblk("resize", "q", "100k", "--shrink").isDone)
    try expectGood("q", shows: long.prefix(100 << 10))
    #expect(try folder.ttblk("resize", "--json", "q", "256k").json()["before"] as? Int == 100 << 10)
    // What was cut off does not come back, nor does the backing file's.
    try expectGood("q", shows: long.prefix(100 << 10) + Data(count: 156 << 10))
    #expect(try folder.ttblk("resize", "q", "1000").failed(3, "multiple of 512"))
    #expect(try folder.ttblk("resize", "q", "4E").code == 3)
    #expect(try folder.ttblk("resize", "absent", "4M").failed(3))
  }

  /// How a file is made, and `convert`'s options for it.
  static let formats: [(name: String, options: [String])] = [
    ("raw", ["--to", "raw"]), ("qcow2", ["--to", "qcow2", "--cluster-size", "4k"]),
    ("deflate", ["--to", "qcow2", "--compress", "deflate", "--level", "9"]),
    ("zstd", ["--to", "qcow2", "--compress", "zstd"]), ("uml-cow", ["--to", "uml-cow", "--backing", "base"]),
    ("over raw", ["--to", "qcow2", "--backing", "base"]),
    ("over qcow2", ["--to", "qcow2", "--backing", "base2"]),
    ("cow over qcow2", ["--to", "uml-cow", "--backing", "base2"]),
  ]

  @Test("convert, from each format to each", arguments: formats.map(\.name))
  func convert(from source: String) throws {
    try folder.put("disk", folder.disk)
    try folder.require(
      "qemu-img convert -f raw -O qcow2 base base2; touch -d @1700000000 base2; chmod 600 disk")
    let options = try #require(Self.formats.first { $0.name == source }).options
    let first = try runCommand(["image", "convert", "disk", source] + options, in: folder.url)
    #expect(first.code == 0, "\(first.error)")
    for (name, options) in Self.formats {
      let outcome = try runCommand(["image", "convert", source, "out"] + options, in: folder.url)
      #expect(outcome.code == 0, "\(source) to \(name): \(outcome.error)")
      switch options[1] {
      case "raw": #expect(try folder.bytes("out") == folder.disk, "\(source) to \(name)")
      case "qcow2": try expectGood("out", shows: folder.disk)
      default:
        if !name.contains("qcow2") { #expect(try folder.mooSees("out"), "\(source) to \(name)") }
        #expect(try folder.ttblk("compare", "out", "disk", "--second-format", "raw").code == 0)
      }
      // Whoever may not read the one may not read the other.
      let permissions = try FileManager.default.attributesOfItem(atPath: folder.path("out"))[
        .posixPermissions]
      #expect(permissions as? Int == 0o600, "\(source) to \(name)")
      unlink(folder.path("out"))
    }
  }

  @Test("convert: snapshots, and wrong inputs") func convertRest() throws {
    try folder.makeQCOW2()
    try folder.require("qemu-img snapshot -c before q; qemu-io -c 'write -q -P 1 0 256k' q")
    #expect(try folder.ttblk("convert", "q", "old", "--to", "qcow2", "--snapshot", "before").isDone)
    try expectGood("old", shows: folder.disk)
    #expect(try folder.ttblk("convert", "q", "x", "--to", "raw", "--snapshot", "no").failed(3, "no"))
    #expect(try folder.ttblk("convert", "q", "old", "--to", "raw").failed(5, "'old' exists"))
    #expect(try folder.ttblk("convert", "q", "base", "--to", "raw", "--force").failed(3, "'base'"))
    #expect(try folder.ttblk("convert", "q", "q", "--to", "raw", "--force").failed(3, "'q'"))
    #expect(try folder.ttblk("convert", "absent", "x", "--to", "raw").failed(3, "absent"))
    try folder.put("short", Data(count: 65536))
    let short = try folder.ttblk("convert", "q", "x", "--to", "uml-cow", "--backing", "short")
    #expect(short.failed(3, "as long as its backing file"))
    for wrong in [
      ["--to", "vmdk"], ["--to", "raw", "--backing", "base"], ["--to", "uml-cow"],
      ["--to", "raw", "--compress", "zstd"], ["--to", "qcow2", "--level", "3"],
      ["--to", "qcow2", "--compress", "deflate", "--level", "10"],
    ] {
      #expect(try runCommand(["image", "convert", "q", "x"] + wrong, in: folder.url).code == 64, "\(wrong)")
    }
    #expect(try folder.names() == ["base", "old", "q", "short"])
  }

  @Test("compare and diff") func compare() throws {
    try folder.makeQCOW2()
    try folder.require("qemu-img convert -O qcow2 -c q c; qemu-img convert -O raw q flat")
    for name in ["c", "flat"] { #expect(try folder.ttblk("compare", "q", name).isDone) }
    let ranges = try folder.ttblk("diff", "q", "--json").jsonList()
    // Page 7 is as it is beneath.
    #expect(ranges.map { $0["start"] as? Int } == [20480] && ranges.map { $0["length"] as? Int } == [8192])
    try folder.require("qemu-io -c 'write -q -P 5 150k 512' c; qemu-img resize -q q 1M")
    let differs = try folder.ttblk("compare", "--json", "c", "flat")
    #expect(try differs.code == 2 && differs.json()["firstDifference"] as? Int == 150 << 10)
    #expect(try folder.shell("qemu-img compare -q c flat").code == 1)
    #expect(try folder.ttblk("compare", "q", "flat").isDone)
    #expect(try folder.ttblk("compare", "--strict", "q", "flat").code == 2)
    #expect(try folder.ttblk("diff", "c").failed(64, "no backing file"))
    #expect(try folder.ttblk("compare", "q", "absent").failed(3, "absent"))
  }

  @Test("measure says what qemu-img does") func measure() throws {
    func expectSame(_ ours: [String], _ qemu: String) throws {
      let outcome = try runCommand(["image", "measure", "--json"] + ours, in: folder.url)
      let theirs = try #require(try folder.qemuJSON("measure \(qemu)") as? [String: Any], "\(qemu)")
      let json = try outcome.json()
      #expect(json["required"] as? Int == theirs["required"] as? Int, "\(ours)")
      #expect(json["fullyAllocated"] as? Int == theirs["fully-allocated"] as? Int, "\(ours)")
    }
    for size in ["512", "64k", "1M", "1000000512", "1G", "3T"] {
      try expectSame(["--size", size, "--to", "qcow2"], "--size \(size) -O qcow2")
      try expectSame(["--size", size, "--to", "raw"], "--size \(size) -O raw")
    }
    for cluster in ["512", "4k", "2M"] {
      try expectSame(
        ["--size", "700M", "--to", "qcow2", "--cluster-size", cluster],
        "--size 700M -O qcow2 -o cluster_size=\(cluster)")
    }
    try folder.makeQCOW2()
    try folder.require(
      """
      qemu-img convert -O qcow2 -c q c; truncate -s 5M sparse
      dd if=/dev/urandom of=sparse bs=4k seek=300 count=200 conv=notrunc 2>/dev/null
      """)
    for name in ["q", "c", "sparse", "base"] {
      try expectSame(["--to", "qcow2", name], "-O qcow2 \(name)")
      try expectSame(["--to", "raw", name], "-O raw \(name)")
    }
    #expect(try folder.ttblk("measure", "--to", "qcow2").code == 64)
    #expect(try folder.ttblk("measure", "--to", "qcow2", "absent").failed(3, "absent"))
  }

  /// A qemu-io that has an image open until it is told to go.
  private func whileQEMUHas(_ name: String, _ options: String, _ body: (Int32) throws -> Void) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/qemu-io")
    process.arguments = options.split(separator: " ").map(String.init) + [name]
    process.currentDirectoryURL = folder.url
    let (input, output) = (Pipe(), Pipe())
    process.standardInput = input
    process.standardOutput = output
    process.standardError = output
    try process.run()
    // It answers when it has the image.
    input.fileHandleForWriting.write(Data("length\n".utf8))
    var text = ""
    while !text.contains("KiB") {
      let data = output.fileHandleForReading.availableData
      guard !data.isEmpty else { throw RigError("qemu-io: \(text)") }
      text += String(decoding: data, as: UTF8.self)
    }
    try body(process.processIdentifier)
    try input.fileHandleForWriting.close()
    process.waitUntilExit()
  }

  @Test("what QEMU has open for writing is refused, by the name of its process") func locked() throws {
    try folder.makeQCOW2()
    let before = try folder.bytes("q")
    try whileQEMUHas("q", "-f qcow2") { (process) throws in
      for arguments in [
        ["check", "q"], ["repair", "q"], ["commit", "q"], ["rebase", "q", "--backing", "base"],
        ["compact", "q"], ["upgrade", "q"], ["resize", "q", "4M"], ["convert", "q", "x", "--to", "raw"],
        ["merge", "q", "x"], ["compare", "q", "base"], ["diff", "q"], ["map", "q"],
        ["measure", "q", "--to", "raw"], ["snapshot", "create", "q", "s"],
      ] {
        let outcome = try runCommand(["image"] + arguments, in: folder.url)
        #expect(outcome.failed(4, "process \(process) (qemu-io)"), "\(arguments): \(outcome.error)")
      }
      for arguments in [
        ["check", "q"], ["compare", "q", "base"], ["diff", "q"], ["map", "q"], ["merge", "q", "x"],
        ["measure", "q", "--to", "raw"],
      ] {
        let outcome = try runCommand(["image"] + arguments + ["--force-share"], in: folder.url)
        #expect(outcome.code == 0 || (outcome.code == 2 && arguments[0] == "compare"), "\(outcome.error)")
      }
      #expect(try folder.ttblk("info", "q").code == 0)
    }
    #expect(try folder.names() == ["base", "q", "x"])
    #expect(try folder.bytes("q") == before)
    // Readers share; writers do not.
    try whileQEMUHas("q", "-r -f qcow2") { (process) throws in
      #expect(try folder.ttblk("compare", "q", "x").isDone)
      #expect(try folder.ttblk("check", "q").isDone)
      #expect(try folder.ttblk("resize", "q", "4M").failed(4, "process \(process) (qemu-io)"))
    }
  }

  @Test("QEMU refuses what ours has open") func holding() throws {
    try folder.makeQCOW2()
    let serve = Process()
    serve.executableURL = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
      .appendingPathComponent("ttblk")
    serve.arguments = ["serve", "--disk", "name=d,image=q,socket=s"]
    serve.currentDirectoryURL = folder.url
    let output = Pipe()
    serve.standardOutput = output
    try serve.run()
    defer {
      serve.terminate()
      serve.waitUntilExit()
    }
    var text = ""
    while !text.contains("ready") {
      let data = output.fileHandleForReading.availableData
      guard !data.isEmpty else { throw RigError("ttblk serve: \(text)") }
      text += String(decoding: data, as: UTF8.self)
    }
    for command in [
      "qemu-img check q", "qemu-img convert -O raw q x", "qemu-io -c 'write 0 4k' q",
      "qemu-io -f raw -c 'write 0 4k' base",
    ] {
      let outcome = try folder.shell(command)
      #expect(outcome.code != 0 && outcome.output.contains("lock"), "\(command): \(outcome.output)")
    }
    #expect(try folder.shell("qemu-img info -U q").code == 0)
    // What is beneath is shared by those who read.
    #expect(try folder.shell("qemu-img convert -f raw -O raw base x").code == 0)
    let ours = try folder.ttblk("compact", "q")
    #expect(ours.failed(4, "process \(serve.processIdentifier) (ttblk)"), "\(ours.error)")
  }
}
