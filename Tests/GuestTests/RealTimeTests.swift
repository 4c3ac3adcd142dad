// Without time travel: kicks and calls are descriptors, time is the host's.
import Foundation
import Glibc
import Linux
import Testing

@Suite("In real time") struct RealTimeTests {
  @Test("a kernel writes, verifies, discards and zeroes a COW, and sees the disk's name and size")
  func wholeDisk() throws {
    let guest = try Guest()
    let folder = try Folder()
    let base = try folder.makeImage("base", size: 64 << 20)
    let image = try folder.makeOverlay("disk.cow", on: base)
    let before = try modificationTime(base)
    let serve = try folder.start(["serve", "--disk", "name=my-disk,image=\(image),socket=\(folder / "s")"])
    try serve.waitFor(output: "ready")
    let kernel = try guest.start(
      in: folder, sockets: [folder / "s"],
      jobs: [
        "info:/dev/vda", "io:/dev/vda,--op,write,--requests,300", "verify:/dev/vda,--requests,300",
        "io:/dev/vda,--op,write,--block,512,--requests,200,--seed,2",
        "verify:/dev/vda,--block,512,--requests,200,--seed,2",
        "io:/dev/vda,--op,write,--block,1048576,--requests,8,--seed,3",
        "verify:/dev/vda,--block,1048576,--requests,8,--seed,3", "flush:/dev/vda",
        "discard:/dev/vda,--offset,1048576,--length,1048576", "zeroout:/dev/vda",
        "io:/dev/vda,--block,1048576,--pattern,sequential,--requests,64",
      ])
    #expect(try kernel.wait() == 0, "\(kernel.output)")
    for line in [
      "serial=my-disk\n", "size=67108864\n", "ro=0\n", "verify requests=300 block=4096 ok",
      "verify requests=200 block=512 ok", "verify requests=8 block=1048576 ok", "ttblk-guest: exit 0",
    ] {
      #expect(kernel.output.contains(line), "no '\(line)' in: \(kernel.output)")
    }
    serve.signal(SIGTERM)
    #expect(try serve.wait() == 0, "\(serve.error)")
    #expect(serve.error.isEmpty)
    #expect(try modificationTime(base) == before)
    try folder.expectValid(image)
    folder.expectNothingLeft()
  }

  @Test("what one kernel wrote the next one reads, from a disk that was served anew, also read-only")
  func persistence() throws {
    let guest = try Guest()
    let folder = try Folder()
    let image = try folder.makeOverlay("disk.cow", on: try folder.makeImage("base", size: 64 << 20))
    func boot(_ job: String, _ more: String = "") throws -> Program {
      let disk = "name=d,image=\(image),socket=\(folder / "s")\(more)"
      let serve = try folder.start(["serve", "--disk", disk])
      try serve.waitFor(output: "ready")
      let kernel = try guest.start(in: folder, sockets: [folder / "s"], jobs: [job])
      try kernel.wait()
      serve.signal(SIGINT)
      #expect(try serve.wait() == 0, "\(serve.error)")
      return kernel
    }
    _ = try boot("io:/dev/vda,--op,write,--requests,200")
    let before = try modificationTime(image)
    let second = try boot("verify:/dev/vda,--requests,200", ",readonly")
    #expect(second.output.contains("verify requests=200 block=4096 ok"), "\(second.output)")
    let third = try boot("io:/dev/vda,--op,write,--requests,1", ",readonly")
    #expect(third.output.contains("error") && third.output.contains("ttblk-guest: exit 1"), "\(third.output)")
    #expect(try modificationTime(image) == before)
    folder.expectNothingLeft()
  }

  @Test("a base of 32 KiB or less, which kills a guest on UML's own ubd, is a disk like any other")
  func tinyBase() throws {
    let guest = try Guest()
    let folder = try Folder()
    let (image, base) = (folder / "disk.cow", try folder.makeImage("base", size: 16 << 10))
    #expect(try folder.ttblk("image", "create", image, "--backing", base).code == 3)
    #expect(try folder.ttblk("image", "create", image, "--backing", base, "--force").code == 0)
    let serve = try folder.start(["serve", "--disk", "name=d,image=\(image),socket=\(folder / "s")"])
    try serve.waitFor(output: "ready")
    let kernel = try guest.start(
      in: folder, sockets: [folder / "s"],
      jobs: ["io:/dev/vda,--op,write,--block,512,--requests,64", "verify:/dev/vda,--block,512,--requests,64"])
    #expect(try kernel.wait() == 0, "\(kernel.output)")
    serve.signal(SIGTERM)
    #expect(try serve.wait() == 0)
  }

  @Test("simulated time does not look at sizes again: nothing there may depend on real time")
  func sizeInSimulatedTime() throws {
    let folder = try Folder()
    let image = try folder.makeImage("raw", size: 1 << 20)
    let serve = try folder.start(
      ["serve", "--time-travel", "inf-cpu", "--disk", "name=d,image=\(image),socket=\(folder / "s")"])
    try serve.waitFor(output: "ready")
    serve.signal(SIGUSR1)
    try serve.waitFor(error: "sizes are looked at again in real time only")
    #expect(serve.isRunning)
    serve.signal(SIGTERM)
    #expect(try serve.wait() == 0)
  }
}
