// Making COW files, and the original tools as judges.
import BlockIO
import Glibc
import Simulation
import Testing

@testable import DiskImage

@Suite("Making COW files") struct CreateTests {
  let scratch = Scratch()
  let registry = FileRegistry()

  func failure(_ name: String = "cow", backing: String = "base", force: Bool = false) -> DiskImageError? {
    do throws(DiskImageError) {
      try UMLCOW.create(
        path: scratch.file(name), backing: scratch.file(backing), force: force, registry: registry)
      return nil
    } catch { return error }
  }

  @Test("a new file changes nothing, and is sparse")
  func fresh() throws {
    let base = scratch.write("base", [UInt8](repeating: 5, count: 1 << 20))
    #expect(failure() == nil)
    #expect(scratch.names == ["base", "cow"])
    let file = status(of: scratch.file("cow"))
    #expect(file.st_size == (1 << 20) + 262144)
    #expect(file.st_blocks * 512 <= 8192)
    #expect(file.st_mode & 0o777 == 0o644)
    let disk = try openImage(path: scratch.file("cow"), registry: registry)
    #expect(try disk.all() == [UInt8](repeating: 5, count: 1 << 20))
    let info = try ImageInfo(path: scratch.file("cow"), registry: registry)
    #expect(info.cow?.backingPath == base)
    #expect(info.cow?.allocated == 0)
    #expect(info.cow?.problem == nil)
  }

  @Test("nothing is ever overwritten")
  func exists() {
    scratch.write("base", [UInt8](repeating: 5, count: 65536))
    scratch.write("cow", [1, 2, 3])
    #expect(failure() == .exists(path: scratch.file("cow")))
    #expect(readFile(scratch.file("cow")) == [1, 2, 3])
    symlink("/nowhere/at/all", scratch.file("link"))
    #expect(failure("link") == .exists(path: scratch.file("link")))
    #expect(failure("base") == .exists(path: scratch.file("base")))
    #expect(scratch.names == ["base", "cow", "link"])
  }

  @Test("what cannot work is refused, and nothing is left behind")
  func refusals() {
    scratch.write("small", [UInt8](repeating: 5, count: 32768))
    #expect(failure(backing: "small") == .backingTooSmall(backing: scratch.file("small"), size: 32768))
    #expect(failure(backing: "absent")?.description.contains("No such file") == true)
    scratch.write("old", [UInt8](repeating: 5, count: 65536), modified: -5)
    #expect(failure(backing: "old") == .backingTimeUnrepresentable(backing: scratch.file("old"), time: -5))
    scratch.write("new", [UInt8](repeating: 5, count: 65536), modified: 1 << 32)
    #expect(
      failure(backing: "new") == .backingTimeUnrepresentable(backing: scratch.file("new"), time: 1 << 32))
    scratch.write("overlay", COWSample(.v1, size: 65536, path: "/absent", seed: 1).file)
    #expect(failure(backing: "overlay")?.description.contains("'/absent'") == true)
    scratch.write("huge", [])
    truncate(scratch.file("huge"), 8 << 40)
    guard case .backingTooLarge = failure(backing: "huge") else { return #expect(Bool(false)) as Void }
    #expect(
      failure("no/such/folder/cow", backing: "small", force: true)?.description.contains("No such file")
        == true)
    #expect(scratch.names == ["huge", "new", "old", "overlay", "small"])
    #expect(failure(backing: "small", force: true) == nil)
    #expect(scratch.names == ["cow", "huge", "new", "old", "overlay", "small"])
  }

  @Test("the path of the backing file is that of its real folder, with the name as given")
  func absolute() throws {
    mkdir(scratch.file("real"), 0o755)
    symlink("real", scratch.file("alias"))
    scratch.write("real/base", [UInt8](repeating: 5, count: 65536))
    symlink("base", scratch.file("real/link"))
    #expect(failure(backing: "alias/../alias/link") == nil)
    #expect(
      try ImageInfo(path: scratch.file("cow"), registry: registry).cow?.backingPath
        == scratch.file("real/link"))
  }

  @Test("a path too long for a header is refused")
  func longPath() throws {
    // One folder below the other, each entered on its own, for no system call takes a path this long.
    let header = UMLCOW.Header(
      backingPath: [UInt8](repeating: 65, count: 4095), backingModified: 0, backingSize: 1)
    #expect(try UMLCOW.Header(parsing: header.encoded().span.bytes) == header)
    #expect(
      failure(backing: String(repeating: "a/", count: 2100) + "b")?.description.contains("too long") == true)
  }

  @Test("an 8 TiB disk costs little memory while nobody uses it, and little when somebody does")
  func memory() throws {
    scratch.write("base", [])
    truncate(scratch.file("base"), (8 << 40) - (64 << 20))
    touch(scratch.file("base"), 1_700_000_000)
    #expect(failure() == nil)
    let disk = try openImage(path: scratch.file("cow"), registry: registry)
    let cow = try #require(disk as? UMLCOW.Disk)
    #expect(cow.bitmap.loadedCount == 0)
    // Every step meets another page of the bitmap, of which only some may stay.
    for step in UInt64(0)..<3000 {
      try disk.put([UInt8(truncatingIfNeeded: step), 1], at: step * (64 << 20) + 4095)
    }
    #expect(cow.bitmap.loadedCount <= 257)
    for step in UInt64(0)..<3000 where step % 7 == 0 {
      #expect(
        try disk.bytes(step * (64 << 20) + 4094..<step * (64 << 20) + 4097) == [
          0, UInt8(truncatingIfNeeded: step), 1,
        ])
    }
    try disk.discard(5..<(20 << 30) + 5)
    #expect(try disk.bytes(4095..<4097) == [0, 0])
    #expect(try disk.bytes((20 << 30) + 4095..<(20 << 30) + 4097) == [64, 1])
    try disk.close()
    let info = try #require(try ImageInfo(path: scratch.file("cow"), registry: registry).cow)
    // What was discarded, and two pages for each later step.
    #expect(info.allocated == (20 << 30) + 2680 * 8192)
    #expect(info.mixedPages == 0)
    #expect(info.warnings.contains { $0.contains("2 TiB") })
  }
}
