// What guests do to disks of every format: the same scripts under UML and under QEMU.
import Foundation
import Linux
import Testing

/// One disk of each format, all with the same bytes at first.
struct FormatDisks {
  let folder: Folder
  let base: String
  /// `vda`, `vdb`, `vdc`.
  let images: [String]

  static let count = 3
  static let devices = ["vda", "vdb", "vdc"]

  init(_ folder: Folder, size: String = "64M") throws {
    self.folder = folder
    // Content of its own beneath, so that what is mixed up would show.
    try folder.shell(
      """
      head -c 3M /usr/sbin/mke2fs >base; truncate -s \(size) base; cp base raw
      qemu-img create -q -f qcow2 -b base -F raw qcow2
      """)
    base = folder / "base"
    images = [folder / "raw", try folder.makeOverlay("cow", on: base), folder / "qcow2"]
  }

  var sockets: [String] { (0..<Self.count).map { folder / "s\($0)" } }

  /// Starts a server of all three, `disk-0` to `disk-2`.
  /// - Parameter keys: of the disk whose number it is given.
  func serve(_ keys: (Int) -> String = { _ in "" }, more: [String] = []) throws -> Program {
    let disks = (0..<Self.count).flatMap {
      ["--disk", "name=disk-\($0),image=\(images[$0]),socket=\(sockets[$0])\(keys($0))"]
    }
    let program = try folder.start(["serve"] + disks + more)
    try program.waitFor(output: "ready")
    return program
  }

  /// The files are in order, say we and QEMU; the base is as it was.
  /// - Parameter leaks: whether QEMU may find clusters that nothing refers to, as there are after a crash.
  func expectClean(leaks: Bool = false, sourceLocation: SourceLocation = #_sourceLocation) throws {
    try folder.shell(
      "qemu-img check -q -f qcow2 qcow2\(leaks ? " || test $? = 3" : "")", sourceLocation: sourceLocation)
    for image in images { try folder.expectValid(image, sourceLocation: sourceLocation) }
    try folder.shell(
      "head -c 3M /usr/sbin/mke2fs >again; truncate -s $(stat -c %s base) again; cmp base again",
      sourceLocation: sourceLocation)
  }

  /// All three hold the same bytes.
  func expectSame(sourceLocation: SourceLocation = #_sourceLocation) throws {
    for image in images.dropFirst() {
      let same = try folder.ttblk("image", "compare", images[0], image)
      #expect(same.code == 0, "\(image): \(same.output)\(same.error)", sourceLocation: sourceLocation)
    }
  }

  /// The host finds nothing wrong with the file systems that the guest has left.
  func expectFilesystems(sourceLocation: SourceLocation = #_sourceLocation) throws {
    for image in images {
      let flat = try folder.ttblk("image", "convert", image, folder / "flat", "--to", "raw")
      try #require(flat.code == 0, "\(flat.error)", sourceLocation: sourceLocation)
      try folder.shell("/sbin/e2fsck -fn flat; rm flat", sourceLocation: sourceLocation)
    }
  }
}

extension Folder {
  /// Runs a script of the host, which must succeed.
  func shell(_ script: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
    let program = try Program("/bin/sh", ["-ec", script], in: path)
    let code = try program.wait()
    #expect(
      code == 0, "\(script): \(program.output)\(program.error)", sourceLocation: sourceLocation)
  }
}

/// Parts of scripts for guests. The host's programs (under QEMU: some of them) are at `/host`.
enum Load {
  /// Before anything else.
  static let begin = """
    set -e
    host() { chroot /host "$@"; }
    if ! grep -q ' /host/dev ' /proc/mounts; then
      mount -t devtmpfs devtmpfs /host/dev
      mount -t proc proc /host/proc
      mount -t tmpfs tmpfs /host/tmp
    fi
    mkdir -p /m

    """

  /// Random direct writes of mixed sizes to all disks at once, from two processes each, read again and
  /// verified.
  /// - Parameter size: of what each process writes.
  static func verify(_ devices: [String] = FormatDisks.devices, size: String) -> String {
    let jobs = devices.flatMap { device in
      ["0", "32m"].map { "--name=\(device)-\($0) --filename=/dev/\(device) --offset=\($0) --size=\(size)" }
    }
    return """
      host /usr/bin/fio --output=/tmp/fio --eta=never --ioengine=libaio --iodepth=16 --direct=1 --rw=randwrite \\
        --bsrange=512-64k --blockalign=512 --verify=crc32c --verify_fatal=1 --verify_state_save=0 \\
        \(jobs.joined(separator: " \\\n  ")) || { cat /host/tmp/fio; exit 1; }
      echo verified

      """
  }

  /// Makes a file system on each disk, fills it, and reads it again from the disk.
  static let files = """
    for disk in \(FormatDisks.devices.joined(separator: " ")); do
      host /sbin/mke2fs -q -F -t ext4 /dev/$disk
      mount -t ext4 /dev/$disk /m
      for i in $(seq 40); do seq $i $((i * 300)) >/m/$i; done
      rm /m/1?
      (cd /m && md5sum [0-9]*) >/tmp/sums
      umount /m
      echo 3 >/proc/sys/vm/drop_caches
      mount -t ext4 -o ro /dev/$disk /m
      (cd /m && md5sum -c /tmp/sums) | grep -c OK
      umount /m
    done

    """
}
