// ttblk bench block
import ArgumentParser
import Simulation
import Telemetry
import TestKit

struct BenchBlockCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "block",
    abstract: "Load a vhost-user-blk socket, ours or anybody's, and say how fast it is.",
    discussion: """
      A front-end without a guest: it has rings and buffers of its own in shared memory, kicks and waits \
      to be called as a guest does, and keeps as many requests under way as it is told. What it writes \
      destroys what the disk holds. bench/run.sh block drives it against ttblk and qemu-storage-daemon.
      """)

  @Argument(help: "Where the back-end listens.", completion: .file())
  var socket: String

  @Option(help: "randread, randwrite, read or write.")
  var pattern = Load.Pattern.randread

  @Option(help: ArgumentHelp("Bytes of a request, a multiple of 512 up to 16M.", valueName: "bytes"))
  var size = ByteCount(bytes: 4096)

  @Option(help: ArgumentHelp("Requests under way in each queue, 1 to 1024.", valueName: "n"))
  var depth = 32

  @Option(help: ArgumentHelp("Queues, each with a thread of its own, 1 to 64.", valueName: "n"))
  var queues = 1

  @Option(help: ArgumentHelp("How much of the disk is used, from its beginning.", valueName: "bytes"))
  var span: ByteCount?

  @Option(help: ArgumentHelp("How long to measure.", valueName: "ms"))
  var milliseconds: UInt64 = 2000

  @Option(
    help: ArgumentHelp(
      "Instead of a time: so many requests in each queue, no block of the disk twice.", valueName: "n"))
  var touchOnce: UInt64?

  @Flag(help: "Look for completions all the time, instead of sleeping until called.")
  var poll = false

  @Flag(help: "Print JSON.")
  var json = false

  func validate() throws {
    guard (512...(16 << 20)).contains(size.bytes), size.bytes % 512 == 0 else {
      throw ValidationError("--size is a multiple of 512 up to 16M")
    }
    guard (1...1024).contains(depth) else { throw ValidationError("--depth is 1 to 1024") }
    guard (1...64).contains(queues) else { throw ValidationError("--queues is 1 to 64") }
    guard (1...3_600_000).contains(milliseconds) else {
      throw ValidationError("--milliseconds is 1 to 3600000")
    }
  }

  func run() throws {
    var load = Load()
    load.pattern = pattern
    load.blockBytes = Int(size.bytes)
    load.depth = depth
    load.queues = queues
    load.span = span?.bytes
    load.milliseconds = milliseconds
    load.touchOnce = touchOnce
    load.polls = poll
    let results: [Load.Result]
    do throws(LoadError) { results = try load.run(socketPath: socket) } catch {
      throw CommandFailure(.failed, "'\(socket)': \(error)")
    }
    for (index, result) in results.enumerated() where results.count > 1 && !json {
      announce("queue \(index): \(UInt64(result.perSecond)) a second")
    }
    let rate = results.reduce(0) { $0 + $1.perSecond }
    let requests = results.reduce(0) { $0 + $1.requests }
    // Each queue has its own distribution; what is told is the worst of them.
    func worst(_ of: (LatencyHistogram) -> SimulationDuration) -> UInt64 {
      results.map { of($0.latency).nanoseconds }.max() ?? 0
    }
    let kicks = results.reduce(0) { $0 + $1.kicks }
    let waits = results.reduce(0) { $0 + $1.waits }
    if json {
      announce(
        JSONValue.object([
          "requests": .unsigned(requests), "requestsPerSecond": .number(rate.rounded()),
          "meanNanoseconds": .unsigned(worst { $0.mean }),
          "p50Nanoseconds": .unsigned(worst { $0.percentile(50) }),
          "p99Nanoseconds": .unsigned(worst { $0.percentile(99) }), "kicks": .unsigned(kicks),
          "waits": .unsigned(waits),
        ]).indented)
    } else {
      announce(
        "\(UInt64(rate)) requests a second, \(ByteText.short(UInt64(rate * Double(size.bytes))))/s, mean "
          + "\(worst { $0.mean } / 1000) us, p99 \(worst { $0.percentile(99) } / 1000) us; "
          + "\(requests) requests, \(kicks) kicks, \(waits) waits")
    }
  }
}

extension Load.Pattern: ExpressibleByArgument {}
