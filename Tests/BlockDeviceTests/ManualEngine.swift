// A double: an engine that does what it is told when it is told.
import BlockIO
import Glibc
import Simulation

@testable import BlockDevice

/// Keeps operations until the test completes them, one by one.
final class ManualEngine: QueuedEngine {
  struct Entry {
    let operation: IOOperation
    let parts: [iovec]
    /// Which run it began at.
    let batch: Int
  }

  let kind = EngineKind.synchronous
  private(set) var entries: [Entry] = []
  private var events: [IOEvent] = []
  private var watched: [(descriptor: CInt, tag: UInt64)] = []
  private(set) var runs = 0

  var underWay: Int { entries.count + events.count }

  /// What is under way, in the order in which it came.
  var kinds: [IOOperation.Kind] { entries.map(\.operation.kind) }

  func enqueue(_ operation: IOOperation, parts: UnsafeBufferPointer<iovec>) {
    entries.append(Entry(operation: operation, parts: Array(parts), batch: runs))
  }

  func watch(_ descriptor: CInt, tag: UInt64) { watched.append((descriptor, tag)) }
  func unwatch(_ descriptor: CInt) { watched.removeAll { $0.descriptor == descriptor } }

  /// Does an operation, or fails it.
  func complete(_ index: Int = 0, code: CInt = 0) throws {
    let entry = entries.remove(at: index)
    let operation = entry.operation
    let engine = SynchronousEngine()
    if code == 0 {
      try entry.parts.withUnsafeBufferPointer { parts throws(BlockIOError) in
        switch operation.kind {
        case .read: try engine.read(operation.file, at: operation.offset, into: parts)
        case .write: try engine.write(operation.file, at: operation.offset, from: parts)
        case .synchronize: try engine.synchronize(operation.file)
        case .zero, .zeroAndUnmap:
          try engine.zero(
            operation.file, operation.offset..<operation.offset + operation.count,
            unmap: operation.kind == .zeroAndUnmap)
        }
      }
    }
    events.append(IOEvent(tag: operation.tag, code: code))
  }

  func run(_ wait: Wait, into events: inout [IOEvent]) {
    runs += 1
    events.append(contentsOf: self.events)
    self.events = []
    for (descriptor, tag) in watched {
      var query = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      if poll(&query, 1, 0) > 0 { events.append(IOEvent(tag: tag, code: 0)) }
    }
  }
}

extension SharedDeviceTests {
  /// A lane, its engine, and the answers that it gave.
  final class Rig {
    let engine = ManualEngine()
    let lane: Lane
    private(set) var answers: [UInt64: BlockStatus] = [:]
    private(set) var ready: [UInt64] = []
    private var memory: [UnsafeMutableRawBufferPointer] = []

    init(_ device: SharedDevice) throws { lane = try Lane(device, engine: engine) }

    deinit { for one in memory { one.deallocate() } }

    @discardableResult
    func submit(
      _ operation: BlockRequest.Operation, _ offset: UInt64 = 0, _ length: UInt64 = 0, tag: UInt64,
      isDurable: Bool = false, fill: UInt8 = 0, at now: UInt64 = 0
    ) -> UnsafeMutableRawBufferPointer {
      let moves = operation == .read || operation == .write
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: moves ? Int(length) : 0, alignment: 4096)
      buffer.initializeMemory(as: UInt8.self, repeating: fill)
      memory.append(buffer)
      var part = iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
      let request = BlockRequest(
        operation: operation, offset: offset, length: length, mayUnmap: true, isDurable: isDurable, tag: tag)
      withUnsafePointer(to: &part) {
        lane.submit(
          request, data: UnsafeBufferPointer(start: $0, count: moves ? 1 : 0),
          at: SimulationTime(nanoseconds: now))
      }
      return buffer
    }

    func run(at now: UInt64 = 0) throws {
      var completions: [BlockCompletion] = []
      try lane.run(
        .no, clock: { SimulationTime(nanoseconds: now) }, completions: &completions, ready: &ready)
      for completion in completions { answers[completion.tag] = completion.status }
    }

    /// Completes everything there is, and what follows from it.
    func finish() throws {
      for _ in 0..<100 {
        try run()
        while !engine.entries.isEmpty { try engine.complete() }
        try run()
        if engine.underWay == 0, lane.inFlight == 0 { return }
      }
    }
  }
}
