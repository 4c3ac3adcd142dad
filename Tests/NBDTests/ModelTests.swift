// Several connections to one disk, against an array, from a seed.
import BlockIO
import DiskImage
import Glibc
import Simulation
import Testing

@testable import NBD

/// How many times the usual number of seeds: ten times `TTBLK_LONG`, which `Tests/run.sh --long` sets.
private let soak = max(1, 10 * (getenv("TTBLK_LONG").flatMap { UInt64(String(cString: $0)) } ?? 0))

@Suite("Connections") struct ModelTests {
  /// One request of a client whose answer has not come.
  private struct Outstanding {
    var command: Command
    var offset: Int
    var count: Int
    var isDF = false
    /// What a read must find.
    var expected: [UInt8] = []
    var received: [UInt8] = []
    var covered = 0
  }

  /// A client with a part of the disk that nobody else writes to.
  private final class Worker {
    let client: TestClient
    let part: Range<Int>
    var outstanding: [UInt64: Outstanding] = [:]

    init(_ client: TestClient, _ part: Range<Int>) {
      self.client = client
      self.part = part
    }

    func overlaps(_ range: Range<Int>) -> Bool {
      outstanding.values.contains { range.overlaps($0.offset..<$0.offset + $0.count) }
    }

    /// Takes a reply, or a chunk.
    func receive() throws {
      let structured = client.hasStructuredReplies
      // Simple replies to reads have no length of their own: one at a time.
      let length = structured ? 0 : outstanding.values.first { $0.command == .read }?.count ?? 0
      let (answer, data) = try client.answer(outstanding.count == 1 ? length : 0)
      var entry = try #require(outstanding[answer.cookie])
      #expect(answer.error == 0)
      var isLast = true
      if case .chunk(_, let type, let last, _) = answer {
        isLast = last
        switch ChunkType(rawValue: type) {
        case .offsetData:
          let start = Int(data.big(0, UInt64.self)) - entry.offset
          entry.received.replaceSubrange(start..<start + data.count - 8, with: data[8...])
          entry.covered += data.count - 8
        case .offsetHole:
          let start = Int(data.big(0, UInt64.self)) - entry.offset
          let count = Int(data.big(8, UInt32.self))
          entry.received.replaceSubrange(start..<start + count, with: repeatElement(0, count: count))
          entry.covered += count
        case .blockStatus: entry.covered = entry.count
        default: break
        }
      } else if entry.command == .read {
        entry.received = data
        entry.covered = data.count
      }
      outstanding[answer.cookie] = isLast ? nil : entry
      guard isLast, entry.command == .read else { return }
      #expect(entry.covered == entry.count)
      #expect(entry.received == entry.expected, "\(entry.offset), \(entry.count) bytes")
    }

    func drain() throws { while !outstanding.isEmpty { try receive() } }
  }

  @Test("together do what an array does", arguments: EngineKind.allCases, ["raw", "direct", "qcow2", "cow"])
  func model(engine: EngineKind, format: String) throws {
    for seed in 0..<2 * soak { try run(engine, format, seed) }
  }

  private func run(_ engine: EngineKind, _ format: String, _ seed: UInt64) throws {
    var random = RandomStream(seed: seed, name: "nbd")
    let scratch = Scratch()
    let size = 3 << 20
    var model = [UInt8](repeating: 0, count: size)
    try Self.prepare(scratch, format, &model)
    let server = try TestServer(
      scratch, disks: ["d"], format: format == "qcow2" || format == "cow" ? nil : .raw,
      direct: format == "direct", engine: engine)
    let workers = try (0..<3).map { index in
      let client = try TestClient(server.address)
      try client.enter(structured: index > 0)
      return Worker(client, index * (size / 3)..<(index + 1) * (size / 3))
    }
    for _ in 0..<400 {
      let worker = workers[Int(random.next() % 3)]
      if worker.outstanding.count >= (worker.client.hasStructuredReplies ? 16 : 1) || random.next() % 3 == 0 {
        if !worker.outstanding.isEmpty { try worker.receive() }
      } else {
        try Self.submit(worker, &model, &random)
      }
    }
    for worker in workers { try worker.drain() }
    // A flush on one covers all.
    #expect(try workers[1].client.perform(.flush) == 0)
    #expect(try workers[2].client.read(0, UInt32(size)) == model, "\(engine), \(format), seed \(seed)")
    server.close()
    #expect(server.lines.all == [])
    #expect(try contents(scratch, "d") == model, "\(engine), \(format), seed \(seed), after closing")
  }

  private static func prepare(_ scratch: Scratch, _ format: String, _ model: inout [UInt8]) throws {
    for index in 0..<300_000 { model[index] = UInt8(truncatingIfNeeded: index >> 4 | 1) }
    scratch.shell("truncate -s \(model.count) base")
    let descriptor = open(scratch.file("base"), O_WRONLY | O_CLOEXEC)
    _ = model.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, 300_000, 0) }
    close(descriptor)
    try makeDisk(scratch, format)
  }

  /// A request to the worker's part that touches nothing under way.
  private static func submit(
    _ worker: Worker, _ model: inout [UInt8], _ random: inout RandomStream
  ) throws {
    let longest: UInt64 = random.next() % 4 == 0 ? 200_000 : 9000
    let alignment = [1, 512, 4096][Int(random.next() % 3)]
    let start =
      worker.part.lowerBound + Int(random.next() % UInt64(worker.part.count)) / alignment * alignment
    let count = min(worker.part.upperBound - start, 1 + Int(random.next() % longest) / alignment * alignment)
    let range = start..<start + count
    guard !worker.overlaps(range) else { return }
    let structured = worker.client.hasStructuredReplies
    let commands: [Command] = [
      .read, .read, .read, .write, .write, .write, .trim, .writeZeroes, .flush, .cache,
    ]
    var command = commands[Int(random.next() % 10)]
    if structured, random.next() % 12 == 0 { command = .blockStatus }
    var flags: CommandFlags = random.next() % 5 == 0 ? .fua : []
    var data: [UInt8] = []
    var entry = Outstanding(command: command, offset: start, count: count)
    switch command {
    case .read:
      if structured, random.next() % 4 == 0 { flags.insert(.df) }
      entry.expected = Array(model[range])
      entry.received = [UInt8](repeating: 0xee, count: count)
    case .write:
      let value = UInt8(truncatingIfNeeded: random.next())
      data = (0..<count).map { UInt8(truncatingIfNeeded: $0 >> 3) ^ value }
      model.replaceSubrange(range, with: data)
    // Here, what is trimmed reads as zeros.
    case .trim, .writeZeroes:
      if command == .writeZeroes, random.next() % 2 == 0 { flags.insert(.noHole) }
      model.replaceSubrange(range, with: repeatElement(0, count: count))
    case .flush: entry.count = 0
    case .cache, .blockStatus, .disconnect: break
    }
    let isFlush = command == .flush
    let cookie = try worker.client.request(
      command, isFlush ? 0 : UInt64(start), isFlush ? 0 : UInt32(count), flags: flags, data: data)
    worker.outstanding[cookie] = entry
  }
}
