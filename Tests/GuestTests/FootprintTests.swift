// What a disk costs that nobody uses.
import Foundation
import Glibc
import Linux
import Testing

@Suite("Footprint") struct FootprintTests {
  /// Resident memory in KiB.
  private func residentMemory(_ program: Program) throws -> Int {
    let status = String(
      decoding: try readFile("/proc/\(program.identifier)/status", limit: 1 << 16), as: UTF8.self)
    let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") })
    return try #require(line.split(separator: " ").compactMap { Int($0) }.first)
  }

  @Test("a hundred idle disks cost less than a mebibyte each")
  func idleDisks() throws {
    let folder = try Folder()
    let base = try folder.makeImage("base", size: 64 << 20)
    var disks = ""
    for index in 0...100 {
      let image = try folder.makeOverlay("\(index).cow", on: base)
      disks += "[[disk]]\nname = \"d\(index)\"\nimage = \"\(image)\"\nsocket = \"\(folder / "s\(index)")\"\n"
      try folder.write("\(index).toml", disks)
    }
    func serve(_ configuration: String) throws -> Int {
      let program = try folder.start(["serve", "--config", folder / configuration])
      try program.waitFor(output: "ready")
      let memory = try residentMemory(program)
      program.signal(SIGTERM)
      #expect(try program.wait() == 0)
      return memory
    }
    let (one, many) = (try serve("0.toml"), try serve("100.toml"))
    #expect((many - one) / 100 < 1024, "\(one) KiB for one, \(many) KiB for 101")
    folder.expectNothingLeft()
  }
}
