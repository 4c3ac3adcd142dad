// What `ttblk serve` is told to listen on, and clients without a guest.
import Foundation
import Glibc
import Linux
import Testing

@Suite("Clients of serve") struct ServeClientTests {
  @Test("the conventions of back-end programs: capabilities, a socket by path, the end with the client")
  func conventions() throws {
    let folder = try Folder()
    let capabilities = try folder.ttblk("serve", "--print-capabilities")
    #expect(capabilities.code == 0 && capabilities.output.contains("\"type\": \"block\""))
    let image = try folder.makeImage("disk.img", size: 16 << 20)
    let serve = try folder.start([
      "serve", "--socket-path", folder / "s", "--blk-file", image, "--exit-on-disconnect", "--verbose",
    ])
    try serve.waitFor(output: "ready")
    try serve.waitFor(output: "disk 'disk': ")
    let load = try folder.ttblk(
      "bench", "block", folder / "s", "--pattern", "randwrite", "--touch-once", "1000", "--queues", "2")
    #expect(load.code == 0 && load.output.contains("2000 requests"), "\(load)")
    #expect(try serve.wait() == 0, "\(serve.error)")
    folder.expectNothingLeft()
  }

  @Test(
    "what makes no sense is refused in one line",
    arguments: [
      ["--socket-path", "s"], ["--blk-file", "x"], ["--fd", "3", "--socket-path", "s", "--blk-file", "x"],
      ["--disk", "name=a,image=x,nbd=nowhere:x"], ["--disk", "name=a,image=x"],
      ["--disk", "name=a,image=x,socket=s,engine=steam"], ["--disk", "name=a,image=x,socket=s,queues=0"],
      ["--disk", "name=a,image=x,socket=s,direct,direct"],
      ["--disk", "name=a,image=x,socket=s,writethrough", "--time-travel", "inf-cpu"],
      ["--disk", "name=a,image=x,socket=s,queues=1", "--time-travel", "inf-cpu"],
      ["--disk", "name=a,image=x,socket=s", "--tls-psk", "keys"],
      ["--disk", "name=a,image=x,nbd=unix:s", "--tls-verify-clients"],
      ["--disk", "name=a,image=x,nbd=unix:s", "--tls-psk", "keys", "--tls-verify-clients"],
      ["--disk", "name=a,image=x,nbd=unix:s", "--time-travel", "inf-cpu", "--tls-psk", "keys"],
    ])
  func nonsense(arguments: [String]) throws {
    let folder = try Folder()
    let result = try folder.ttblk(["serve"] + arguments)
    #expect(result.code == 64, "\(result)")
    #expect(result.error.split(separator: "\n").count == 1, "\(result.error)")
  }

  @Test("a socket that was inherited is served, and stays where it is")
  func inherited() throws {
    let folder = try Folder()
    let image = try folder.makeImage("disk.img", size: 16 << 20)
    let script = """
      import os, socket, sys
      s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(4)
      os.dup2(s.fileno(), 3); os.set_inheritable(3, True)
      os.execv(sys.argv[2], [sys.argv[2], "serve", "--fd", "3", "--blk-file", sys.argv[3]])
      """
    let serve = try Program(
      "/usr/bin/python3", ["-c", script, folder / "s", ttblkPath, image], in: folder.path)
    try serve.waitFor(output: "ready")
    for more in [[], ["--poll"]] {
      let load = try folder.ttblk(["bench", "block", folder / "s", "--milliseconds", "50"] + more)
      #expect(load.code == 0, "\(load)")
    }
    serve.signal(SIGTERM)
    #expect(try serve.wait() == 0, "\(serve.error)")
    #expect(fileExists(folder / "s"))
  }

  @Test("disks that share an NBD address are found by name, while a vhost-user client writes")
  func sharedAddress() throws {
    let folder = try Folder()
    let first = try folder.makeImage("a.img", size: 16 << 20)
    let second = try folder.makeOverlay("b.cow", on: try folder.makeImage("base", size: 8 << 20))
    let address = "unix:\(folder / "n")"
    let serve = try folder.start([
      "serve", "--disk", "name=a,image=\(first),socket=\(folder / "s"),nbd=\(address)", "--disk",
      "name=b,image=\(second),nbd=\(address)", "--report", folder / "report",
    ])
    try serve.waitFor(output: "ready")
    let load = try folder.ttblk(
      "bench", "block", folder / "s", "--pattern", "write", "--touch-once", "4000", "--depth", "8")
    #expect(load.code == 0, "\(load)")
    for (name, size) in [("a", 16 << 20), ("b", 8 << 20)] {
      let info = try Program(
        "/usr/bin/nbdinfo", ["--size", "nbd+unix:///\(name)?socket=\(folder / "n")"], in: folder.path)
      #expect(try info.wait() == 0 && info.output.contains("\(size)"), "\(info.output)\(info.error)")
    }
    let copy = try Program(
      "/usr/bin/nbdcopy", ["nbd+unix:///a?socket=\(folder / "n")", folder / "copy"], in: folder.path)
    #expect(try copy.wait() == 0, "\(copy.output)\(copy.error)")
    #expect(FileManager.default.contentsEqual(atPath: first, andPath: folder / "copy"))
    serve.signal(SIGTERM)
    #expect(try serve.wait() == 0, "\(serve.error)")
    // Of one disk: what the vhost-user client wrote, and what the NBD client read, which leaves holes out.
    let report = try folder.read("report")
    let read = report.split(separator: "\n").first { $0.hasPrefix("bytes-read = ") }?.split(separator: " ")
      .last
    #expect(report.contains("writes = 4000\n"), "\(report)")
    #expect(try #require(read.flatMap { Int($0) }) >= 4000 * 4096, "\(report)")
    folder.expectNothingLeft()
  }

  @Test("clients with a key get in where the configuration asks for TLS, and others do not")
  func sharedKey() throws {
    let folder = try Folder()
    let image = try folder.makeImage("a.img", size: 16 << 20)
    _ = try folder.write("keys", "alice:00ff00ff00ff00ff\n")
    let configuration = try folder.write(
      "serve.toml",
      """
      tls-psk = "keys"
      [[disk]]
      name = "a"
      image = "\(image)"
      nbd = "unix:\(folder / "n")"
      """)
    let serve = try folder.start(["serve", "--config", configuration])
    try serve.waitFor(output: "ready")
    func size(_ uri: String) throws -> (code: Int32, text: String) {
      let info = try Program("/usr/bin/nbdinfo", ["--size", uri], in: folder.path)
      return (try info.wait(), info.output)
    }
    let secured = try size("nbds+unix://alice@/a?socket=\(folder / "n")&tls-psk-file=\(folder / "keys")")
    #expect(secured.code == 0 && secured.text == "\(16 << 20)\n")
    #expect(try size("nbd+unix:///a?socket=\(folder / "n")").code != 0)
    serve.signal(SIGTERM)
    #expect(try serve.wait() == 0, "\(serve.error)")
    folder.expectNothingLeft()
  }
}
