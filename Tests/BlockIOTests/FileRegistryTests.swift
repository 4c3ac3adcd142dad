// One file, one descriptor.
import Glibc
import Linux
import Testing

@testable import BlockIO

@Suite("The registry of files") struct FileRegistryTests {
  let temporary = TemporaryFile([1, 2, 3])
  let registry = FileRegistry()

  @Test("a file that is only read is opened once, under whatever names")
  func shared() throws {
    let alias = "\(temporary.path).alias"
    symlink(temporary.path, alias)
    defer { unlink(alias) }
    let one = try registry.open(temporary.path, writable: false)
    let two = try registry.open(alias, writable: false)
    #expect(one === two)
    #expect(one.isLocked && one.isReadOnly && !one.isBlockDevice && one.size == 3)
  }

  @Test("a lock that was not asked for at first is taken when it is")
  func later() throws {
    let one = try registry.open(temporary.path, writable: false, lock: false)
    #expect(!one.isLocked)
    let two = try registry.open(temporary.path, writable: false, lock: true)
    #expect(one === two && one.isLocked)
  }

  @Test(
    "a lock lasts as long as anybody has the open file; a child of ours is waited for",
    arguments: [false, true])
  func copies(isQEMU: Bool) throws {
    let style = isQEMU ? LockStyle.qemu : .uml
    var file: ImageFile? = try registry.open(temporary.path, writable: true, style: style)
    let null = open("/dev/null", O_RDWR)
    defer { close(null) }
    let child = try ChildProcess(
      path: "/bin/sleep", arguments: ["0.3"], input: file?.descriptor.rawValue ?? -1, output: null,
      error: null)
    file = nil
    let again = try registry.open(temporary.path, writable: true, style: style)
    #expect(again.isLocked)
    #expect(child.poll() != nil, "the lock was there while the child had the file")
  }

  @Test(
    "a lock lasts as long as either descriptor: late direct writes of a killed process are its own",
    arguments: [true, false], [true, false])
  func direct(isQEMU: Bool, keepsDirect: Bool) throws {
    for isLockedFirst in [true, false] {
      let style = isQEMU ? LockStyle.qemu : .uml
      func canLock(_ style: LockStyle, exclusive: Bool) -> Bool {
        let other = open(temporary.path, (exclusive ? O_RDWR : O_RDONLY) | O_CLOEXEC)
        defer { close(other) }
        var holder: pid_t = 0
        return style.take(other, exclusive: exclusive, &holder) == 0
      }
      var file: ImageFile? = try registry.open(
        temporary.path, writable: true, style: isLockedFirst ? style : nil)
      try file?.useDirect()
      try file?.lock(style)
      #expect(!canLock(.uml, exclusive: true) && !canLock(.qemu, exclusive: true))
      // As the kernel keeps what it was told to write to.
      let kept = fcntl(
        (keepsDirect ? file?.direct?.descriptor : file?.descriptor.rawValue) ?? -1, F_DUPFD_CLOEXEC, 0)
      #expect(kept >= 0)
      file = nil
      #expect(!canLock(.uml, exclusive: true) && !canLock(.qemu, exclusive: true))
      #expect(isQEMU || !canLock(.uml, exclusive: false) && !canLock(.qemu, exclusive: false))
      close(kept)
      #expect(try registry.open(temporary.path, writable: true, style: .uml).isLocked)
    }
  }

  @Test("a file that is written has one user, unless nobody wants a lock, or one only looks")
  func writer() throws {
    do {
      let writer = try registry.open(temporary.path, writable: true)
      #expect(throws: BlockIOError.inUse(path: temporary.path, writable: true)) {
        try registry.open(temporary.path, writable: true)
      }
      #expect(throws: BlockIOError.self) { try registry.open(temporary.path, writable: true, lock: false) }
      #expect(throws: BlockIOError.self) { try registry.open(temporary.path, writable: false) }
      #expect(try registry.open(temporary.path, writable: false, lock: false) === writer)
    }
    do {
      let one = try registry.open(temporary.path, writable: true, lock: false)
      let two = try registry.open(temporary.path, writable: true, lock: false)
      #expect(one === two)
    }
    let reader = try registry.open(temporary.path, writable: false)
    #expect(throws: BlockIOError.inUse(path: temporary.path, writable: false)) {
      try registry.open(temporary.path, writable: true)
    }
    #expect(reader.size == 3)
  }

  @Test("a file that was let go is opened anew")
  func reopened() throws {
    for _ in 0..<200 { _ = try registry.open(temporary.path, writable: true) }
    let other = TemporaryFile([9])
    for _ in 0..<200 { _ = try registry.open(other.path, writable: true) }
  }

  @Test("what is there tells its extents")
  func extents() throws {
    let sparse = TemporaryFile()
    truncate(sparse.path, 1 << 20)
    let descriptor = open(sparse.path, O_WRONLY)
    pwrite(descriptor, [1], 1, 500_000)
    close(descriptor)
    let file = try registry.open(sparse.path, writable: false)
    let data = try #require(file.nextData(from: 0))
    #expect(data.contains(500_000) && data.count <= 65536)
    #expect(file.nextData(from: data.upperBound) == nil)
    #expect(file.nextData(from: 1 << 20) == nil)
    #expect(try file.status().allocated < 1 << 20)
  }

  @Test("reading leaves the access time alone")
  func accessTime() throws {
    let times = [timespec(tv_sec: 1000, tv_nsec: 0), timespec(tv_sec: 2000, tv_nsec: 0)]
    utimensat(AT_FDCWD, temporary.path, times, 0)
    let file = try registry.open(temporary.path, writable: false)
    var bytes: [UInt8] = [0, 0, 0]
    try SynchronousEngine().read(file, at: 0, into: &bytes)
    var status = stat()
    stat(temporary.path, &status)
    #expect(status.st_atim.tv_sec == 1000 && status.st_mtim.tv_sec == 2000)
  }

  @Test("what cannot be opened says why")
  func failures() {
    let absent = #expect(throws: BlockIOError.self) { try registry.open("/no/such/file", writable: false) }
    #expect(absent?.description == "cannot open '/no/such/file': No such file or directory")
    #expect(absent?.code == ENOENT)
    #expect(throws: BlockIOError.notAFile(path: "/tmp")) { try registry.open("/tmp", writable: false) }
    #expect(throws: BlockIOError.notAFile(path: "/dev/null")) {
      try registry.open("/dev/null", writable: true)
    }
  }
}
