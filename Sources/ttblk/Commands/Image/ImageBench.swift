// ttblk image bench
import ArgumentParser
import BlockIO
import DiskImage
import Glibc
import Linux
import Simulation
import Telemetry

struct ImageBenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench",
    abstract: "Read from an image, or write to it, and say how fast that was.",
    discussion: """
      One request at a time, by plain system calls, through the page cache: what the format costs, not what \
      the medium can do. --write destroys what the image holds.
      """)

  enum Pattern: String, ExpressibleByArgument, CaseIterable {
    case random, sequential
  }

  @Argument(help: "The image.", completion: .file())
  var image: String

  @Option(help: "The format of the image, instead of a guess.")
  var format: ImageFormat?

  @Option(help: "How many requests.")
  var count = 75_000

  @Option(help: ArgumentHelp("Bytes of a request, a multiple of 512.", valueName: "bytes"))
  var size = ByteCount(bytes: 4096)

  @Option(help: "Where: random places (the same each time), or one behind the other.")
  var pattern = Pattern.random

  @Flag(help: "Write instead of reading; what the image holds is lost.")
  var write = false

  @Option(help: ArgumentHelp("With --write, a flush after so many requests; 0 for none.", valueName: "n"))
  var flushInterval = 0

  @Flag(help: "Print JSON.")
  var json = false

  @OptionGroup var progress: ProgressOptions

  func validate() throws {
    guard count > 0, flushInterval >= 0 else { throw ValidationError("--count is at least 1") }
    guard (512...(64 << 20)).contains(size.bytes), size.bytes % 512 == 0 else {
      throw ValidationError("--size is a multiple of 512 up to 64M")
    }
  }

  func run() throws {
    let progress = try progress.start("bench")
    let disk = try openImage(
      path: image, options: ImageOptions(format: format, readOnly: !write), registry: makeRegistry())
    let nanoseconds = try measure(disk, progress: progress)
    try disk.close()
    let seconds = Double(nanoseconds) / 1e9
    let rate = Double(count) / seconds
    if json {
      announce(
        JSONValue.object([
          "requests": .integer(Int64(count)), "size": .unsigned(size.bytes), "seconds": .number(seconds),
          "requestsPerSecond": .number(rate.rounded()),
          "bytesPerSecond": .number((rate * Double(size.bytes)).rounded()),
        ]).indented)
    } else {
      let bytes = ByteText.short(UInt64(rate * Double(size.bytes)))
      announce("\(count) requests of \(size.bytes) bytes: \(UInt64(rate)) a second, \(bytes)/s")
    }
  }

  /// Nanoseconds that the requests take, one after the other.
  private func measure(_ disk: any DiskImage, progress: Progress) throws -> UInt64 {
    let size = size.bytes
    guard disk.size >= size else {
      throw CommandFailure(.refused, "'\(image)' has \(disk.size) bytes, fewer than a request of \(size)")
    }
    let places = disk.size / size
    try progress.begin(write ? "writing" : "reading", total: UInt64(count) * size)
    // SAFETY: the buffer is as long as a request, and lives until the end of this call.
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(size), alignment: 4096)
    defer { buffer.deallocate() }
    buffer.initializeMemory(as: UInt8.self, repeating: 0x5a)
    var part = iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
    var random = RandomStream(seed: 1, name: "bench")
    let start = HostClock.nanoseconds
    let count = UInt64(count)
    for index in 0..<count {
      let offset = (pattern == .random ? random.next() : index) % places * size
      try withUnsafePointer(to: &part) { pointer in
        let parts = UnsafeBufferPointer(start: pointer, count: 1)
        if write { try disk.write(at: offset, from: parts) } else { try disk.read(at: offset, into: parts) }
      }
      if write, flushInterval > 0, (index + 1) % UInt64(flushInterval) == 0 { try disk.flush() }
      if index % 1024 == 1023 { try progress.advance(by: 1024 * size) }
    }
    if write { try disk.flush() }
    return max(1, HostClock.nanoseconds - start)
  }
}
