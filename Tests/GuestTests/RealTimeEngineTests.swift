// Every engine and every format under UML in real time.
import Foundation
import Glibc
import Linux
import Testing

@Suite("Engines and formats in real time") struct RealTimeEngineTests {
  static let keys = [
    "engine=io_uring", "engine=libaio", "engine=threads", "engine=synchronous", "engine=io_uring,direct",
    "engine=libaio,direct", "engine=threads,direct",
  ]

  @Test("a kernel verifies what it wrote, and leaves clean file systems", arguments: keys)
  func load(keys: String) throws {
    let guest = try Guest()
    let folder = try Folder()
    let disks = try FormatDisks(folder)
    let serve = try disks.serve { _ in "," + keys }
    let script = try folder.write("script", Load.begin + Load.verify(size: "4m") + Load.files)
    let kernel = try guest.start(in: folder, sockets: disks.sockets, script: script, memory: "256M")
    #expect(try kernel.wait() == 0, "\(kernel.output)")
    #expect(kernel.output.contains("verified\n30\n30\n30\n"), "\(kernel.output)")
    #expect(kernel.output.contains("ttblk-guest: exit 0"), "\(kernel.output)")
    serve.signal(SIGTERM)
    #expect(try serve.wait() == 0, "\(serve.error)")
    #expect(serve.error.isEmpty)
    try disks.expectClean()
    try disks.expectFilesystems()
    folder.expectNothingLeft()
  }

  @Test("the same writes leave the same bytes, whatever moves them and wherever they are")
  func sameBytes() throws {
    var sums: Set<Substring> = []
    for keys in Self.keys { sums.formUnion(try sumsOfWrites(keys)) }
    // One of all reads, and one of nothing, which writes have.
    #expect(sums.count == 2, "\(sums)")
  }

  /// Writes, discards and zeroes parts of all disks, over one another, and reads all of them.
  private func sumsOfWrites(_ keys: String) throws -> [Substring] {
    let guest = try Guest()
    let folder = try Folder()
    let disks = try FormatDisks(folder, size: "16M")
    let serve = try disks.serve { _ in "," + keys }
    let jobs = FormatDisks.devices.map { "/dev/\($0)" }.flatMap { device in
      [
        "io:\(device),--op,write,--block,1048576,--requests,6",
        "zeroout:\(device),--offset,4096,--length,2097152",
        "io:\(device),--op,write,--block,512,--requests,300,--seed,2",
        "zeroout:\(device),--offset,5242368,--length,1049088",
        "io:\(device),--op,write,--block,4608,--requests,100,--seed,3",
        "verify:\(device),--block,4608,--requests,100,--seed,3",
        "io:\(device),--block,1048576,--pattern,sequential,--requests,16,--seed,4",
      ]
    }
    let kernel = try guest.start(in: folder, sockets: disks.sockets, jobs: jobs)
    #expect(try kernel.wait() == 0, "\(keys): \(kernel.output)")
    serve.signal(SIGTERM)
    #expect(try serve.wait() == 0, "\(keys): \(serve.error)")
    try disks.expectClean()
    try disks.expectSame()
    folder.expectNothingLeft()
    return kernel.output.split { $0 == " " || $0 == "\n" }.filter { $0.hasPrefix("sum=") }
  }
}
