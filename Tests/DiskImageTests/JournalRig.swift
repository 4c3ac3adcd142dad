// Disks with journals, and servers that are killed.
import BlockIO
import Glibc
import Linux
import Simulation
import Synchronization
import Testing

@testable import DiskImage

/// A folder for journals that goes with its owner.
final class JournalScratch {
  let folder: JournalFolder
  let lines = Lines()

  final class Lines: Sendable {
    private let list = Mutex([String]())
    func append(_ line: String) { list.withLock { $0.append(line) } }
    var all: [String] { list.withLock { $0 } }
  }

  init() {
    var template = Array("/dev/shm/ttblk-test.XXXXXX".utf8CString)
    _ = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!) }
    folder = JournalFolder(path: template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) })
  }

  deinit { removeTree(folder.path) }

  var path: String { folder.path }
  var names: [String] { (try? directoryEntries(path)) ?? [] }

  /// The power goes.
  func empty() { for name in names { unlink("\(path)/\(name)") } }

  func options(_ format: ImageFormat? = nil) -> ImageOptions {
    let lines = lines
    return ImageOptions(
      format: format, lock: false, journal: JournalOptions(folder: folder) { lines.append($0) })
  }

  func open(
    _ path: String, _ registry: FileRegistry = FileRegistry(), engine: any BlockEngine = SynchronousEngine()
  ) throws(DiskImageError) -> any DiskImage {
    try openImage(path: path, options: options(), registry: registry, engine: engine)
  }
}

/// Requests, what the disk must be after them, and what it may be after one that failed.
struct JournalModel {
  var bytes: [UInt8]
  /// After the request that failed.
  var attempted: [UInt8]?
  var random: RandomStream

  init(_ bytes: [UInt8], seed: UInt64) {
    self.bytes = bytes
    random = RandomStream(seed: seed, name: "journal")
  }

  /// - Returns: whether the request was done.
  @discardableResult
  mutating func step(_ disk: any DiskImage, flushes: Bool = true) -> Bool {
    let size = UInt64(bytes.count)
    let start = random.next() % size
    let end = min(size, start + 1 + random.next() % (random.next() % 4 == 0 ? 70_000 : 9000))
    let unit: UInt64 = random.next() % 3 == 0 ? 1 : 512
    let range = start / unit * unit..<min(size, (end + unit - 1) / unit * unit)
    let indices = Int(range.lowerBound)..<Int(range.upperBound)
    var next = bytes
    do throws(DiskImageError) {
      switch random.next() % 10 {
      case 0 where flushes: try disk.flush()
      case 0, 1, 2:
        next.replaceSubrange(indices, with: [UInt8](repeating: 0, count: indices.count))
        try disk.writeZeroes(range, unmap: random.next() % 2 == 0)
      default:
        let new = random.bytes(indices.count)
        next.replaceSubrange(indices, with: new)
        try disk.put(new, at: range.lowerBound)
      }
      bytes = next
      return true
    } catch {
      attempted = next
      return false
    }
  }

  /// The first byte that is neither.
  func lost(in other: [UInt8]) -> Int? {
    if other == bytes { return nil }
    return other.indices.first { other[$0] != bytes[$0] && other[$0] != attempted?[$0] }
  }

  /// Of a request that failed, either may be there: from now on what is.
  mutating func settle(_ other: [UInt8]) {
    bytes = other
    attempted = nil
  }
}

/// An image of either format with a disk to begin with.
struct JournalImageSample {
  let scratch = Scratch()
  let format: ImageFormat
  let path: String
  let start: [UInt8]

  init(_ format: ImageFormat, seed: UInt64) throws {
    self.format = format
    let registry = FileRegistry()
    if format == .qcow2 {
      let shapes = QCOW2CrashTests.shapes
      path = scratch.file("q")
      start = try QCOW2WriteTests.make(shapes[Int(seed) % shapes.count], scratch, registry, seed: seed)
    } else {
      path = scratch.file("cow")
      let size = 64 * 4096 + [0, 512, 1536, 100][Int(seed % 4)]
      let sample = COWSample(
        seed % 2 == 0 ? .v3 : .v3Align512, size: size, path: scratch.file("base"), seed: seed,
        uniform: seed % 3 == 0, density: 6)
      scratch.write("base", sample.backing)
      scratch.write("cow", sample.file)
      start = sample.ideal
    }
  }

  /// No error, says whoever knows the format best.
  func expectSound(_ comment: String) throws {
    if format == .qcow2 {
      let check = scratch.qemuCheck("q")
      #expect(check == 0 || check == 3, "\(comment)")
    } else {
      let report = try Check.run(path: path, registry: FileRegistry(), progress: Progress())
      // The sample begins with bits of sectors that do not exist.
      let damage = report.findings.filter { $0.severity == .damage && $0.kind != .strayBits }
      #expect(damage.isEmpty, "\(comment)")
    }
  }
}

extension FaultyEngine {
  /// The process is killed: what it did is done, and nothing more happens.
  func kill(_ disk: any DiskImage) throws {
    try crash { _, count in count }
    try? disk.close()
  }
}
