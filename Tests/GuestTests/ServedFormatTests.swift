// Guests on qcow2.
import Foundation
import Linux
import Testing

@Suite("Guests on qcow2") struct ServedFormatTests {
  enum Disk: String, CaseIterable, Sendable {
    case qcow2
    /// A UML COW file over a qcow2 file.
    case cowOverQCOW2
    /// A qcow2 file over a qcow2 file, which has compressed clusters.
    case chain
  }

  private func shell(_ folder: Folder, _ script: String) throws -> Program {
    let program = try Program("/bin/sh", ["-ec", script], in: folder.path)
    let code = try program.wait()
    #expect(code == 0, "\(script): \(program.error)")
    return program
  }

  private func makeDisk(_ disk: Disk, _ folder: Folder) throws -> String {
    // Content of its own beneath, so that what is mixed up would show.
    _ = try shell(
      folder,
      """
      head -c 3M /usr/sbin/mke2fs >raw; truncate -s 64M raw
      qemu-img convert -f raw -O qcow2 -c raw beneath
      """)
    switch disk {
    case .qcow2: _ = try shell(folder, "qemu-img convert -f raw -O qcow2 raw disk")
    case .cowOverQCOW2:
      let made = try folder.ttblk("image", "create", folder / "disk", "--backing", folder / "beneath")
      try #require(made.code == 0, "\(made.error)")
    case .chain:
      _ = try shell(folder, "qemu-img create -q -f qcow2 -o cluster_size=4096 -b beneath -F qcow2 disk")
    }
    return folder / "disk"
  }

  /// QEMU has no errors to report of the files, and those below did not change.
  private func expectClean(_ disk: Disk, _ folder: Folder, _ beneath: Data) throws {
    #expect(try Data(contentsOf: URL(fileURLWithPath: folder / "beneath")) == beneath)
    if disk != .cowOverQCOW2 { _ = try shell(folder, "qemu-img check -q -f qcow2 disk") }
    let check = try folder.ttblk("image", "check", "--strict", folder / "disk")
    #expect(check.code == 0, "\(check.output)\(check.error)")
  }

  @Test("a served disk is written, verified, discarded and zeroed by a kernel", arguments: Disk.allCases)
  func served(disk: Disk) throws {
    let guest = try Guest()
    let folder = try Folder()
    let image = try makeDisk(disk, folder)
    let beneath = try Data(contentsOf: URL(fileURLWithPath: folder / "beneath"))
    func boot(_ jobs: [String]) throws -> String {
      let serve = try folder.start(["serve", "--disk", "name=d,image=\(image),socket=\(folder / "s")"])
      try serve.waitFor(output: "ready")
      let kernel = try guest.start(in: folder, sockets: [folder / "s"], jobs: jobs)
      #expect(try kernel.wait() == 0, "\(kernel.output)")
      serve.signal(SIGTERM)
      #expect(try serve.wait() == 0, "\(serve.error)")
      return kernel.output
    }
    _ = try boot([
      "io:/dev/vda,--op,write,--requests,300", "verify:/dev/vda,--requests,300", "flush:/dev/vda",
    ])
    try expectClean(disk, folder, beneath)
    let output = try boot([
      "verify:/dev/vda,--requests,300", "io:/dev/vda,--op,write,--block,512,--requests,200,--seed,2",
      "verify:/dev/vda,--block,512,--requests,200,--seed,2",
      "discard:/dev/vda,--offset,1048576,--length,1048576", "zeroout:/dev/vda",
    ])
    #expect(output.contains("verify requests=200 block=512 ok"), "\(output)")
    try expectClean(disk, folder, beneath)
    // Everything is zeros now, to us and to QEMU.
    _ = try shell(folder, "truncate -s 64M zeros")
    let same = try folder.ttblk("image", "compare", image, folder / "zeros", "--second-format", "raw")
    #expect(same.code == 0, "\(same.output)\(same.error)")
    if disk != .cowOverQCOW2 { _ = try shell(folder, "qemu-img compare -q -f qcow2 -F raw disk zeros") }
    folder.expectNothingLeft()
  }

  @Test("ext4 on it is found again by the next run, and by QEMU", arguments: Disk.allCases)
  func filesystem(disk: Disk) throws {
    let folder = try Folder()
    let image = try makeDisk(disk, folder)
    let beneath = try Data(contentsOf: URL(fileURLWithPath: folder / "beneath"))
    func node(_ name: String, _ commands: String) throws -> NodeText {
      let script = try folder.write(
        name,
        """
        set -e
        mount -t devtmpfs devtmpfs /host/dev
        mount -t proc proc /host/proc
        \(commands)
        """)
      return NodeText(
        keys: "script = \"\(script)\"",
        disks: [DiskText(source: "image = \"\(image)\"\noverlay = false", model: "affine:20us")])
    }
    _ = try folder.run(
      [
        try node(
          "write.sh",
          """
          chroot /host /sbin/mke2fs -q -t ext4 /dev/vda
          mount -t ext4 /dev/vda /tmp
          for i in $(seq 60); do seq $i $((i + 2000)) >/tmp/$i; done
          (cd /tmp && md5sum [0-9]*) >/tmp/sums
          umount /tmp
          """)
      ], output: "first", warns: disk == .cowOverQCOW2)
    try expectClean(disk, folder, beneath)
    let second = try folder.run(
      [
        try node(
          "check.sh",
          """
          mount -t ext4 -o ro /dev/vda /tmp
          cd /tmp
          md5sum -c sums | grep -c OK
          """)
      ], output: "second", warns: disk == .cowOverQCOW2)
    #expect(second.console.contains("60\n"), "\(second.console)")
    try expectClean(disk, folder, beneath)
    if disk == .cowOverQCOW2 {
      _ = try folder.ttblk("image", "merge", image, folder / "flat")
    } else {
      _ = try shell(folder, "qemu-img convert -f qcow2 -O raw disk flat")
    }
    _ = try shell(folder, "e2fsck -fn flat")
    folder.expectNothingLeft()
  }
}
