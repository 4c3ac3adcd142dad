// How lanes of one disk reach each other.
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

/// Messages to a lane, and what wakes it. Everything but the descriptor: under the disk's
/// lock.
final class LaneMailbox {
  private var messages: [LaneMessage] = []
  let bell: WakeUp

  init() throws(LinuxError) { bell = try WakeUp() }

  /// Puts a message in, and wakes the lane if it does not know that there are any.
  func post(_ message: LaneMessage) {
    messages.append(message)
    if messages.count == 1 { bell.wake() }
  }

  /// Takes all messages out; `taken` is empty before, and keeps its memory.
  func take(into taken: inout [LaneMessage]) {
    swap(&messages, &taken)
    bell.clear()
  }
}
