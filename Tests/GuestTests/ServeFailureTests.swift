// What happens to `ttblk serve` when somebody else dies.
import Foundation
import Glibc
import Linux
import Testing

@Suite("ttblk serve outlives others") struct ServeFailureTests {
  /// Reads and writes for ever.
  private let endless = "io:/dev/vda,--op,mixed,--requests,100000000"

  private func startServe(_ folder: Folder, _ image: String, _ more: [String]) throws -> Program {
    let disk = "name=disk,image=\(image),socket=\(folder / "s")"
    let serve = try folder.start(["serve", "--disk", disk + more[0]] + more.dropFirst())
    try serve.waitFor(output: "ready")
    return serve
  }

  private func waitForWrites(_ image: String, by guest: Program) throws {
    let before = try modificationTime(image)
    try guest.waitUntil("wrote nothing") { try modificationTime(image) != before }
  }

  @Test(
    "a guest that is killed in mid-request costs its session, and the next one is served",
    arguments: ["off", "inf-cpu"])
  func killedGuest(mode: String) throws {
    let guest = try Guest()
    let folder = try Folder()
    let image = try folder.makeOverlay("disk.cow", on: try folder.makeImage("base", size: 64 << 20))
    let serve = try startServe(folder, image, ["", "--time-travel", mode])
    let timeTravel = mode == "off" ? nil : mode
    for round in 0..<3 {
      let first = try guest.start(
        in: folder, name: "first\(round)", sockets: [folder / "s"], jobs: [endless], timeTravel: timeTravel)
      try waitForWrites(image, by: first)
      first.kill()
      let second = try guest.start(
        in: folder, name: "second\(round)", sockets: [folder / "s"],
        jobs: ["io:/dev/vda,--op,write,--requests,50", "verify:/dev/vda,--requests,50", "discard:/dev/vda"],
        timeTravel: timeTravel)
      #expect(try second.wait() == 0)
      #expect(second.output.contains("verify requests=50 block=4096 ok"), "\(second.output)")
      #expect(serve.isRunning)
    }
    serve.signal(SIGTERM)
    #expect(try serve.wait() == 0, "\(serve.error)")
    try folder.expectValid(image)
    folder.expectNothingLeft()
  }

  @Test("a controller that is killed ends it with 7 and a line, after the image was flushed")
  func killedController() throws {
    let guest = try Guest()
    let folder = try Folder()
    let image = try folder.makeOverlay("disk.cow", on: try folder.makeImage("base", size: 64 << 20))
    let controller = try folder.start(["controller", "--socket", folder / "c", "--clients", "2"])
    try controller.waitFor(output: "ready")
    let serve = try startServe(
      folder, image, [",model=affine:50us", "--time-travel", "external=\(folder / "c")"])
    let kernel = try guest.start(
      in: folder, sockets: [folder / "s"], jobs: [endless], timeTravel: "ext:7:\(folder / "c")")
    try waitForWrites(image, by: kernel)
    controller.signal(SIGKILL)
    try controller.wait()
    #expect(try serve.wait() == 7)
    #expect(
      serve.error.contains("controller") && serve.error.split(separator: "\n").count == 1, "\(serve.error)")
    kernel.kill()
    // A killed controller cannot take its socket away; the next one can.
    try FileManager.default.removeItem(atPath: folder / "c")
    let info = try folder.ttblk("image", "info", image, "--json")
    let json = try #require(JSONSerialization.jsonObject(with: Data(info.output.utf8)) as? [String: Any])
    let cow = try #require(json["cow"] as? [String: Any])
    #expect(cow["valid"] as? Bool == true)
    #expect(try #require(cow["allocated"] as? Int) > 0, "what was written without a flush is in the bitmap")
    folder.expectNothingLeft()
  }

  @Test("a second client of one disk is turned away, and the first one does not notice")
  func secondClient() throws {
    let guest = try Guest()
    let folder = try Folder()
    let image = try folder.makeOverlay("disk.cow", on: try folder.makeImage("base", size: 64 << 20))
    let serve = try startServe(folder, image, [""])
    let first = try guest.start(in: folder, name: "first", sockets: [folder / "s"], jobs: [endless])
    try waitForWrites(image, by: first)
    let intruder = try UnixSocket.connect(to: folder / "s")
    try serve.waitFor(error: "a second client was turned away")
    try waitForWrites(image, by: first)
    #expect(first.isRunning && serve.isRunning)
    _ = consume intruder
    first.kill()
    serve.signal(SIGINT)
    #expect(try serve.wait() == 0)
    folder.expectNothingLeft()
  }
}
