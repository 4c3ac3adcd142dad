// How lanes of one disk reach each other.
import Glibc
import Linux

/// What one lane tells another about a request of the other.
enum LaneMessage: Sendable {
  /// What it waited for is over: it is to be planned anew.
  case replan(slot: Int)
  /// Nothing is under way on the disk, for its sake.
  case quiet(slot: Int)
  /// The flush that it waited for is over.
  case flushed(slot: Int, isDurable: Bool)
  /// It leads the next flush.
  case lead(slot: Int)
}

/// Messages to a lane, and the descriptor that wakes it. Everything but the descriptor: under the disk's
/// lock.
final class LaneMailbox {
  private var messages: [LaneMessage] = []
  let bell: Descriptor

  init() throws(LinuxError) { bell = try Descriptor.eventCounter() }

  /// Puts a message in, and wakes the lane if it does not know that there are any.
  func post(_ message: LaneMessage) {
    messages.append(message)
    guard messages.count == 1 else { return }
    var one: UInt64 = 1
    // It fails only if the counter is full, and then it rings already.
    _ = write(bell.rawValue, &one, MemoryLayout<UInt64>.size)
  }

  /// Takes all messages out; `taken` is empty before, and keeps its memory.
  func take(into taken: inout [LaneMessage]) {
    swap(&messages, &taken)
    var count: UInt64 = 0
    _ = read(bell.rawValue, &count, MemoryLayout<UInt64>.size)
  }
}
