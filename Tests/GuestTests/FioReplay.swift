// A model that is asked what fio asked in a guest.
import DiskModel
import Simulation
import Testing

/// One disk's model, and the time of a guest that takes none for anything but looks at its clock.
struct FioReplay {
  private let disk: Int
  private var model: any DiskModel
  private var now = SimulationTime.zero
  private var sequence: UInt64 = 0
  private var due = EventQueue()
  private var finished: [ModelCompletion] = []

  /// - Parameter disk: its number among the node's.
  init(disk: Int) throws {
    self.disk = disk
    let description = try ModelDescription(parsing: FioGuest.models[disk])
    let context = ModelContext(diskSize: FioGuest.diskSize, seed: FioGuest.seed, name: "node-d\(disk)")
    model = try #require(try description.make(for: context))
    // The kernel looks for partitions.
    _ = try run([0], depth: 1)
  }

  /// Asks for what a job of fio asked.
  /// - Returns: latencies by offset, ns.
  mutating func run(_ job: FioGuest.Job, _ measured: FioGuest.Measurement) throws -> [UInt64: Int] {
    // Meanwhile the other disks had their turn.
    pass(to: now + SimulationDuration(nanoseconds: 100_000_000))
    if job.model == "hdd-7200", let first = measured.submitted.first, let took = measured.latencies[first] {
      // How the platters stand when a job begins depends on what fio does before; its first request tells.
      var trial = self
      let said = try trial.run(Array(measured.submitted.prefix(job.depth)), depth: job.depth)
      let late = said[first, default: 0] + FioGuest.measuring - took
      let turn = Self.revolution
      pass(to: now + SimulationDuration(nanoseconds: UInt64((late % turn + turn) % turn)))
    }
    return try run(measured.submitted, depth: job.depth)
  }

  /// At 7,200 a minute, ns.
  private static let revolution = 60_000_000_000 / 7200

  private mutating func run(_ offsets: [UInt64], depth: Int) throws -> [UInt64: Int] {
    var latencies: [UInt64: Int] = [:]
    var waiting: [UInt64: (offset: UInt64, submitted: SimulationTime)] = [:]
    var rest = offsets[...]
    while !rest.isEmpty || !waiting.isEmpty {
      if waiting.count < depth, let offset = rest.popFirst() {
        model.submit(
          ModelRequest(operation: .read, offset: offset, length: 4096, sequence: sequence), at: now,
          into: &finished)
        waiting[sequence] = (offset, now)
        sequence += 1
        schedule()
        spend(FioGuest.submission)
      } else {
        try passToNext()
      }
      // What is done by now is seen now; what came while the guest was at work waited for it.
      while let (key, done) = due.popDue(at: now) {
        guard let one = waiting.removeValue(forKey: done) else { continue }
        latencies[one.offset] = Int(key.time.since(one.submitted).nanoseconds)
        spend(FioGuest.completion)
      }
    }
    return latencies
  }

  private mutating func spend(_ nanoseconds: Int) {
    pass(to: now + SimulationDuration(nanoseconds: UInt64(nanoseconds)))
  }

  /// Lets time pass; what is done meanwhile waits in `due`.
  private mutating func pass(to time: SimulationTime) {
    while let wake = model.nextWake, wake <= time {
      now = max(now, wake)
      model.advance(to: now, into: &finished)
      schedule()
    }
    now = time
  }

  /// Lets time pass to the next event.
  private mutating func passToNext() throws {
    let events = [due.nextTime, model.nextWake].compactMap { $0 }
    pass(to: max(now, try #require(events.min(), "the model has requests and no next event")))
  }

  private mutating func schedule() {
    for one in finished { due.insert(one.sequence, at: EventKey(time: one.time, sequence: one.sequence)) }
    finished.removeAll()
  }
}
