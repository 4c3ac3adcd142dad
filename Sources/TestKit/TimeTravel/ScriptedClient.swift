// A time-travel client that does exactly what a test tells it, right or wrong.
package import Linux
package import Simulation
package import TimeTravel

/// One raw end of a time-travel connection: it sends what it is told, byte by byte if need be, and answers
/// nothing by itself.
///
/// Never blocks and has no thread: a test alternates between it and the controller's loop.
package final class ScriptedClient {
  /// Whether it uses the shared schedule when it is offered one.
  package enum Mode: CaseIterable, Sendable { case message, shared }

  package let name: UInt64
  package let mode: Mode
  /// Called with every message, `isSent` says in which direction it went.
  package var onMessage: ((_ message: Message, _ isSent: Bool) -> Void)?
  /// Messages sent and received, acknowledgements included.
  package private(set) var messageCount = 0
  /// The controller has closed the connection.
  package private(set) var isClosed = false
  /// How many descriptors came with START's acknowledgement.
  package private(set) var descriptorCount = 0
  package private(set) var schedule: ScheduleView?
  package private(set) var slot: SharedSchedule.Slot = 0

  private var memory: Descriptor?
  private var socket: UnixSocket?
  private var sequence: UInt32 = 0

  package init(name: UInt64, mode: Mode, socket: consuming UnixSocket) throws(LinuxError) {
    self.name = name
    self.mode = mode
    try socket.descriptor.setNonblocking(true)
    self.socket = consume socket
  }

  /// The number of the socket, for `poll(2)`; -1 after `close`.
  package var descriptor: CInt { socket?.descriptor.rawValue ?? -1 }

  /// The memory that came with START's acknowledgement; -1 for none.
  package var memoryDescriptor: CInt { memory?.rawValue ?? -1 }

  /// Sends a message of its own; a broken connection is noticed by `receive`.
  @discardableResult
  package func send(_ operation: TimeTravel.Operation, time: UInt64 = Message.unusedTime) -> UInt32 {
    sequence += 1
    transmit(Message(operation, sequence: sequence, time: time))
    return sequence
  }

  package func acknowledge(_ sequence: UInt32) {
    transmit(Message(.acknowledge, sequence: sequence, time: 0))
  }

  package func transmit(_ message: Message) {
    withUnsafeTemporaryAllocation(byteCount: Message.byteCount, alignment: 8) { bytes in
      message.encode(into: bytes)
      send(bytes: Array(bytes))
    }
    messageCount += 1
    onMessage?(message, true)
  }

  /// Sends any bytes.
  package func send(bytes: [UInt8], descriptors: [CInt] = []) {
    _ = bytes.withUnsafeBytes { try? socket?.send($0, descriptors: descriptors) }
  }

  /// The next message, if there is one.
  package func receive() -> Message? {
    guard !isClosed, socket != nil else { return nil }
    var received: [CInt] = []
    let message: Message? = withUnsafeTemporaryAllocation(byteCount: Message.byteCount, alignment: 8) {
      bytes in
      do throws(LinuxError) {
        let count = try socket?.receive(into: bytes, take: { received.append($0.release()) })
        guard count == Message.byteCount else {
          isClosed = true
          return nil
        }
        return Message(parsing: RawSpan(_unsafeBytes: UnsafeRawBufferPointer(bytes)))
      } catch {
        if error.code == 11 { return nil }  // EAGAIN
        isClosed = true
        return nil
      }
    }
    descriptorCount += received.count
    for (index, one) in received.enumerated() {
      let owner = Descriptor(owning: one)
      if index == 0, memory == nil { memory = consume owner }
    }
    if let message {
      messageCount += 1
      onMessage?(message, false)
    }
    return message
  }

  /// Maps the schedule that came with START's acknowledgement, as its mode says; true if it is one it knows.
  @discardableResult
  package func acceptSchedule(_ answer: Message) -> Bool {
    guard mode == .shared, let memory = memory.take() else { return false }
    slot = SharedSchedule.Slot(truncatingIfNeeded: answer.time)
    if let fields = SharedSchedule.open(memory, slot: slot) { schedule = ScheduleView(fields) }
    self.memory = consume memory
    return schedule != nil
  }

  /// All messages that are there, as `summary` has them.
  package func receiveAll() -> [String] {
    var result: [String] = []
    while let message = receive() { result.append(message.summary) }
    return result
  }

  /// Goes away without a word.
  package func close() { socket = nil }
}

/// A client's view of the shared schedule, which it may write as it likes.
package final class ScheduleView {
  private let fields: SharedSchedule

  fileprivate init(_ fields: consuming SharedSchedule) { self.fields = fields }

  package var freeUntil: SimulationTime {
    get { fields.freeUntil }
    set { fields.freeUntil = newValue }
  }
  package var currentTime: SimulationTime {
    get { fields.currentTime }
    set { fields.currentTime = newValue }
  }
  package var runningSlot: SharedSchedule.Slot {
    get { fields.runningSlot }
    set { fields.runningSlot = newValue }
  }
  package func isCapable(_ slot: SharedSchedule.Slot) -> Bool { fields.isCapable(slot) }
  package func setCapable(_ slot: SharedSchedule.Slot, _ capable: Bool = true) {
    fields.setCapable(slot, capable)
  }
  package func request(of slot: SharedSchedule.Slot) -> SimulationTime? { fields.request(of: slot) }
  package func setRequest(of slot: SharedSchedule.Slot, to time: SimulationTime?) {
    fields.setRequest(of: slot, to: time)
  }
}
