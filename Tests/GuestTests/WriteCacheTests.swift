// When a write is durable: with a FLUSH, or when it completes.
import Foundation
import Glibc
import Linux
import Testing

@Suite("The write cache of a QEMU guest's disks") struct WriteCacheTests {
  /// `WWSWS`: W a write to this file, S an fdatasync of it.
  private func events(_ trace: String, of file: String) -> String {
    var result = ""
    for line in trace.split(separator: "\n") where line.contains("/\(file)>") {
      if line.contains(" fdatasync(") { result += "S" }
      if line.contains(" pwrite") { result += "W" }
    }
    return result
  }

  @Test(
    "the guest is told the truth, and may switch it: write-through synchronises each write before its end")
  func switches() throws {
    let guest = try Guest(qemu: true)
    let folder = try Folder()
    let strace = "/usr/bin/strace"
    guard fileExists(strace) else { throw RigError("no strace: apt-get install strace") }
    let names = ["back", "through", "switched", "fixed"]
    let keys = ["", ",writethrough", "", ",writethrough"]
    let disks = try zip(names, keys).flatMap { name, key in
      let image = try folder.makeImage(name, size: 16 << 20)
      return ["--disk", "name=\(name),image=\(image),socket=\(folder / name).s,engine=synchronous\(key)"]
    }
    let serve = try Program(
      strace,
      [
        "-f", "-y", "-s", "0", "-e", "trace=pwrite64,pwritev,pwritev2,fdatasync,fsync", "-o",
        folder / "trace",
        ttblkPath, "serve",
      ] + disks, in: folder.path)
    try serve.waitFor(output: "ready")
    let script = try folder.write(
      "script",
      Load.begin + """
        cd /sys/block
        cat vda/queue/write_cache vdb/queue/write_cache vdc/queue/write_cache
        echo "write through" >vdc/cache_type
        cat vdc/queue/write_cache
        (echo "write through" >vdd/cache_type) 2>/dev/null || echo fixed
        for disk in vda vdb vdc vdd; do guest-test io /dev/$disk --op write --requests 20; done
        for disk in vda vdb vdc vdd; do guest-test flush /dev/$disk; done
        for disk in vda vdb vdc vdd; do guest-test verify /dev/$disk --requests 20; done
        echo "write back" >vdc/cache_type
        guest-test io /dev/vdc --op write --requests 20
        guest-test flush /dev/vdc

        """)
    let machine = try guest.startQEMU(
      in: folder,
      disks: names.map {
        QEMUDisk(
          socket: folder / "\($0).s", device: "num-queues=2" + ($0 == "fixed" ? ",config-wce=off" : ""))
      }, script: script)
    #expect(try machine.wait() == 0, "\(machine.output)\(machine.error)")
    #expect(
      machine.output.hasPrefix("write back\nwrite through\nwrite back\nwrite through\nfixed\n"),
      "\(machine.output)")
    #expect(machine.output.contains("ttblk-guest: exit 0"), "\(machine.output)")
    serve.signal(SIGTERM)
    #expect(try serve.wait() == 0, "\(serve.error)")

    let trace = try folder.read("trace")
    let writes = String(repeating: "W", count: 20)
    let durableWrites = String(repeating: "WS", count: 20)
    // The end of the server may synchronise once more.
    #expect(events(trace, of: "back").hasPrefix(writes + "S"), "\(events(trace, of: "back"))")
    #expect(events(trace, of: "through").hasPrefix(durableWrites), "\(events(trace, of: "through"))")
    #expect(events(trace, of: "fixed").hasPrefix(durableWrites), "\(events(trace, of: "fixed"))")
    let switched = events(trace, of: "switched")
    #expect(switched.hasPrefix(durableWrites), "\(switched)")
    #expect(switched.contains(writes + "S"), "\(switched)")
    folder.expectNothingLeft()
  }
}
