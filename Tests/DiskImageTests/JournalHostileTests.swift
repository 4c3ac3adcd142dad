// Journals that are not what their images think.
import BlockIO
import Glibc
import Linux
import Simulation
import Testing

@testable import DiskImage

@Suite("Journals that do not fit") struct JournalHostileTests {
  static let formats = JournalTests.formats

  /// An image whose server was killed with so many completed writes; `flushed` is what a loss of power leaves.
  private struct Killed {
    let sample: JournalImageSample
    let journals = JournalScratch()
    var model: JournalModel
    let flushed: [UInt8]

    init(_ format: ImageFormat, seed: UInt64) throws {
      sample = try JournalImageSample(format, seed: seed)
      model = JournalModel(sample.start, seed: seed)
      let engine = FaultyEngine()
      let disk = try journals.open(sample.path, engine: engine)
      for _ in 0..<10 { model.step(disk) }
      try disk.flush()
      flushed = model.bytes
      // Pages that are new: their places in the file are nobody's as long as no bit or table says so.
      for _ in 0..<20 { model.step(disk, flushes: false) }
      #expect(model.attempted == nil)
      try engine.kill(disk)
      #expect(journals.names.count == 1)
    }

    var journal: String { "\(journals.path)/\(journals.names.first ?? "")" }

    func warnings() throws -> [String] {
      let disk = try journals.open(sample.path)
      defer { try? disk.close() }
      return disk.warnings
    }
  }

  @Test("a copy does not use the journal of what it was copied from, which still has it", arguments: formats)
  func copy(format: ImageFormat) throws {
    let killed = try Killed(format, seed: 5)
    let copy = killed.sample.path + "-copy"
    killed.sample.scratch.shell("cp -p \(killed.sample.path) \(copy)")
    let disk = try killed.journals.open(copy)
    #expect(disk.warnings.isEmpty)
    try disk.put([1], at: 0)
    try disk.close()
    #expect(killed.journals.names.count == 1)
    let original = try killed.journals.open(killed.sample.path)
    #expect(original.warnings.count == 1)
    #expect(try original.all() == killed.model.bytes)
  }

  @Test("a copy is told from what it was copied from by who may not look into the folder", arguments: formats)
  func copyOfAnother(format: ImageFormat) throws {
    let killed = try Killed(format, seed: 5)
    let copy = killed.sample.path + "-copy"
    killed.sample.scratch.shell("cp -p \(killed.sample.path) \(copy)")
    chmod(killed.journals.path, 0o750)
    #expect(try openImage(path: copy, registry: FileRegistry()).warnings.isEmpty)
    let original = try openImage(path: killed.sample.path, registry: FileRegistry())
    #expect(original.warnings.count == 1)
  }

  @Test("a file that takes the number of a removed one is not that one", arguments: formats)
  func reusedInode(format: ImageFormat) throws {
    let killed = try Killed(format, seed: 6)
    let path = killed.sample.path
    // File systems like to use the number at once again.
    killed.sample.scratch.shell("cp -p \(path) copy; rm \(path); cp -p copy \(path)")
    #expect(try killed.warnings().isEmpty)
  }

  @Test("another image that is copied over the same file has nothing of the old one", arguments: formats)
  func overwritten(format: ImageFormat) throws {
    let killed = try Killed(format, seed: 7)
    let other = try JournalImageSample(format, seed: 11)
    killed.sample.scratch.shell("cat \(other.path) >\(killed.sample.path)")
    #expect(try killed.warnings().isEmpty)
    #expect(readFile(killed.sample.path) == readFile(other.path))
    // Nobody will ask for it: the next server that makes one removes it.
    let journals = JournalFolder(path: killed.journals.path)
    let options = ImageOptions(lock: false, journal: JournalOptions(folder: journals) { _ in })
    let disk = try openImage(path: other.path, options: options, registry: FileRegistry())
    #expect(killed.journals.names.count == 1)
    try disk.close()
    #expect(killed.journals.names.isEmpty)
  }

  @Test("what QEMU wrote in between is not undone")
  func qemu() throws {
    let killed = try Killed(.qcow2, seed: 8)
    #expect(killed.sample.scratch.shell("qemu-io -f qcow2 -c 'write -P 0x5a 0 512' q") == 0)
    let check = killed.sample.scratch.qemuCheck("q")
    #expect(check == 0 || check == 3)
    let disk = try killed.journals.open(killed.sample.path)
    #expect(disk.warnings.count == 1)
    #expect(disk.warnings[0].contains("another program has written"))
    #expect(try disk.bytes(0..<512) == [UInt8](repeating: 0x5a, count: 512))
    try disk.close()
    #expect(try killed.warnings().isEmpty)
    try killed.sample.expectSound("after QEMU")
  }

  @Test("bits that somebody else has set in between are seen")
  func ubd() throws {
    let scratch = Scratch()
    let journals = JournalScratch()
    let base = scratch.write("base", [UInt8](repeating: 1, count: 1 << 20))
    try UMLCOW.create(path: scratch.file("cow"), backing: base, registry: FileRegistry())
    let engine = FaultyEngine()
    let disk = try journals.open(scratch.file("cow"), engine: engine)
    try disk.put([2], at: 0)
    try engine.kill(disk)
    // As UML's own driver does.
    var bytes = readFile(scratch.file("cow"))
    bytes[131072 + 9] = 0xff
    writeFile(scratch.file("cow"), bytes)
    let after = try journals.open(scratch.file("cow"))
    #expect(after.warnings.count == 1)
    #expect(after.warnings[0].contains("somebody else has written"))
    #expect(try after.bytes(0..<1) == [1])
  }

  @Test("whatever is in a journal, the image stays sound, or a write is refused", arguments: formats)
  func garbled(format: ImageFormat) throws {
    var kept = 0
    for seed in 0..<40 * soak {
      let killed = try Killed(format, seed: seed % 5)
      var random = RandomStream(seed: seed, name: "garbled")
      var bytes = readFile(killed.journal)
      let page = JournalShape.systemPage
      switch random.next() % 5 {
      case 0: bytes = Array(bytes[..<Int(random.next() % UInt64(bytes.count))])
      case 1: bytes[Int(random.next() % 240)] ^= UInt8(truncatingIfNeeded: 1 << (random.next() % 8))
      case 2:
        // Words of the directory.
        for _ in 0..<4 {
          let place = page + Int(random.next() % 16) * 8
          bytes.replaceSubrange(place..<place + 8, with: random.bytes(8))
        }
      case 3:
        for _ in 0..<8 { bytes[page + Int(random.next() % 512)] ^= UInt8(truncatingIfNeeded: random.next()) }
      default:
        for _ in 0..<16 {
          bytes[2 * page + Int(random.next() % UInt64(min(8, bytes.count / page - 2) * page))] ^=
            UInt8(truncatingIfNeeded: random.next())
        }
      }
      writeFile(killed.journal, bytes)
      let size = status(of: killed.sample.path).st_size
      let disk = try killed.journals.open(killed.sample.path)
      #expect(disk.warnings.count <= 1, "seed \(seed)")
      if disk.warnings.first?.contains("useless") == true { kept += 1 }
      _ = try? disk.all()
      try? disk.put([1], at: 0)
      try? disk.close()
      #expect(status(of: killed.sample.path).st_size <= size + 16 << 20, "seed \(seed)")
      // Whatever is named in it was looked at; what is in its pages is as right as the journal.
      if format == .umlCOW { try killed.sample.expectSound("seed \(seed)") }
      if disk.warnings.first?.contains("useless") == true {
        try killed.sample.expectSound("seed \(seed)")
        let after = try killed.journals.open(killed.sample.path)
        #expect(after.warnings.isEmpty, "seed \(seed)")
      }
    }
    #expect(kept > 5)
  }

  @Test("a journal whose image is gone stays for a day, and one that is not named goes at once")
  func sweep() throws {
    let killed = try Killed(.umlCOW, seed: 9)
    let name = try #require(killed.journals.names.first)
    unlink(killed.sample.path)
    func sweep(_ now: UInt64) throws {
      JournalSweep.run(try killed.journals.folder.open(making: false), now: now)
    }
    try sweep(1000)
    #expect(killed.journals.names == [name])
    try sweep(1000 + 86_000)
    #expect(killed.journals.names == [name])
    // Nothing else is ours.
    writeFile("\(killed.journals.path)/\(String(repeating: "a", count: 32))", [1, 2, 3])
    writeFile("\(killed.journals.path)/other", [])
    symlink("/etc/passwd", "\(killed.journals.path)/\(String(repeating: "b", count: 32))")
    mkfifo("\(killed.journals.path)/\(String(repeating: "c", count: 32))", 0o600)
    try sweep(1001 + 86_400)
    #expect(!killed.journals.names.contains(name))
    #expect(killed.journals.names.count == 4)
  }

  @Test("no journal is made in a folder that others may look into, or that is no folder in memory")
  func folders() throws {
    let scratch = Scratch()
    let journals = JournalScratch()
    func refusal(_ path: String) -> String {
      do throws(JournalRefusal) { try JournalFolder(path: path).check() } catch { return error.description }
      return ""
    }
    #expect(refusal(journals.path).isEmpty)
    #expect(refusal("\(journals.path)/new").isEmpty)
    chmod(journals.path, 0o750)
    #expect(refusal(journals.path).contains("may look into"))
    chmod(journals.path, 0o700)
    symlink(journals.path, "\(journals.path)/link")
    #expect(refusal("\(journals.path)/link").contains("cannot be opened"))
    #expect(refusal(scratch.path).contains("not in memory"))
    #expect(refusal(scratch.file("new")).contains("not in memory"))
    #expect(access(scratch.file("new"), F_OK) != 0)
    #expect(refusal("relative").contains("absolute"))
    if geteuid() == 0 {
      chown(journals.path, 1, 1)
      #expect(refusal(journals.path).contains("may look into"))
    }
    // A disk goes on without one, and says so.
    let sample = try JournalImageSample(.umlCOW, seed: 1)
    let lines = JournalScratch.Lines()
    let options = ImageOptions(
      lock: false,
      journal: JournalOptions(folder: JournalFolder(path: scratch.path)) { lines.append($0) })
    let disk = try openImage(path: sample.path, options: options, registry: FileRegistry())
    try disk.put([1], at: 0)
    try disk.close()
    #expect(lines.all.count == 1)
    #expect(lines.all.first?.contains("has no journal") == true)
  }

  @Test("where a folder has no space, disks go on without a journal", arguments: formats)
  func full(format: ImageFormat) throws {
    let sample = try JournalImageSample(format, seed: 4)
    let journals = JournalScratch()
    guard geteuid() == 0,
      run("/bin/mount", ["-t", "tmpfs", "-o", "size=24k,mode=700", "t", journals.path]) == 0
    else { return }
    defer { umount(journals.path) }
    var model = JournalModel(sample.start, seed: 2)
    let disk = try journals.open(sample.path)
    #expect(journals.names.count == 1)
    // All that is left is taken.
    sample.scratch.shell("head -c 1M /dev/zero >\(journals.path)/filler || true")
    for _ in 0..<60 { model.step(disk, flushes: false) }
    #expect(model.attempted == nil)
    #expect(try disk.all() == model.bytes)
    try disk.close()
    try sample.expectSound("full")
    #expect(journals.names == ["filler"])
    #expect(journals.lines.all.count == 1)
    #expect(journals.lines.all.first?.contains("without a journal") == true)
    let after = try openImage(path: sample.path, options: ImageOptions(lock: false), registry: FileRegistry())
    #expect(after.warnings.isEmpty)
    #expect(try after.all() == model.bytes)
  }
}
