// A volume behind a network, sold by requests and bytes per second.
package import Simulation

/// Requests are let through in their order, when all buckets have tokens for them, and then take a latency
/// drawn from a distribution: done = let through + latency.
///
/// Reads, writes and write zeroes cost tokens; flush and discard wait for their turn and cost none. What is
/// let through when depends on nothing that comes later, so it is known at once.
package struct CloudVolumeModel: DiskModel {
  private let unit: UInt64
  private var buckets: [Bucket]
  private var latencies: LatencySource
  private var slowness: SlowSeconds?
  /// When the last request was let through; the buckets are filled up to then.
  private var clock = SimulationTime.zero
  package let minimumLatency: SimulationDuration
  private var throttled: UInt64 = 0
  private var throttledTime: UInt64 = 0

  private struct Bucket: Sendable {
    enum Purpose: Sendable { case requests, credit, bytes }
    let purpose: Purpose
    var tokens: TokenBucket

    func cost(_ requests: UInt64, _ bytes: UInt64) -> UInt64 { purpose == .bytes ? bytes : requests }
  }

  /// Longer requests cost no more, so that no sum overflows; a thousand times the longest of any guest.
  private static let lengthMax: UInt64 = 1 << 40

  package init(_ parameters: CloudVolumeParameters, for context: ModelContext) {
    unit = parameters.unit
    let size = parameters.size ?? context.diskSize
    let rate = parameters.requests(forSize: size)
    let slack = Int128(parameters.slack.nanoseconds)
    buckets = []
    if let burst = parameters.burst, burst.rate > rate {
      buckets.append(
        Bucket(
          purpose: .requests, tokens: TokenBucket(rate: burst.rate, capacity: Int128(burst.rate) * slack)))
      buckets.append(
        Bucket(
          purpose: .credit, tokens: TokenBucket(rate: rate, capacity: Int128(burst.credit) * 1_000_000_000)))
    } else {
      buckets.append(
        Bucket(purpose: .requests, tokens: TokenBucket(rate: rate, capacity: Int128(rate) * slack)))
    }
    if let throughput = parameters.throughput(forSize: size) {
      buckets.append(
        Bucket(purpose: .bytes, tokens: TokenBucket(rate: throughput, capacity: Int128(throughput) * slack)))
    }
    latencies = LatencySource(parameters.latencies, stream: context.stream("latency"))
    minimumLatency = latencies.minimum
    slowness = parameters.slowness.map { SlowSeconds($0, stream: context.stream("slow seconds")) }
  }

  package var nextWake: SimulationTime? { nil }

  package mutating func submit(
    _ request: ModelRequest, at now: SimulationTime, into finished: inout [ModelCompletion]
  ) {
    let latency = latencies.draw(request.operation)
    let bytes: UInt64
    switch request.operation {
    case .read, .write, .writeZeroes: bytes = min(request.length, Self.lengthMax)
    case .flush, .discard: bytes = 0
    }
    let isFree = !request.operation.movesBytes && request.operation != .writeZeroes
    if now > clock { pass(to: now) }
    if !isFree { letThrough(requests: max(1, (bytes + unit - 1) / unit), bytes: bytes) }
    if clock > now {
      throttled += 1
      throttledTime &+= clock.since(now).nanoseconds
    }
    finished.append(ModelCompletion(sequence: request.sequence, time: clock + latency))
  }

  package func advance(to now: SimulationTime, into finished: inout [ModelCompletion]) {}

  package var counters: [ModelCounter] {
    var all = [ModelCounter("throttled", throttled), ModelCounter("throttled_ns", throttledTime)]
    for bucket in buckets where bucket.purpose == .credit {
      all.append(ModelCounter("burst_credit", UInt64(max(0, bucket.tokens.level) / 1_000_000_000)))
    }
    if let slowness { all.append(ModelCounter("slow_seconds", slowness.count)) }
    return all
  }

  /// Moves the clock to where all buckets have what the request costs, and takes it.
  private mutating func letThrough(requests: UInt64, bytes: UInt64) {
    while true {
      let percent = slowness?.percent(at: clock) ?? 100
      var wait = SimulationDuration.zero
      for bucket in buckets {
        wait = max(wait, bucket.tokens.wait(for: bucket.cost(requests, bytes), percent: percent))
      }
      guard wait > .zero, clock < .never else { break }
      let time = clock + wait
      // In the next second the rates may be others.
      pass(to: slowness == nil ? time : min(time, SlowSeconds.end(of: clock)))
    }
    for index in buckets.indices { buckets[index].tokens.take(buckets[index].cost(requests, bytes)) }
  }

  /// Fills the buckets up to `time`, which is later.
  private mutating func pass(to time: SimulationTime) {
    while clock < time {
      let percent = slowness?.percent(at: clock) ?? 100
      let end = slowness == nil ? time : min(time, SlowSeconds.end(of: clock))
      for index in buckets.indices {
        buckets[index].tokens.fill(for: end.since(clock), percent: percent)
      }
      clock = end
    }
  }
}

/// In which seconds the volume gives less than was promised: each is drawn once, in its order.
private struct SlowSeconds: Sendable {
  private let perThousand: UInt64
  private let slowPercent: UInt64
  private var stream: RandomStream
  /// The last one that was drawn.
  private var second: UInt64 = 0
  private var isSlow = false
  private(set) var count: UInt64 = 0

  init(_ numbers: (perThousand: UInt64, percent: UInt64), stream: RandomStream) {
    (perThousand, slowPercent) = numbers
    self.stream = stream
    draw()
  }

  static func end(of time: SimulationTime) -> SimulationTime {
    let second = time.nanoseconds / 1_000_000_000
    let (end, overflow) = (second + 1).multipliedReportingOverflow(by: 1_000_000_000)
    return overflow ? .never : SimulationTime(nanoseconds: end)
  }

  /// How much of the rates there is at a time that never decreases.
  mutating func percent(at time: SimulationTime) -> UInt64 {
    while second < time.nanoseconds / 1_000_000_000 {
      second += 1
      draw()
    }
    return isSlow ? slowPercent : 100
  }

  private mutating func draw() {
    isSlow = stream.next(upperBound: 1000 as UInt64) < perThousand
    if isSlow { count += 1 }
  }
}
