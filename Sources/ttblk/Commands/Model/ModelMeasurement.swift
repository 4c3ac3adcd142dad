// What a model did with a workload.
import DiskModel
import Glibc
import Simulation
import Telemetry

/// A workload on a model, in simulated time; latencies are exact.
struct ModelMeasurement {
  let workload: ModelWorkload
  /// In nanoseconds, ascending.
  let latencies: [UInt64]
  /// From the first submission to the last completion.
  let elapsed: SimulationDuration
  /// Of the completions, in their order.
  let digest: String
  let counters: [ModelCounter]
  /// How a large drive stood for the disk.
  let placement: String?
  /// Processor time of this process for each request, the loop around the model included.
  let hostNanoseconds: UInt64

  private struct Done {
    let request: ModelRequest
    let submitted: SimulationTime
    let completed: SimulationTime
  }

  init(_ workload: ModelWorkload, on model: any DiskModel, seed: UInt64) {
    var model = model
    var all: [Done] = []
    all.reserveCapacity(workload.count)
    var loop = ClosedLoop()
    let stream = RandomStream(seed: seed, name: "workload")
    let begin = Self.processorTime()
    loop.run(workload, on: &model, stream: stream) {
      all.append(Done(request: $0, submitted: $1, completed: $2))
    }
    let host = Self.processorTime() - begin
    let log = CompletionLog()
    for done in all {
      log.append(
        CompletionLog.Record(
          completed: done.completed, submitted: done.submitted, sequence: done.request.sequence,
          offset: done.request.offset, length: done.request.length, disk: 0,
          operation: Self.code(done.request.operation), status: 0))
    }
    self.workload = workload
    latencies = all.map { $0.completed.since($0.submitted).nanoseconds }.sorted()
    elapsed = loop.now.since(.zero)
    digest = log.digest
    model.catchUp(to: loop.now)
    counters = model.counters
    placement = model.placement
    hostNanoseconds = host / UInt64(max(1, workload.count))
  }

  /// The latency that a share of all, in parts per thousand, did not exceed (nearest rank).
  func percentile(_ perThousand: Int) -> UInt64 {
    let rank = (latencies.count * perThousand + 999) / 1000
    return latencies[min(max(rank, 1), latencies.count) - 1]
  }

  /// Rounded down to a nanosecond.
  var mean: UInt64 {
    UInt64(latencies.reduce(UInt128(0)) { $0 + UInt128($1) } / UInt128(latencies.count))
  }

  var perSecond: Double {
    elapsed == .zero ? .infinity : Double(latencies.count) * 1e9 / Double(elapsed.nanoseconds)
  }

  /// As virtio-blk numbers them.
  private static func code(_ operation: ModelRequest.Operation) -> UInt16 {
    switch operation {
    case .read: 0
    case .write: 1
    case .flush: 4
    case .discard: 11
    case .writeZeroes: 13
    }
  }

  private static func processorTime() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}
