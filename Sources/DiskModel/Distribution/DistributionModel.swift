// Latencies as somebody measured them.
package import Simulation

/// Each request takes a time drawn from its operation's distribution, independently of all others, of its
/// length and of its place; with `servers` it may have to wait first.
///
/// One number is drawn for a request, in the order of submission, so that the same requests get the same
/// latencies however they overlap.
package struct DistributionModel: DiskModel {
  private var latencies: LatencySource
  private var servers: ServerPool?
  private var bursts: BurstClock?
  package let minimumLatency: SimulationDuration

  package init(_ parameters: DistributionParameters, for context: ModelContext) {
    latencies = LatencySource(parameters.shapes, stream: context.stream("latency"))
    minimumLatency = latencies.minimum
    servers = parameters.servers.map(ServerPool.init)
    bursts = parameters.bursts.map { BurstClock($0, stream: context.stream("bursts")) }
  }

  package var nextWake: SimulationTime? { nil }

  package mutating func submit(
    _ request: ModelRequest, at now: SimulationTime, into finished: inout [ModelCompletion]
  ) {
    var latency = latencies.draw(request.operation)
    if let factor = bursts?.factor(at: now) {
      let (product, overflow) = latency.nanoseconds.multipliedReportingOverflow(by: factor)
      latency = SimulationDuration(nanoseconds: overflow ? .max : product)
    }
    let done = servers?.serve(at: now, for: latency) ?? now + latency
    finished.append(ModelCompletion(sequence: request.sequence, time: done))
  }

  package func advance(to now: SimulationTime, into finished: inout [ModelCompletion]) {}

  package var counters: [ModelCounter] {
    (servers.map { [ModelCounter("busy_ns", $0.busy)] } ?? [])
      + (bursts.map { [ModelCounter("bursts", $0.count), ModelCounter("burst_requests", $0.requests)] } ?? [])
  }
}

/// Which times are bad: two states that last for exponentially distributed times.
private struct BurstClock: Sendable {
  private let calm: QuantileTable
  private let length: QuantileTable
  private let slowness: UInt64
  private var stream: RandomStream
  private var isBad = false
  /// The end of the present state.
  private var end: SimulationTime
  private(set) var count: UInt64 = 0
  private(set) var requests: UInt64 = 0

  init(_ bursts: DistributionParameters.Bursts, stream: RandomStream) {
    calm = QuantileTable(.exponential(minimum: .zero, mean: bursts.calm))
    length = QuantileTable(.exponential(minimum: .zero, mean: bursts.length))
    slowness = bursts.factor
    self.stream = stream
    end = SimulationTime.zero + calm.value(at: self.stream.next())
  }

  /// How many times longer requests take now; `now` never decreases.
  mutating func factor(at now: SimulationTime) -> UInt64 {
    while end <= now, end < .never {
      isBad.toggle()
      if isBad { count += 1 }
      end = end + (isBad ? length : calm).value(at: stream.next())
    }
    if isBad { requests += 1 }
    return isBad ? slowness : 1
  }
}
