// QEMU's tools, the authority on qcow2.
import BlockIO
import Foundation
import Glibc
import Testing

@testable import DiskImage

extension Scratch {
  /// Runs a shell script in the folder. QEMU's tools are no option: without them it fails.
  @discardableResult
  func shell(_ script: String) -> CInt { run("/bin/sh", ["-ec", "cd \(path)\n\(script)"]) }

  /// What `qemu-img check` ends with: 0 good, 2 corrupt, 3 leaks.
  func qemuCheck(_ name: String, _ options: String = "") -> CInt {
    shell("qemu-img check -q -f qcow2 \(options) \(name)")
  }

  /// What QEMU takes for the bytes of an image's disk.
  func qemuBytes(_ name: String, _ options: String = "-f qcow2") -> [UInt8] {
    guard shell("rm -f .raw; qemu-img convert \(options) -O raw \(name) .raw") == 0 else { return [] }
    return DiskImageTests.readFile(file(".raw"))
  }
}

/// Opens the file `q` without locks: those of an open file live on in the children that other tests start,
/// until they have become another program.
func openQCOW2(
  _ scratch: Scratch, _ registry: FileRegistry, engine: any BlockEngine = SynchronousEngine()
) throws(DiskImageError) -> any DiskImage {
  try openImage(
    path: scratch.file("q"), options: ImageOptions(lock: false), registry: registry, engine: engine)
}

/// One entry of `qemu-img map --output=json`.
struct QEMUMapEntry: Decodable, Equatable {
  let start: UInt64
  let length: UInt64
  let depth: Int
  let present: Bool
  let zero: Bool
  let data: Bool
  let offset: UInt64?

  static func map(_ scratch: Scratch, _ name: String) throws -> [QEMUMapEntry] {
    try #require(scratch.shell("qemu-img map --output=json -f qcow2 \(name) >.map") == 0)
    return try JSONDecoder().decode([QEMUMapEntry].self, from: Data(readFile(scratch.file(".map"))))
  }

  /// Why QEMU and a segment say different things; nil when they do not.
  func difference(_ segment: Segment, at position: UInt64, of disk: any DiskImage) -> String? {
    if depth != Int(segment.depth) { return "depth \(depth) is \(segment.depth)" }
    switch segment.source {
    case .zeroes:
      if present != segment.isAllocated { return "present \(present) is \(segment.isAllocated)" }
      return zero && !data ? nil : "should be zeros"
    case .compressed: return present && data && !zero && offset == nil ? nil : "should be compressed"
    case .file(let number):
      guard present, let offset else { return "should be data" }
      let ours = segment.offset + max(start, position) - position
      if offset + max(start, position) - start != ours { return "offset \(offset) is \(ours)" }
      if data, !zero { return nil }
      // QEMU looked for holes.
      let end = min(start + length, position + segment.count)
      let next = disk.files[Int(number)].nextData(from: ours)
      return next.map { $0.lowerBound >= ours + end - max(start, position) } ?? true ? nil : "not a hole"
    }
  }
}

/// Compares our plan of a whole disk with QEMU's map.
func expectSameMap(_ disk: any DiskImage, _ map: [QEMUMapEntry], _ name: String) throws {
  var segments: [Segment] = []
  try disk.plan(0..<disk.size, into: &segments)
  #expect(segments.reduce(0) { $0 + $1.count } == disk.size, "\(name)")
  #expect(map.reduce(0) { $0 + $1.length } == disk.size, "\(name)")
  var position: UInt64 = 0
  var index = 0
  for segment in segments {
    while index < map.count, map[index].start < position + segment.count {
      if let difference = map[index].difference(segment, at: position, of: disk) {
        Issue.record("\(name): \(map[index]) and \(segment) at \(position): \(difference)")
        return
      }
      if map[index].start + map[index].length > position + segment.count { break }
      index += 1
    }
    position += segment.count
  }
}
