// The clients that people use.
import BlockIO
import DiskImage
import Glibc
import Testing

@testable import NBD

@Suite("Clients from elsewhere") struct InteroperabilityTests {
  static let size = 8 << 20

  /// Random numbers, with holes and zeros.
  static func sparse(_ scratch: Scratch, _ name: String) {
    scratch.shell(
      """
      truncate -s \(size) \(name)
      dd if=/dev/urandom of=\(name) bs=64k count=8 conv=notrunc status=none
      dd if=/dev/urandom of=\(name) bs=64k count=5 seek=40 conv=notrunc status=none
      dd if=/dev/zero of=\(name) bs=64k count=5 seek=60 conv=notrunc status=none
      """)
  }

  @Test("nbdinfo sees what is there", arguments: [false, true])
  func information(tcp: Bool) throws {
    let scratch = Scratch()
    Self.sparse(scratch, "a")
    scratch.shell("truncate -s 1M b")
    let server = try TestServer(
      scratch, disks: ["a", "b"], address: tcp ? .tcp(host: "127.0.0.1", port: 0) : nil)
    let text = scratch.shell("nbdinfo --json '\(server.uri("a"))'; nbdinfo --list --json '\(server.uri())'")
    for expected in [
      "\"protocol\": \"newstyle-fixed\"", "\"structured\": true", "\"export-name\": \"a\"",
      "\"export-name\": \"b\"", "\"description\": \"disk b\"", "\"base:allocation\"",
      "\"export-size\": \(Self.size)", "\"can_multi_conn\": true", "\"can_fast_zero\": true",
      "\"can_cache\": true", "\"can_df\": true", "\"can_trim\": true", "\"is_rotational\": false",
      "\"block_size_preferred\": 4096", "\"block_size_maximum\": 33554432",
    ] { #expect(text.contains(expected), "\(expected) is not in \(text)") }
    #expect(scratch.shell("nbdinfo --size '\(server.uri("b"))'") == "1048576\n")
    let map = scratch.shell("nbdinfo --map '\(server.uri("a"))'").split(separator: "\n").map {
      $0.split(separator: " ").prefix(3).joined(separator: " ")
    }
    #expect(map.first == "0 524288 0")
    #expect(map.contains("524288 2097152 3"))
    server.close()
    #expect(server.lines.all == [])
  }

  @Test("nbdcopy copies in both directions", arguments: EngineKind.allCases)
  func copies(engine: EngineKind) throws {
    let scratch = Scratch()
    Self.sparse(scratch, "a")
    scratch.shell("truncate -s \(Self.size) b; cp a c")
    let server = try TestServer(scratch, disks: ["a", "b"], engine: engine)
    scratch.shell(
      """
      nbdcopy '\(server.uri("a"))' out
      cmp out c
      nbdcopy --connections=4 --flush c '\(server.uri("b"))'
      nbdcopy --connections=4 '\(server.uri("a"))' '\(server.uri("b"))'
      """)
    server.close()
    #expect(scratch.bytes("b") == scratch.bytes("c"))
    #expect(server.lines.all == [])
  }

  @Test("qemu-img converts, compares and maps", arguments: ["raw", "qcow2"])
  func qemuImg(format: String) throws {
    let scratch = Scratch()
    Self.sparse(scratch, "c")
    scratch.shell("qemu-img convert -O \(format) c a; qemu-img create -q -f \(format) b \(Self.size)")
    let server = try TestServer(
      scratch, disks: ["a", "b"], format: format == "raw" ? .raw : .qcow2, engine: .uring)
    let text = scratch.shell(
      """
      qemu-img info -f raw '\(server.uri("a"))'
      qemu-img compare -f raw -F raw '\(server.uri("a"))' c
      qemu-img convert -n -f raw -O raw c '\(server.uri("b"))'
      qemu-img compare -f raw -F raw '\(server.uri("b"))' c
      qemu-img convert -f raw -O qcow2 '\(server.uri("b"))' out
      qemu-img compare -f qcow2 -F raw out c
      qemu-img map -f raw --output=json '\(server.uri("a"))'
      """)
    #expect(text.contains("virtual size: 8 MiB"))
    #expect(text.contains("\"zero\": true"))
    server.close()
    #expect(server.lines.all == [])
  }

  @Test("qemu-io writes zeros, discards and flushes") func qemuIO() throws {
    let scratch = Scratch()
    Self.sparse(scratch, "a")
    let server = try TestServer(scratch, disks: ["a"], engine: .threads)
    scratch.shell(
      """
      qemu-io -f raw -c 'write -P 7 3 70001' -c 'write -z 4k 8k' -c 'write -z -u 20k 8k' -c 'discard 40k 4k' \
        -c 'write -f -P 9 100k 4k' -c flush -c 'read -P 0 4k 8k' -c 'read -P 0 20k 8k' \
        -c 'read -P 9 100k 4k' -c 'read -P 7 12k 8k' '\(server.uri("a"))' >log
      ! grep -i -e fail -e error log
      """)
  }

  @Test("fio verifies what it wrote") func fio() throws {
    let scratch = Scratch()
    scratch.shell("truncate -s \(Self.size) a")
    let server = try TestServer(scratch, disks: ["a"], engine: .uring)
    scratch.shell(
      """
      fio --name=v --ioengine=nbd --uri='\(server.uri("a"))' --rw=randrw --bsrange=512-64k --iodepth=32 \
        --size=\(Self.size) --verify=crc32c --verify_fatal=1 --do_verify=1 --randseed=7 >log 2>&1 || {
        cat log; exit 1; }
      """)
  }

  @Test("nbdsh gets the errors of the protocol") func nbdsh() throws {
    let scratch = Scratch()
    Self.sparse(scratch, "a")
    let server = try TestServer(scratch, disks: ["a"])
    scratch.write(
      "script.py",
      Array(
        #"""
        import errno, os
        def fails(code, function, *arguments, **named):
            try: function(*arguments, **named)
            except nbd.Error as error: assert error.errnum == code, (error, code)
            else: assert False, "it did not fail"
        h.set_strict_mode(0)
        size = h.get_size()
        assert h.pread(3, 5) == os.pread(os.open("a", os.O_RDONLY), 3, 5)
        fails(errno.EINVAL, h.pread, 512, size)
        fails(errno.ENOSPC, h.pwrite, b"x" * 512, size)
        fails(errno.EINVAL, h.trim, 512, size)
        fails(errno.EINVAL, h.cache, 512, size)
        fails(errno.EINVAL, h.flush, flags=0x80)
        h.pwrite(b"abc", 1, nbd.CMD_FLAG_FUA)
        h.zero(65536, 131072, nbd.CMD_FLAG_FAST_ZERO)
        h.zero(65536, 262144, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
        h.trim(65536, 0, nbd.CMD_FLAG_FUA)
        assert h.pread(65536, 0) == bytearray(65536)
        h.cache(65536, 0)
        h.flush()
        assert len(h.pread_structured(1 << 20, 0, lambda *_: 0, nbd.CMD_FLAG_DF)) == 1 << 20
        """#.utf8))
    // Python of the system: the module is there.
    scratch.shell(
      "PATH=/usr/bin:/bin nbdsh --base-allocation -u '\(server.uri("a"))' -c 'exec(open(\"script.py\").read())'"
    )
  }
}
