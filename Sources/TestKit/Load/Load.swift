// A measured load.
import Glibc
import Linux
import Simulation
package import Telemetry

/// What to ask of a disk, for how long.
package struct Load: Sendable {
  package enum Pattern: String, CaseIterable, Sendable { case randread, randwrite, read, write }

  package var pattern = Pattern.randread
  package var blockBytes = 4096
  /// Requests under way in each queue.
  package var depth = 32
  package var queues = 1
  /// Bytes from the beginning that are used; all of the disk if nil.
  package var span: UInt64?
  /// How long to measure, after a tenth of that to warm up.
  package var milliseconds: UInt64 = 2000
  /// Instead of a time: so many requests in each queue, every block of the span at most once.
  package var touchOnce: UInt64?
  package var seed: UInt64 = 1
  /// Whether the driver looks for completions all the time, and wants no calls.
  package var polls = false

  package init() {}

  /// What came of it.
  package struct Result: Sendable {
    package var requests: UInt64 = 0
    package var nanoseconds: UInt64 = 0
    package var latency = LatencyHistogram()
    package var kicks: UInt64 = 0
    package var waits: UInt64 = 0

    package var perSecond: Double { nanoseconds == 0 ? 0 : Double(requests) * 1e9 / Double(nanoseconds) }
  }

  /// Connects, drives the load, stops the rings.
  /// - Returns: what each queue did while it was measured.
  package func run(socketPath: String) throws(LoadError) -> [Result] {
    let each = LoadQueue.byteCount(depth: depth, blockBytes: blockBytes)
    let client = try LoadClient(socketPath: socketPath, memoryBytes: each * queues, queueCount: queues)
    let blocks = min(span ?? .max, client.capacitySectors * 512) / UInt64(blockBytes)
    guard blocks >= UInt64(queues * depth) else {
      throw .protocolViolation("the disk has \(blocks) blocks of \(blockBytes), too few for this load")
    }
    let writes = pattern == .randwrite || pattern == .write
    var drivers: [LoadDriver] = []
    for index in 0..<queues {
      let queue = try LoadQueue(
        client, index: index, offset: index * each, depth: depth, blockBytes: blockBytes, writes: writes)
      drivers.append(LoadDriver(self, queue, index: index, blocks: blocks))
    }
    let outcomes = Guarded([(Int, Swift.Result<Result, LoadError>)]())
    do throws(LinuxError) {
      // The first queue is driven by this thread.
      let threads = try drivers.dropFirst().map { (driver) throws(LinuxError) -> WorkerThread in
        // SAFETY: each driver belongs to its thread until that has ended.
        nonisolated(unsafe) let driver = driver
        return try WorkerThread("load") { driver.run(into: outcomes) }
      }
      drivers[0].run(into: outcomes)
      for thread in threads { thread.join() }
    } catch { throw .linux(error) }
    var results: [Result] = []
    for (_, outcome) in outcomes.withLock({ $0 }).sorted(by: { $0.0 < $1.0 }) {
      results.append(try outcome.get())
    }
    try client.stop()
    return results
  }
}

/// Keeps one queue busy.
private final class LoadDriver {
  private let load: Load
  private let queue: LoadQueue
  private let index: Int
  private let blocks: UInt64
  private var random: RandomStream
  private var position: UInt64
  private var order: Permutation
  private var submitted: [UInt64]

  init(_ load: Load, _ queue: LoadQueue, index: Int, blocks: UInt64) {
    self.load = load
    self.queue = queue
    self.index = index
    self.blocks = blocks
    random = RandomStream(seed: load.seed, name: "load \(index)")
    position = blocks / UInt64(load.queues) * UInt64(index)
    order = Permutation(count: blocks, seed: load.seed)
    submitted = [UInt64](repeating: 0, count: queue.depth)
  }

  func run(into outcomes: Guarded<[(Int, Swift.Result<Load.Result, LoadError>)]>) {
    let outcome: Swift.Result<Load.Result, LoadError>
    do throws(LoadError) { outcome = .success(try measure()) } catch { outcome = .failure(error) }
    outcomes.withLock { $0.append((index, outcome)) }
  }

  private func measure() throws(LoadError) -> Load.Result {
    var result = Load.Result()
    let start = HostClock.nanoseconds
    let limit = load.touchOnce
    // A load that touches each block once has no second chance: it is measured from its first request on.
    let begin = limit == nil ? start + load.milliseconds * 100_000 : start
    let end = limit == nil ? begin + load.milliseconds * 1_000_000 : .max
    var under = 0
    var asked: UInt64 = 0
    for slot in 0..<queue.depth where limit.map({ asked < $0 }) ?? true {
      submit(slot, at: start)
      asked += 1
      under += 1
    }
    queue.publish()
    var last = start
    while under > 0 {
      var now = HostClock.nanoseconds
      var taken = false
      while let slot = try queue.take() {
        if !taken { now = HostClock.nanoseconds }
        taken = true
        under -= 1
        if now >= begin, now < end {
          result.requests += 1
          result.latency.record(SimulationDuration(nanoseconds: now - submitted[slot]))
          last = now
        }
        guard now < end, limit.map({ asked < $0 }) ?? true else { continue }
        submit(slot, at: now)
        asked += 1
        under += 1
      }
      queue.publish()
      if !taken { if load.polls { try queue.spin() } else { try queue.wait() } }
    }
    result.nanoseconds = max(1, (limit == nil ? min(end, max(last, begin + 1)) : last) - begin)
    result.kicks = queue.kickCount
    result.waits = queue.waitCount
    return result
  }

  private func submit(_ slot: Int, at now: UInt64) {
    submitted[slot] = now
    let block: UInt64
    switch load.pattern {
    case .randread, .randwrite:
      if load.touchOnce != nil {
        block = order[position % blocks]
        position += 1
      } else {
        block = random.next() % blocks
      }
    case .read, .write:
      block = position % blocks
      position += 1
    }
    queue.submit(slot, sector: block * UInt64(load.blockBytes / 512))
  }
}

/// The numbers below `count`, each once, in an order without a pattern that a disk could use: steps of a
/// number that has no divisor in common with `count`.
private struct Permutation {
  let count: UInt64
  private let step: UInt64
  private let start: UInt64

  init(count: UInt64, seed: UInt64) {
    self.count = count
    var random = RandomStream(seed: seed, name: "permutation")
    start = random.next() % count
    var step = max(1, (random.next() % count) | 1)
    while Permutation.divisor(step, count) != 1 { step = step % count + 1 }
    self.step = step
  }

  subscript(index: UInt64) -> UInt64 {
    // Disks have fewer blocks than 2^32 here, so that the product fits.
    (start &+ index &* step) % count
  }

  private static func divisor(_ a: UInt64, _ b: UInt64) -> UInt64 {
    var (a, b) = (a, b)
    while b != 0 { (a, b) = (b, a % b) }
    return a
  }
}
