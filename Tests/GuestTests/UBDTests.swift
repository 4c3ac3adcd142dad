// COW files that UML's own driver and ours take turns with.
import BlockIO
import DiskImage
import Foundation
import Glibc
import Linux
import Simulation
import Testing

@Suite("UML's own block driver") struct UBDTests {
  /// The sum that a script printed.
  private func sum(_ program: Program) -> String? {
    program.output.split(separator: "\n").first { $0.hasPrefix("sum ") }.map { String($0.dropFirst(4)) }
  }

  private func random(_ count: Int, _ random: inout RandomStream) -> [UInt8] {
    (0..<(count + 7) / 8).map { _ in random.next() }.withUnsafeBytes { Array($0.prefix(count)) }
  }

  /// Writes pieces of any length anywhere, and does the same to an array.
  private func scribble(_ image: String, _ model: inout [UInt8], _ generator: inout RandomStream) throws {
    let disk = try openImage(path: image, registry: FileRegistry())
    for round in 0..<400 {
      let start = Int(generator.next() % UInt64(model.count))
      let count = min(Int(generator.next() % 9000) + 1, model.count - start)
      let range = UInt64(start)..<UInt64(start + count)
      switch generator.next() % 8 {
      case 0:
        try disk.writeZeroes(range, unmap: round % 2 == 0)
        model.replaceSubrange(start..<start + count, with: [UInt8](repeating: 0, count: count))
      default:
        var bytes = random(count, &generator)
        model.replaceSubrange(start..<start + count, with: bytes)
        try write(&bytes, to: disk, at: range.lowerBound)
      }
    }
    try disk.close()
  }

  private func write(
    _ bytes: inout [UInt8], to disk: any DiskImage, at offset: UInt64
  ) throws(DiskImageError) {
    try bytes.withUnsafeMutableBufferPointer { (buffer) throws(DiskImageError) in
      let parts = [iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)]
      try parts.withUnsafeBufferPointer { (parts) throws(DiskImageError) in
        try disk.write(at: offset, from: parts)
      }
    }
  }

  /// The sum of an array, by the host's md5sum.
  private func sum(_ bytes: [UInt8], in folder: Folder) throws -> String {
    try Data(bytes).write(to: URL(fileURLWithPath: folder / "model"))
    let program = try Program("/usr/bin/md5sum", [folder / "model"])
    #expect(try program.wait() == 0)
    return String(program.output.prefix(32))
  }

  @Test("a kernel's ubd reads what we wrote, and we read what it wrote", arguments: 0..<2 as Range<UInt64>)
  func turns(seed: UInt64) throws {
    let guest = try Guest()
    let folder = try Folder()
    var generator = RandomStream(seed: seed, name: "ubd")
    // A last page that is not whole is no page of ubd's.
    let base = random(6 << 20, &generator)
    try Data(base).write(to: URL(fileURLWithPath: folder / "base"))
    try folder.touch("base", 1_700_000_000)
    let image = try folder.makeOverlay("disk.cow", on: folder / "base")
    var model = base
    let piece = random(7 * 4096, &generator)
    try Data(piece).write(to: URL(fileURLWithPath: folder / "piece"))
    for turn in 0..<2 {
      try scribble(image, &model, &generator)
      let place = Int(generator.next() % UInt64(model.count / 4096 - 7))
      let script = try folder.write(
        "turn.sh",
        """
        set -e
        echo "sum $(md5sum </dev/ubda)"
        dd if=/host\(folder.path)/piece of=/dev/ubda bs=4096 seek=\(place) conv=notrunc,fsync 2>/dev/null
        """)
      let kernel = try guest.start(in: folder, name: "turn\(turn)", ubd: image, script: script)
      #expect(try kernel.wait() == 0, "\(kernel.output)")
      #expect(kernel.output.contains("ttblk-guest: exit 0"), "\(kernel.output)")
      #expect(try self.sum(kernel)?.prefix(32) ?? "" == sum(model, in: folder), "turn \(turn)")
      model.replaceSubrange(place * 4096..<place * 4096 + piece.count, with: piece)
      let disk = try openImage(path: image, options: ImageOptions(readOnly: true), registry: FileRegistry())
      try disk.close()
      try #require(try folder.ttblk("image", "merge", image, folder / "merged", "--force").code == 0)
      let isSame = try Array(Data(contentsOf: URL(fileURLWithPath: folder / "merged"))) == model
      #expect(isSame, "turn \(turn)")
      let check = try folder.ttblk("image", "check", "--strict", image)
      #expect(check.code == 0, "\(check.output)")
    }
    let isBaseSame = try Array(Data(contentsOf: URL(fileURLWithPath: folder / "base"))) == base
    #expect(isBaseSame)
    folder.expectNobodyLeft()
  }
}
