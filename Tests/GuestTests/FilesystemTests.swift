// A file system on a COW disk: what was synced survives, the backing file is not touched.
import Foundation
import Glibc
import Linux
import Testing

@Suite("A file system on a COW disk") struct FilesystemTests {
  /// Who dies while the guest writes.
  enum Victim: String, CaseIterable { case kernel, ttblk }

  /// The host's mke2fs and e2fsck, run in the guest on its disk.
  private let enterHost = """
    mount -t devtmpfs devtmpfs /host/dev
    mount -t proc proc /host/proc
    host() { chroot /host "$@"; }

    """

  private func contents(_ path: String) throws -> Data { try Data(contentsOf: URL(fileURLWithPath: path)) }

  /// Makes ext4, writes and syncs a hundred files, says so, and goes on writing for ever.
  private func writeForEver(_ folder: Folder) throws -> NodeText {
    let script = try folder.write(
      "write.sh",
      """
      set -e
      \(enterHost)
      host /sbin/mke2fs -q -t ext4 /dev/vda
      mount -t ext4 /dev/vda /host/mnt 2>/dev/null || mount -t ext4 /dev/vda /tmp
      mountpoint -q /tmp && target=/tmp || target=/host/mnt
      mkdir $target/kept
      for i in $(seq 100); do seq $i $((i + 2000)) >$target/kept/$i; done
      (cd $target/kept && md5sum *) >$target/sums
      sync
      echo synced
      i=0
      while :; do i=$((i + 1)); seq $i $((i + 5000)) >$target/lost.$((i % 50)); sync; done
      """)
    return NodeText(
      keys: "script = \"\(script)\"",
      disks: [DiskText(name: "disk", source: "image = \"\(folder / "base")\"", model: "affine:20us")])
  }

  /// Mounts it again, which replays the journal, looks for what was synced, and checks the whole.
  private func remount(_ folder: Folder, _ image: String) throws -> NodeText {
    let script = try folder.write(
      "check.sh",
      """
      set -e
      \(enterHost)
      mkdir -p /tmp/m
      mount -t ext4 /dev/vda /tmp/m
      cd /tmp/m/kept
      md5sum -c ../sums | grep -c OK
      cd /
      umount /tmp/m
      host /sbin/e2fsck -fn /dev/vda >/tmp/said 2>&1 || { cat /tmp/said; exit 1; }
      echo clean
      """)
    return NodeText(
      keys: "script = \"\(script)\"", disks: [DiskText(source: "image = \"\(image)\"\noverlay = false")])
  }

  @Test(
    "what the guest synced is there after it was killed, the file system is clean, the backing file untouched",
    arguments: Victim.allCases)
  func survivesDeath(of victim: Victim) throws {
    _ = try Guest()
    let folder = try Folder()
    let base = try folder.makeImage("base", size: 128 << 20)
    // Content of its own, so that a write would show.
    try contents("/usr/sbin/mke2fs").write(to: URL(fileURLWithPath: base))
    try #require(truncate(base, 128 << 20) == 0)
    try folder.touch("base", 1_700_000_000)
    let before = (try contents(base), try modificationTime(base))

    let scenario = try folder.write("scenario.toml", try writeForEver(folder).toml)
    let program = try folder.start(["run", scenario, "--output", folder / "out"])
    try program.waitUntil("did not sync") {
      if !program.isRunning { return true }
      return folder.console("out/node.console").contains("synced")
    }
    let console = folder.console("out/node.console")
    try #require(program.isRunning, "\(program.error)\(console)")
    usleep(200_000)
    switch victim {
    case .kernel:
      for kernel in folder.kernels() { Glibc.kill(kernel, SIGKILL) }
      #expect(try program.wait() == 6)
      #expect(program.error.contains("node 'node' its kernel ended with signal 9"))
      folder.expectNothingLeft()
    case .ttblk:
      program.signal(SIGKILL)
      try program.wait()
      folder.expectNobodyLeft()
    }
    let image = folder / "out/node-disk.cow"
    try folder.expectValid(image)

    let second = try folder.run([try remount(folder, image)], output: "second")
    #expect(second.console.contains("100\nclean\n"), "\(second.console)")
    #expect(try contents(base) == before.0)
    #expect(try modificationTime(base) == before.1)
  }
}
