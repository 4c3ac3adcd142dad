// Disks whose bytes others move.
import BlockIO
import Glibc
import Simulation
import Testing

@testable import DiskImage

@Suite("Disks whose bytes others move") struct OutsideWriteTests {
  let scratch = Scratch()
  let registry = FileRegistry()
  let nothing = UnsafeBufferPointer<iovec>(start: nil, count: 0)

  /// More of a bitmap than stays in memory.
  func largeCOW(engine: any BlockEngine = SynchronousEngine()) throws -> any DiskImage {
    scratch.write("base", [])
    truncate(scratch.file("base"), 400 * 16 << 20)
    touch(scratch.file("base"), 1000)
    try UMLCOW.create(path: scratch.file("cow"), backing: scratch.file("base"), registry: registry)
    return try openImage(path: scratch.file("cow"), registry: registry, engine: engine)
  }

  func write(_ disk: any DiskImage, _ range: Range<UInt64>) throws {
    var segments: [Segment] = []
    guard case .firstTouch(let pages, nil, nil, nil) = try disk.planWrite(range, of: nothing, into: &segments)
    else {
      Issue.record("not a first touch: \(range)")
      return
    }
    #expect(segments == [Segment(.file(0), offset: segments[0].offset, count: 4096)])
    try disk.finishWrite(pages)
  }

  func isHere(_ disk: any DiskImage, _ position: UInt64) throws -> Bool {
    var segments: [Segment] = []
    disk.releaseMemory()
    try disk.plan(position..<position + 512, into: &segments)
    return segments[0].source == .file(0)
  }

  @Test("bits that are let go of between the plan and the end of a write are read again") func released()
    throws
  {
    let disk = try largeCOW()
    try write(disk, 4096..<8192)
    try flush(disk)
    var segments: [Segment] = []
    _ = try disk.planWrite(0..<4096, of: nothing, into: &segments)
    for page in 1..<400 { #expect(try !isHere(disk, UInt64(page) * 16 << 20)) }
    let bitmap = try #require(disk as? UMLCOW.Disk)
    #expect(bitmap.bitmap.loadedCount < 400)
    try disk.finishWrite(0..<4096)
    #expect(try isHere(disk, 0) && isHere(disk, 4096) && !isHere(disk, 8192))
    try disk.close()
  }

  func flush(_ disk: any DiskImage, _ result: FlushResult = .done) throws {
    let plan = try disk.beginFlush()
    let file = try #require(plan.file)
    for piece in plan.pieces { try SynchronousEngine().write(file, at: piece.offset, from: piece.bytes) }
    disk.endFlush(result)
  }

  @Test("bits on their way to the file stay in memory until they are there", arguments: [true, false])
  func flushing(succeeds: Bool) throws {
    let disk = try largeCOW()
    disk.expectOutsideWrites()
    try write(disk, 0..<4096)
    do {
      let plan = try disk.beginFlush()
      #expect(plan.pieces.map(\.bytes.count) == [4096])
      try write(disk, 4096..<8192)
      for page in 1..<400 { #expect(try !isHere(disk, UInt64(page) * 16 << 20)) }
      #expect(try isHere(disk, 0) && isHere(disk, 4096))
      #expect(plan.pieces[0].bytes.prefix(2).elementsEqual([0xff, 0]))
      disk.endFlush(succeeds ? .done : .writeFailed)
      let next = try disk.beginFlush()
      #expect(next.pieces.map { Array($0.bytes.prefix(2)) } == [[0xff, 0xff]])
    }
    disk.endFlush(.writeFailed)
    try disk.close()
    let after = try openImage(path: scratch.file("cow"), registry: registry)
    #expect(try isHere(after, 0) && isHere(after, 4096))
    try after.close()
  }

  @Test("much that waits in memory asks for a flush, and is not written while one is under way") func wants()
    throws
  {
    let engine = FaultyEngine()
    let disk = try largeCOW(engine: engine)
    for page in 0..<130 { try write(disk, UInt64(page) * 16 << 20..<UInt64(page) * 16 << 20 + 4096) }
    #expect(disk.wantsFlush)
    let plan = try disk.beginFlush()
    #expect(plan.pieces.map(\.bytes.count) == [130 * 4096] && !disk.wantsFlush)
    for page in 130..<300 { try write(disk, UInt64(page) * 16 << 20..<UInt64(page) * 16 << 20 + 4096) }
    engine.clearLog()
    #expect(disk.wantsFlush)
    try disk.put([1], at: 16 << 20)
    #expect(engine.log.map(\.operation) == [.write])
    disk.endFlush(.done)
    try disk.put([1], at: 16 << 20)
    #expect(engine.log.map(\.operation).contains(.synchronize))
    try disk.close()
  }

  @Test("a qcow2 disk writes in place where a cluster is its own, and reuses nothing while others are busy")
  func qcow2() throws {
    try QCOW2.create(path: scratch.file("q"), size: 1 << 20, clusterBits: 12, registry: registry)
    let disk = try openImage(path: scratch.file("q"), registry: registry)
    let qcow2 = try #require(disk as? QCOW2.Disk)
    var segments: [Segment] = []
    #expect(try disk.planWrite(0..<8192, of: nothing, into: &segments) == .blocking(exclusive: false))
    try disk.put([UInt8](repeating: 1, count: 8192), at: 0)
    #expect(try disk.planWrite(512..<8192, of: nothing, into: &segments) == .inPlace)
    #expect(segments.count == 1 && segments[0].count == 7680)
    segments = []
    #expect(try disk.planWrite(4096..<12288, of: nothing, into: &segments) == .blocking(exclusive: false))
    #expect(segments.isEmpty)
    let cluster = qcow2.writtenEnd
    _ = try disk.beginFlush()
    try disk.discard(0..<4096)
    disk.isBusy = true
    _ = try disk.beginFlush()
    #expect(disk.flushNeedsQuiet)
    try disk.put([UInt8](repeating: 2, count: 4096), at: 65536)
    #expect(qcow2.neededEnd > cluster)
    disk.isBusy = false
    _ = try disk.beginFlush()
    #expect(!disk.flushNeedsQuiet)
    let end = qcow2.neededEnd
    try disk.put([UInt8](repeating: 2, count: 4096), at: 131072)
    #expect(qcow2.neededEnd == end)
    try disk.close()
    #expect(scratch.qemuCheck("q") == 0)
  }
}
