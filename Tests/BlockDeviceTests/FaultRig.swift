// A device with faults, and everything about it that a test wants to see.
import BlockIO
import DiskImage
import DiskModel
import Glibc
import Simulation
import Telemetry
import Testing

@testable import BlockDevice

/// A disk each of whose sectors is filled with a number; requests have their sequence numbers as tags.
final class FaultRig {
  static let disk = "node-disk"

  let folder = DiskFolder()
  let shape: DiskShape
  let device: Device
  let completionLog = CompletionLog()
  private(set) var records: [FaultRecord] = []
  private(set) var complaints: [String] = []
  private(set) var events: [FaultyDisk.Event] = []
  private(set) var now = SimulationTime.zero
  private(set) var answers: [UInt64: BlockCompletion] = [:]
  /// When each request was answered.
  private(set) var times: [UInt64: SimulationTime] = [:]
  private var memory: [UInt64: UnsafeMutableRawBufferPointer] = [:]
  private var next: UInt64 = 0
  let sectorCount: Int

  init(
    _ faults: [Fault], shape: DiskShape = .raw, seed: UInt64 = 1, model: (any DiskModel)? = nil,
    replay log: [FaultRecord]? = nil, engine: any BlockEngine = SynchronousEngine()
  ) throws {
    self.shape = shape
    let plan = FaultPlan(faults)
    for fault in faults { try fault.validate() }
    let (image, bytes) = try shape.make(folder, seed: 0, engine: engine)
    sectorCount = bytes.count / 512
    let first = (0..<sectorCount).flatMap { FaultRig.sector(FaultRig.initial($0)) }
    try image.apply(.bytes(first), 0..<UInt64(first.count))
    try image.flush()
    let disk =
      plan.isEmpty
      ? nil
      : try FaultyDisk(
        plan, name: Self.disk, image: image, seed: seed,
        replay: log.map { try FaultReplay($0, disk: Self.disk, plan: plan) })
    device = Device(
      name: Self.disk, identifier: 0, image: image, model: model, log: completionLog, faults: disk)
    disk?.log = { [unowned self] in records.append($0) }
    disk?.report = { [unowned self] in complaints.append($0) }
    device.onPowerCut = { [unowned self] in events.append($0) }
  }

  deinit {
    for buffer in memory.values { buffer.deallocate() }
    try? device.image.close()
  }

  /// What a sector holds at first.
  static func initial(_ sector: Int) -> UInt64 { UInt64(1_000_000 + sector) }

  static func sector(_ number: UInt64) -> [UInt8] {
    (0..<64).flatMap { _ in withUnsafeBytes(of: number) { Array($0) } }
  }

  /// The numbers of whole sectors; nil for one that is filled with more than one.
  static func numbers(_ bytes: [UInt8]) -> [UInt64?] {
    (0..<bytes.count / 512).map { sector in
      let words = bytes[sector * 512..<sector * 512 + 512].withUnsafeBytes {
        Array($0.bindMemory(to: UInt64.self))
      }
      return words.allSatisfy { $0 == words[0] } ? words[0] : nil
    }
  }

  // MARK: - Requests

  /// - Returns: its sequence number.
  @discardableResult
  func submit(
    _ operation: BlockRequest.Operation, _ sectors: Range<Int> = 0..<0, number: UInt64 = 0,
    isDurable: Bool = false, mayUnmap: Bool = true
  ) -> UInt64 {
    let tag = next
    next += 1
    let count = operation == .read || operation == .write ? sectors.count * 512 : 0
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: max(count, 8), alignment: 8)
    if operation == .write {
      buffer.copyBytes(from: sectors.flatMap { _ in FaultRig.sector(number) })
    } else {
      buffer.initializeMemory(as: UInt8.self, repeating: 0xee)
    }
    memory[tag] = buffer
    // In two parts, where there is more than one sector.
    let half = count / 1024 * 512
    let parts = [
      iovec(iov_base: buffer.baseAddress, iov_len: half),
      iovec(iov_base: buffer.baseAddress.map { $0 + half }, iov_len: count - half),
    ]
    let request = BlockRequest(
      operation: operation, offset: UInt64(sectors.lowerBound * 512), length: UInt64(sectors.count * 512),
      mayUnmap: mayUnmap, isDurable: isDurable, tag: tag)
    var completions: [BlockCompletion] = []
    parts.withUnsafeBufferPointer { device.submit(request, data: $0, at: now, into: &completions) }
    take(completions)
    return tag
  }

  /// Lets time pass.
  func advance(to time: SimulationTime) {
    while let wake = device.nextWake, wake <= time {
      now = max(now, wake)
      var completions: [BlockCompletion] = []
      device.advance(to: now, into: &completions)
      take(completions)
    }
    now = max(now, time)
  }

  func wait(_ span: SimulationDuration) { advance(to: now + span) }

  /// Until nothing more happens by itself.
  func drain() { while let wake = device.nextWake { advance(to: wake) } }

  private func take(_ completions: [BlockCompletion]) {
    for one in completions {
      #expect(answers[one.tag] == nil, "request \(one.tag) was answered twice")
      answers[one.tag] = one
      times[one.tag] = now
    }
  }

  func status(_ tag: UInt64) -> BlockStatus? { answers[tag]?.status }

  /// What a read brought.
  func numbers(_ tag: UInt64, count: Int) -> [UInt64?] {
    FaultRig.numbers(bytes(tag, count: count * 512))
  }

  func bytes(_ tag: UInt64, count: Int) -> [UInt8] { memory[tag].map { Array($0[..<count]) } ?? [] }

  /// Reads now, and waits for it; nil if it failed.
  func read(_ sectors: Range<Int>) -> [UInt64?]? {
    let tag = submit(.read, sectors)
    drain()
    return status(tag) == .ok ? numbers(tag, count: sectors.count) : nil
  }

  /// Writes now, and waits for it.
  @discardableResult
  func write(_ sectors: Range<Int>, _ number: UInt64) -> BlockStatus? {
    let tag = submit(.write, sectors, number: number)
    drain()
    return status(tag)
  }

  /// What the image holds, as somebody sees it who opens it after the end.
  func closeAndRead() throws -> [UInt64?] {
    try device.close(at: now)
    let image = try shape.reopen(folder)
    defer { try? image.close() }
    return FaultRig.numbers(try readAll(image))
  }
}

extension Fault {
  /// A fault for a test.
  static func make(_ kind: FaultKind, _ change: (inout Fault) -> Void = { _ in }) -> Fault {
    var fault = Fault(kind)
    change(&fault)
    return fault
  }

  /// With this chance, in percent.
  func likely(_ percent: UInt32) -> Fault {
    var fault = self
    fault.trigger.probability = Probability(billionths: percent * 10_000_000)
    return fault
  }
}

extension SimulationTime {
  static func milliseconds(_ count: UInt64) -> SimulationTime {
    SimulationTime(nanoseconds: count * 1_000_000)
  }
}

extension SimulationDuration {
  static func milliseconds(_ count: UInt64) -> SimulationDuration {
    SimulationDuration(nanoseconds: count * 1_000_000)
  }
}
