// A real machine's kernel on our disks.
import Foundation
import Glibc
import Linux
import Testing

@Suite("A QEMU guest") struct QEMUTests {
  enum Rings: String, CaseIterable, Sendable {
    case split = "packed=off,queue-size=64"
    case packed = "packed=on,queue-size=256"
  }

  /// The disk's feature 34 as the driver has taken it.
  private let showRings = """
    for disk in vda vdb vdc; do
      echo packed $(cut -c 35 /sys/block/$disk/device/features) queues $(ls /sys/block/$disk/mq | wc -l)
    done

    """

  @Test(
    "writes and verifies every format by two queues, also when stopped meanwhile, and leaves clean file systems",
    arguments: Rings.allCases)
  func formats(rings: Rings) throws {
    let guest = try Guest(qemu: true)
    let folder = try Folder()
    let disks = try FormatDisks(folder)
    let serve = try disks.serve()
    let script = try folder.write(
      "script", Load.begin + showRings + "echo begin\n" + Load.verify(size: "8m") + Load.files)
    let machine = try guest.startQEMU(
      in: folder, disks: disks.sockets.map { QEMUDisk(socket: $0, device: "num-queues=2,\(rings.rawValue)") },
      script: script, monitor: folder / "monitor")
    try machine.waitFor(output: "begin")
    let monitor = try QEMUMonitor(folder / "monitor")
    var disturbances = 0
    while disturbances < 5, !machine.output.contains("verified") {
      usleep(200_000)
      // The rings are taken down with requests under way, and go on.
      try monitor.execute("stop")
      try monitor.execute("cont")
      disturbances += 1
      machine.collect()
    }
    #expect(disturbances > 1, "the load was over before the disturbance")
    #expect(try machine.wait() == 0, "\(machine.output)\(machine.error)")
    let isPacked = rings == .packed ? 1 : 0
    #expect(
      machine.output.contains(String(repeating: "packed \(isPacked) queues 2\n", count: 3)),
      "\(machine.output)")
    #expect(machine.output.contains("verified"))
    #expect(machine.output.contains("ttblk-guest: exit 0"), "\(machine.output)")
    serve.signal(SIGTERM)
    #expect(try serve.wait() == 0, "\(serve.error)")
    #expect(serve.error.isEmpty)
    try disks.expectClean()
    try disks.expectFilesystems()
    folder.expectNothingLeft()
  }

  @Test(
    "sees size, serial and read-only disks; discards and zeroes by ranges, and the host has its space back")
  func attributes() throws {
    let guest = try Guest(qemu: true)
    let folder = try Folder()
    let disks = try FormatDisks(folder)
    let locked = try folder.makeImage("locked", size: 3 << 20)
    let before = try modificationTime(locked)
    let serve = try disks.serve(
      more: ["--disk", "name=locked,image=\(locked),socket=\(folder / "locked.s"),readonly"])
    let script = try folder.write(
      "script",
      Load.begin + """
        for disk in vda vdb vdc vdd; do
          echo $disk $(cat /sys/block/$disk/serial) $(cat /sys/block/$disk/size) $(cat /sys/block/$disk/ro)
        done
        head -c 512 /dev/zero | dd of=/dev/vdd oflag=direct bs=512 2>/tmp/said && exit 1
        cat /tmp/said
        for disk in vda vdb vdc; do
          guest-test io /dev/$disk --op write --pattern sequential --requests 32 --block 1048576
          guest-test discard /dev/$disk --offset 8388608 --length 8388608
          guest-test zeroout /dev/$disk --offset 16777216 --length 8388608
          guest-test zeroout /dev/$disk --offset 31457792 --length 513024
          guest-test io /dev/$disk --pattern sequential --requests 8 --block 1048576 | grep -o sum=.*
          guest-test io /dev/$disk --pattern sequential --requests 64 --block 1048576 | grep -o sum=.*
        done

        """)
    let machine = try guest.startQEMU(
      in: folder, disks: (disks.sockets + [folder / "locked.s"]).map { QEMUDisk(socket: $0) }, script: script)
    #expect(try machine.wait() == 0, "\(machine.output)\(machine.error)")
    for line in [
      "vda disk-0 131072 0\n", "vdb disk-1 131072 0\n", "vdc disk-2 131072 0\n", "vdd locked 6144 1\n",
      "ttblk-guest: exit 0",
    ] {
      #expect(machine.output.contains(line), "no '\(line)' in: \(machine.output)")
    }
    let sums = machine.output.split(separator: "\n").filter { $0.hasPrefix("sum=") }
    #expect(sums.count == 6 && Set(sums).count == 2, "\(sums)")
    serve.signal(SIGTERM)
    #expect(try serve.wait() == 0, "\(serve.error)")
    #expect(serve.error.isEmpty)
    #expect(try modificationTime(locked) == before)
    try disks.expectClean()
    try disks.expectSame()
    // 32 MiB were written, 8 given back; Linux zeroes what must stay allocated.
    var status = stat()
    try #require(stat(disks.images[0], &status) == 0)
    #expect(status.st_blocks * 512 < 26 << 20)
    folder.expectNothingLeft()
  }

  @Test("follows an image that grows: SIGUSR1 has its size looked at again")
  func resize() throws {
    let guest = try Guest(qemu: true)
    let folder = try Folder()
    let image = try folder.makeImage("raw", size: 16 << 20)
    let serve = try folder.start(["serve", "--disk", "name=d,image=\(image),socket=\(folder / "s")"])
    try serve.waitFor(output: "ready")
    let script = try folder.write(
      "script",
      Load.begin + """
        host /sbin/mke2fs -q -F -t ext4 /dev/vda
        mount -t ext4 /dev/vda /m
        seq 10000 >/m/numbers
        sync
        echo waiting $(cat /sys/block/vda/size)
        while [ $(cat /sys/block/vda/size) = 32768 ]; do usleep 10000; done
        echo now $(cat /sys/block/vda/size)
        umount /m
        host /sbin/resize2fs -f /dev/vda >/dev/null 2>&1
        mount -t ext4 /dev/vda /m
        dd if=/dev/urandom of=/m/more bs=1M count=30 2>/dev/null
        (cd /m && md5sum more numbers) >/tmp/sums
        umount /m
        echo 3 >/proc/sys/vm/drop_caches
        mount -t ext4 /dev/vda /m
        (cd /m && md5sum -c /tmp/sums)
        umount /m

        """)
    let machine = try guest.startQEMU(in: folder, disks: [QEMUDisk(socket: folder / "s")], script: script)
    try machine.waitFor(output: "waiting 32768")
    // The same size is no news.
    serve.signal(SIGUSR1)
    try #require(truncate(image, 64 << 20) == 0)
    usleep(100_000)
    serve.signal(SIGUSR1)
    try serve.waitFor(error: "has 67108864 bytes now")
    #expect(try machine.wait() == 0, "\(machine.output)\(machine.error)")
    for line in ["now 131072\n", "more: OK", "numbers: OK", "ttblk-guest: exit 0"] {
      #expect(machine.output.contains(line), "no '\(line)' in: \(machine.output)")
    }
    #expect(serve.isRunning)
    serve.signal(SIGTERM)
    #expect(try serve.wait() == 0, "\(serve.error)")
    try folder.shell("/sbin/e2fsck -fn raw")
    folder.expectNothingLeft()
  }

  /// What is not flushed, of formats that keep tables in memory, is in journals.
  @Test(
    "loses nothing when the server is killed under load, and another one takes its place",
    arguments: Rings.allCases)
  func reconnect(rings: Rings) throws {
    let guest = try Guest(qemu: true)
    let folder = try Folder()
    let disks = try FormatDisks(folder)
    var serve = try disks.serve()
    var takenOver = 0
    var underLoad = 0
    let script = try folder.write(
      "script",
      Load.begin + "for i in 1 2 3 4; do\n  echo round $i\n" + Load.verify(size: "3m") + "done\n" + Load.files
    )
    let machine = try guest.startQEMU(
      in: folder,
      disks: disks.sockets.map {
        QEMUDisk(socket: $0, device: "num-queues=2,\(rings.rawValue)", reconnect: 1)
      }, script: script)
    for round in 1...3 {
      try machine.waitFor(output: "round \(round)\n")
      let before = try modificationTime(disks.images[0])
      try machine.waitUntil("wrote nothing") { try modificationTime(disks.images[0]) != before }
      // Some more than the first requests.
      usleep(100_000)
      machine.collect()
      underLoad += machine.output.contains("round \(round + 1)") ? 0 : 1
      serve.kill()
      #expect(try serve.wait() == 128 + SIGKILL)
      serve = try disks.serve()
      takenOver += serve.error.contains("took over") ? 1 : 0
    }
    #expect(try machine.wait() == 0, "\(machine.output)\(machine.error)")
    #expect(machine.output.contains("ttblk-guest: exit 0"), "\(machine.output)")
    // Later rounds write again what is there.
    #expect(takenOver > 0 && underLoad > 0)
    serve.signal(SIGTERM)
    #expect(try serve.wait() == 0, "\(serve.error)")
    try disks.expectClean(leaks: true)
    try disks.expectFilesystems()
    folder.expectNothingLeft()
  }
}
