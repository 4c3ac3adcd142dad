// A model driven by a list of arrivals, and what must hold of any model.
import DiskModel
import Simulation

/// One request and when it comes.
struct TraceArrival {
  var request: ModelRequest
  var time: SimulationTime
}

/// What became of a trace: completions in their order, and every rule that was broken.
struct TraceRun {
  struct Completion: Equatable {
    var sequence: UInt64
    var submitted: SimulationTime
    var completed: SimulationTime
  }

  private(set) var completions: [Completion] = []
  private(set) var problems: [String] = []
  /// The model after the `snapshot`-th arrival, and what was under way then.
  private(set) var end = SimulationTime.zero

  private var submitted: [UInt64: SimulationTime] = [:]
  private var due = EventQueue()
  private var known: Set<UInt64> = []
  private var finished: [ModelCompletion] = []

  /// Completions of a moment come before its wakes, and these before its arrivals.
  init(_ arrivals: [TraceArrival], on model: inout any DiskModel) {
    var next = 0
    var now = SimulationTime.zero
    var idle = 0
    while true {
      let arrival = next < arrivals.count ? arrivals[next].time : nil
      guard let time = [due.nextTime, model.nextWake, arrival].compactMap({ $0 }).min() else { break }
      if time < now { problems.append("time went back to \(time) at \(now)") }
      idle = time == now ? idle + 1 : 0
      if idle > 100_000 {
        problems.append("the model wakes for ever at \(now)")
        break
      }
      now = max(now, time)
      if let next = due.nextTime, next <= now {
        while let (key, sequence) = due.popDue(at: now) { complete(sequence, at: key.time) }
      } else if let wake = model.nextWake, wake <= now {
        model.advance(to: now, into: &finished)
        collect(at: now)
      } else {
        submitted[arrivals[next].request.sequence] = now
        model.submit(arrivals[next].request, at: now, into: &finished)
        collect(at: now)
        next += 1
      }
      if known.count + due.count < submitted.count, model.nextWake == nil, due.isEmpty {
        problems.append("requests are under way at \(now), and nothing is to happen")
      }
    }
    end = now
    for (sequence, _) in submitted.sorted(by: { $0.key < $1.key }) {
      problems.append("request \(sequence) never completed")
    }
    check(arrivals, minimum: model.minimumLatency)
  }

  private mutating func collect(at now: SimulationTime) {
    for one in finished {
      if one.time < now { problems.append("request \(one.sequence) was done at \(one.time), before \(now)") }
      if !known.insert(one.sequence).inserted { problems.append("request \(one.sequence) completes twice") }
      due.insert(one.sequence, at: EventKey(time: one.time, sequence: one.sequence))
    }
    finished.removeAll(keepingCapacity: true)
  }

  private mutating func complete(_ sequence: UInt64, at time: SimulationTime) {
    guard let begin = submitted.removeValue(forKey: sequence) else {
      problems.append("request \(sequence) completes without having been asked for")
      return
    }
    completions.append(Completion(sequence: sequence, submitted: begin, completed: time))
  }

  private mutating func check(_ arrivals: [TraceArrival], minimum: SimulationDuration) {
    if completions.count != arrivals.count {
      problems.append("\(completions.count) completions of \(arrivals.count) requests")
    }
    for one in completions where one.completed < one.submitted + minimum {
      problems.append("request \(one.sequence) took less than \(minimum)")
    }
    // Little: the time that requests spend inside is the number inside, over time.
    var residence: UInt128 = 0
    var changes: [(time: UInt64, by: Int)] = []
    for one in completions {
      residence += UInt128(one.completed.since(one.submitted).nanoseconds)
      changes.append((one.submitted.nanoseconds, 1))
      changes.append((one.completed.nanoseconds, -1))
    }
    changes.sort { $0.time < $1.time }
    var (inside, last, area): (Int, UInt64, UInt128) = (0, 0, 0)
    for change in changes {
      area += UInt128(inside) * UInt128(change.time - last)
      (inside, last) = (inside + change.by, change.time)
    }
    if area != residence || inside != 0 { problems.append("Little's law: \(area) is not \(residence)") }
  }
}

/// Requests at random times and places, of all kinds.
func randomArrivals(
  _ count: Int, diskSize: UInt64, meanGap: UInt64, using random: inout RandomStream
) -> [TraceArrival] {
  var time: UInt64 = 0
  return (0..<count).map { index in
    // Some at the same time.
    if random.next(upperBound: 4 as UInt64) > 0 { time += random.next(upperBound: 2 * meanGap + 1) }
    let length: UInt64 = 4096 << random.next(upperBound: 6 as UInt64)
    let operation: ModelRequest.Operation =
      switch random.next(upperBound: 20 as UInt64) {
      case 0: .flush
      case 1: .discard
      case 2: .writeZeroes
      case 3..<10: .write
      default: .read
      }
    return TraceArrival(
      request: ModelRequest(
        operation: operation,
        offset: operation == .flush ? 0 : random.next(upperBound: diskSize / length) * length,
        length: operation == .flush ? 0 : length, sequence: UInt64(index),
        isForced: operation == .write && random.next(upperBound: 8 as UInt64) == 0),
      time: SimulationTime(nanoseconds: time))
  }
}

/// FNV-1a over numbers: a digest that tests can write down.
func traceHash(_ numbers: some Sequence<UInt64>) -> UInt64 {
  var hash: UInt64 = 0xcbf2_9ce4_8422_2325
  for number in numbers {
    for shift in stride(from: UInt64(0), to: 64, by: 8) {
      hash = (hash ^ (number >> shift & 0xff)) &* 0x100_0000_01b3
    }
  }
  return hash
}

/// A model by its specification, for a disk.
func makeModel(_ text: String, size: UInt64 = 1 << 30, seed: UInt64 = 1, name: String = "disk") throws
  -> any DiskModel
{
  let context = ModelContext(diskSize: size, seed: seed, name: name)
  guard let model = try ModelDescription(parsing: text).make(for: context) else {
    throw DiskModelError("'\(text)' takes no time")
  }
  return model
}

/// A model by its parameters, for a disk.
func makeModel(_ table: ParameterTable, size: UInt64 = 1 << 30, seed: UInt64 = 1, name: String = "disk")
  throws -> any DiskModel
{
  let context = ModelContext(diskSize: size, seed: seed, name: name)
  guard let model = try ModelDescription(specification: "test", parameters: table).make(for: context) else {
    throw DiskModelError("the table's model takes no time")
  }
  return model
}
