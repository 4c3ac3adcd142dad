// Lanes under random requests.
import BlockIO
import DiskImage
import Glibc
import Simulation
import Testing

@testable import BlockDevice

/// A disk with lanes, all on one thread, and a model of it.
final class LaneBench {
  struct Outstanding {
    let request: BlockRequest
    let lane: Int
    let memory: UnsafeMutableRawBufferPointer
    /// Of a change: its number in the model.
    var change = 0
    var point = 0
    /// Of a read: what each unit may have.
    var allowed: [[UInt64]] = []
    var first = 0
  }

  let device: SharedDevice
  var lanes: [Lane] = []
  private(set) var engines: [any QueuedEngine]
  let stripes: [Range<Int>]
  var model: UnitModel
  var random: RandomStream
  var outstanding: [UInt64: Outstanding] = [:]
  /// For messages.
  var label = ""
  var failed = 0
  var completed = 0
  /// Failures of these are expected.
  var expectsFailures = false
  /// The bytes go through the host's page cache, which lets a read pass a write that is under way in the
  /// middle of a sector.
  var mayTear = false
  /// The power is off: answers mean nothing any more.
  var isCut = false
  private var nextTag: UInt64 = 0
  private var nextValue: UInt64 = 1 << 32
  private var clock: UInt64 = 0

  /// - Parameter stripes: where its requests are; nil for everywhere.
  init(
    _ device: SharedDevice, _ engines: [any QueuedEngine], bytes: [UInt8], stripes: [Range<Int>]? = nil,
    random: RandomStream
  ) throws {
    self.device = device
    self.engines = engines
    self.stripes = stripes ?? [0..<bytes.count / UnitModel.unit]
    model = UnitModel(bytes)
    self.random = random
    for engine in engines { lanes.append(try Lane(device, engine: engine)) }
  }

  deinit {
    for entry in outstanding.values { entry.memory.deallocate() }
  }

  /// Disks that begin with numbers.
  static func content(_ count: Int, first: UInt64) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    bytes.withUnsafeMutableBytes { bytes in
      for word in 0..<count / 8 {
        bytes.storeBytes(
          of: first + UInt64(word * 8 / UnitModel.unit), toByteOffset: word * 8, as: UInt64.self)
      }
    }
    return bytes
  }

  var shuffled: [ShuffledEngine] { engines.compactMap { $0 as? ShuffledEngine } }

  func range() -> Range<Int> {
    let stripe = stripes[Int(random.next() % UInt64(stripes.count))]
    let units = UInt64(stripe.count)
    let alignment: UInt64 =
      switch random.next() % 4 {
      case 0: 1
      case 1: 64
      default: 8
      }
    let start = random.next() % units / alignment * alignment
    let longest: UInt64 = random.next() % 5 == 0 ? 400 : 70
    let end = (start + 1 + random.next() % longest + alignment - 1) / alignment * alignment
    return stripe.lowerBound + Int(start)..<stripe.lowerBound + Int(min(end, units))
  }

  func submit(lane: Int, zeroes: Bool = true) {
    let units = range()
    let operation: BlockRequest.Operation
    switch random.next() % 20 {
    case 0..<6: operation = .read
    case 6..<16: operation = .write
    case 16..<18: operation = .flush
    default: operation = zeroes ? (random.next() % 2 == 0 ? .discard : .writeZeroes) : .write
    }
    submit(operation, units, lane: lane)
  }

  func submit(_ operation: BlockRequest.Operation, _ units: Range<Int>, lane: Int) {
    let unit = UnitModel.unit
    nextTag += 1
    let isFlush = operation == .flush
    let request = BlockRequest(
      operation: operation, offset: isFlush ? 0 : UInt64(units.lowerBound * unit),
      length: isFlush ? 0 : UInt64(units.count * unit), mayUnmap: random.next() % 2 == 0,
      isDurable: operation != .read && !isFlush && random.next() % 8 == 0, tag: nextTag)
    let moves = operation == .read || operation == .write
    var entry = Outstanding(
      request: request, lane: lane,
      memory: .allocate(byteCount: moves ? units.count * unit : 0, alignment: 64), first: units.lowerBound)
    switch operation {
    case .read:
      entry.allowed = units.map { model.visible($0) }
      entry.memory.initializeMemory(as: UInt8.self, repeating: 0xee)
    case .write, .discard, .writeZeroes:
      let value: UInt64
      if operation == .write {
        nextValue += 1
        value = nextValue
        for word in 0..<units.count * unit / 8 {
          entry.memory.storeBytes(of: value, toByteOffset: word * 8, as: UInt64.self)
        }
      } else {
        value = 0
      }
      entry.change = model.begin(units, value: value)
      for (tag, other) in outstanding where other.request.operation == .read {
        for (index, _) in other.allowed.enumerated() where units.contains(other.first + index) {
          outstanding[tag]?.allowed[index].append(value)
        }
      }
    case .flush: entry.point = model.flushPoint()
    }
    outstanding[nextTag] = entry
    let length = 64 + Int(random.next() % 3000)
    let parts = stride(from: 0, to: entry.memory.count, by: length).map {
      iovec(iov_base: entry.memory.baseAddress! + $0, iov_len: min(length, entry.memory.count - $0))
    }
    clock += 1
    parts.withUnsafeBufferPointer {
      lanes[lane].submit(request, data: $0, at: SimulationTime(nanoseconds: clock))
    }
  }

  func run(lane: Int, _ wait: Wait = .no) throws {
    var completions: [BlockCompletion] = []
    var ready: [UInt64] = []
    try lanes[lane].run(
      wait, clock: { SimulationTime(nanoseconds: clock + 5) }, completions: &completions, ready: &ready)
    #expect(ready.isEmpty)
    for completion in completions { check(completion, lane: lane) }
  }

  private func check(_ completion: BlockCompletion, lane: Int) {
    guard let entry = outstanding.removeValue(forKey: completion.tag) else {
      Issue.record("an answer to nothing")
      return
    }
    defer { entry.memory.deallocate() }
    #expect(entry.lane == lane)
    completed += 1
    if isCut { return }
    let isBad = completion.status != .ok
    if isBad { failed += 1 }
    if isBad, !expectsFailures { Issue.record("\(entry.request) failed") }
    switch entry.request.operation {
    case .read:
      guard !isBad else { return }
      let bytes = Array(entry.memory)
      for (index, allowed) in entry.allowed.enumerated() {
        let value = UnitModel.value(bytes, index)
        if !(value.map(allowed.contains) ?? (mayTear && UnitModel.isOf(bytes, index, allowed))) {
          let found = value.map(String.init) ?? "torn"
          Issue.record("\(label): unit \(entry.first + index): read \(found), not of \(allowed)")
          return
        }
      }
    case .flush: if !isBad { model.flushed(since: entry.point) }
    default:
      model.end(entry.change, failed: isBad, isDurable: entry.request.isDurable || device.isWriteThrough)
    }
  }

  /// Runs all lanes until everything has its answer.
  func drain() throws {
    var rounds = 0
    while lanes.contains(where: { $0.inFlight > 0 }) {
      for lane in lanes.indices { try run(lane: lane) }
      rounds += 1
      try #require(rounds < 100_000, "requests without an answer: \(outstanding.values.map(\.request))")
    }
    #expect(outstanding.isEmpty)
  }

  /// Lets go of everything that the disk must be free of to be closed.
  func close() {
    lanes = []
    engines = []
  }

  /// All bytes, as a lane reads them.
  func contents() throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0xee, count: Int(device.size))
    try bytes.withUnsafeMutableBytes { buffer in
      var part = iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
      let request = BlockRequest(operation: .read, offset: 0, length: UInt64(buffer.count), tag: 0)
      try withUnsafePointer(to: &part) {
        lanes[0].submit(request, data: UnsafeBufferPointer(start: $0, count: 1), at: .zero)
        var completions: [BlockCompletion] = []
        var ready: [UInt64] = []
        while completions.isEmpty {
          try lanes[0].run(.forever, clock: { .zero }, completions: &completions, ready: &ready)
        }
        #expect(completions[0].status == .ok)
      }
    }
    return bytes
  }
}
