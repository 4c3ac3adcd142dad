// What a guest's fsync does on the host.
import Foundation
import Glibc
import Linux
import Testing

@Suite("Durability on the host") struct DurabilityTests {
  /// `DDSBS`: D a write of data, B one of the bitmap, S an fdatasync, all of the COW file. J names the journal, or
  /// takes the name back.
  private func events(_ trace: String, data: Int) -> String {
    var result = ""
    for line in trace.split(separator: "\n") where line.contains("disk.cow>") {
      if line.contains(" fdatasync(") {
        result += "S"
      } else if line.contains(" pwrite"), let offset = offset(line) {
        result += offset >= data ? "D" : offset == 4192 ? "J" : "B"
      }
    }
    return result
  }

  /// The last number before the closing parenthesis.
  private func offset(_ line: Substring) -> Int? {
    guard let end = line.range(of: ") = ", options: .backwards) else { return nil }
    let arguments = line[..<end.lowerBound].split(separator: ",")
    let numbers = arguments.compactMap { Int($0.filter { $0 != " " }) }
    // pwritev2 has flags after the offset.
    return line.contains("pwritev2") ? numbers.dropLast().last : numbers.last
  }

  @Test(
    "each fsync of the guest is data, fdatasync, bitmap, fdatasync on the host",
    arguments: ["off", "inf-cpu"])
  func fsync(timeTravel: String) throws {
    let guest = try Guest()
    let folder = try Folder()
    let strace = "/usr/bin/strace"
    guard fileExists(strace) else { throw RigError("no strace: apt-get install strace") }
    let image = try folder.makeOverlay("disk.cow", on: try folder.makeImage("base", size: 64 << 20))
    let info = try folder.ttblk("image", "info", image, "--json")
    let json = try #require(JSONSerialization.jsonObject(with: Data(info.output.utf8)) as? [String: Any])
    let dataOffset = try #require((json["cow"] as? [String: Any])?["dataOffset"] as? Int)

    // In real time the other engines make no system call for each transfer, or do it on another thread.
    let engine = timeTravel == "off" ? ",engine=synchronous" : ""
    let serve = try Program(
      strace,
      [
        "-f", "-y", "-s", "0", "-e", "trace=pwrite64,pwritev,pwritev2,fdatasync,fsync", "-o",
        folder / "trace",
        ttblkPath, "serve", "--disk", "name=disk,image=\(image),socket=\(folder / "s")\(engine)",
        "--time-travel", timeTravel,
      ], in: folder.path)
    try serve.waitFor(output: "ready")
    let kernel = try guest.start(
      in: folder, sockets: [folder / "s"], jobs: ["fsync:/dev/vda,--requests,20"],
      timeTravel: timeTravel == "off" ? nil : timeTravel)
    #expect(try kernel.wait() == 0)
    #expect(kernel.output.contains("fsync requests=20"))
    serve.signal(SIGTERM)
    #expect(try serve.wait() == 0, "\(serve.error)")

    let all = events(try folder.read("trace"), data: dataOffset)
    if timeTravel == "off" { #expect(all.hasPrefix("J") && all.hasSuffix("J"), "\(all)") }
    let events = all.filter { $0 != "J" }
    #expect(events.hasPrefix("DSBSDSBS"), "\(events)")
    #expect(events.filter { $0 == "S" }.count >= 40)
    #expect(events.filter { $0 == "D" }.count == 20)
    // A bit never reaches the disk before its data.
    #expect(!events.contains("DB"), "\(events)")
    #expect(!events.hasSuffix("D") && !events.hasSuffix("B"))
    folder.expectNothingLeft()
  }
}
