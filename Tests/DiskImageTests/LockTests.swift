// Locks, seen from another process: UML's fcntl(2) locks, taken by Perl.
import BlockIO
import Glibc
import Linux
import Testing

@testable import DiskImage

private let hasPerl = access("/usr/bin/perl", X_OK) == 0

/// struct flock of x86-64 and arm64: type, whence, start, length, pid.
private let script = """
  use Fcntl;
  my ($path, $mode, $stay) = @ARGV;
  open(my $file, $mode eq 'w' ? '+<' : '<', $path) or exit 2;
  my $lock = pack('s s x4 q q i x4', $mode eq 'w' ? F_WRLCK : F_RDLCK, 0, 0, 0, 0);
  fcntl($file, F_SETLK, $lock) or exit 1;
  if ($stay) { syswrite(STDOUT, "x"); sleep 60; }
  """

@Suite("Locks", .enabled(if: hasPerl)) struct LockTests {
  let scratch = Scratch()
  let registry = FileRegistry()

  init() throws {
    let base = scratch.write("base", [UInt8](repeating: 1, count: 65536))
    try UMLCOW.create(path: scratch.file("a"), backing: base, registry: FileRegistry())
    try UMLCOW.create(path: scratch.file("b"), backing: base, registry: FileRegistry())
  }

  /// Whether another process could lock the file now.
  func othersCan(_ mode: String, _ name: String) -> Bool {
    run("/usr/bin/perl", ["-e", script, scratch.file(name), mode]) == 0
  }

  /// Another process that holds a lock as long as the result lives.
  func holder(_ mode: String, _ name: String) throws -> ChildProcess {
    let null = open("/dev/null", O_RDWR)
    defer { close(null) }
    var ends: [CInt] = [0, 0]
    #expect(pipe(&ends) == 0)
    defer {
      close(ends[0])
      close(ends[1])
    }
    let child = try ChildProcess(
      path: "/usr/bin/perl", arguments: ["-e", script, scratch.file(name), mode, "stay"], input: null,
      output: ends[1], error: null)
    var byte: UInt8 = 0
    #expect(read(ends[0], &byte, 1) == 1)
    return child
  }

  @Test("an open disk keeps writers from both files, and readers from the COW file")
  func held() throws {
    let disk = try openImage(path: scratch.file("a"), registry: registry)
    #expect(!othersCan("r", "a"))
    #expect(!othersCan("w", "a"))
    #expect(othersCan("r", "base"))
    #expect(!othersCan("w", "base"))
    try disk.close()
    #expect(othersCan("w", "a"))
    #expect(othersCan("w", "base"))
  }

  @Test("closing one of two disks over one base does not drop the lock of the other")
  func shared() throws {
    let one = try openImage(path: scratch.file("a"), registry: registry)
    let two = try openImage(path: scratch.file("b"), registry: registry)
    // Looking at what is open must not drop a lock either.
    _ = try ImageInfo(path: scratch.file("a"), registry: registry)
    #expect(!othersCan("w", "a"))
    try one.close()
    #expect(!othersCan("w", "base"))
    #expect(!othersCan("w", "b"))
    try two.close()
    #expect(othersCan("w", "base"))
  }

  @Test("who is in the way is named")
  func named() throws {
    let child = try holder("w", "a")
    let expected = BlockIOError.locked(path: scratch.file("a"), holder: child.identifier, command: "perl")
    #expect(throws: DiskImageError.file(expected)) {
      try openImage(path: scratch.file("a"), registry: registry)
    }
    #expect(expected.description.contains("process \(child.identifier) (perl)"))
    // Without locks, as with ubd's flag c, it opens.
    let disk = try openImage(path: scratch.file("a"), options: ImageOptions(lock: false), registry: registry)
    #expect(try disk.bytes(0..<1) == [1])
    child.kill()
  }

  @Test("a base that somebody writes to is refused")
  func writtenBase() throws {
    let child = try holder("w", "base")
    do throws(DiskImageError) {
      _ = try openImage(path: scratch.file("a"), registry: registry)
      #expect(Bool(false))
    } catch {
      guard case .backingUnavailable(_, _, .locked(_, let holder, _)) = error else {
        return #expect(Bool(false), "\(error)") as Void
      }
      #expect(holder == child.identifier)
    }
    // What was opened on the way is closed again.
    #expect(othersCan("w", "a"))
    child.kill()
  }

  @Test("readers share, and keep writers out")
  func readers() throws {
    let child = try holder("r", "a")
    let disk = try openImage(
      path: scratch.file("a"), options: ImageOptions(readOnly: true), registry: registry)
    #expect(!othersCan("w", "a"))
    try disk.close()
    #expect(throws: DiskImageError.self) { try openImage(path: scratch.file("a"), registry: registry) }
    child.kill()
  }

  @Test("within a process a file that is written has one user")
  func inside() throws {
    let disk = try openImage(path: scratch.file("a"), registry: registry)
    #expect(throws: DiskImageError.file(.inUse(path: scratch.file("a"), writable: true))) {
      try openImage(path: scratch.file("a"), registry: registry)
    }
    #expect(throws: DiskImageError.self) {
      try openImage(path: scratch.file("a"), options: ImageOptions(readOnly: true), registry: registry)
    }
    // A base in use cannot be opened as a disk to write to.
    #expect(throws: DiskImageError.file(.inUse(path: scratch.file("base"), writable: false))) {
      try openImage(path: scratch.file("base"), registry: registry)
    }
    try disk.close()
    _ = try openImage(path: scratch.file("base"), registry: registry)
  }
}
