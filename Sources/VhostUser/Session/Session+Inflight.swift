// What is under way when we are killed.
import Linux

extension Session {
  /// The reply carries the descriptor: the front-end keeps the memory, and gives it back with the next
  /// message.
  func makeInflightArea(_ payload: RawSpan) throws(VhostUserError) -> [UInt8] {
    try require(.inflight)
    let wish = try InflightLayout(parsing: payload)
    let made = try InflightArea.make(queueCount: wish.queueCount, queueSize: wish.queueSize)
    var reply: [UInt8] = []
    made.layout.encode(into: &reply)
    do throws(LinuxError) {
      replyDescriptor = try made.file.duplicate()
    } catch { throw .system(error) }
    return reply
  }

  /// Holds for rings that start from now on.
  func setInflightArea(_ payload: RawSpan) throws(VhostUserError) {
    try require(.inflight)
    let layout = try InflightLayout(parsing: payload)
    guard inboxDescriptors.count == 1, let descriptor = inboxDescriptors.borrowed.first else {
      throw .descriptorCount(inboxDescriptors.count, expected: 1)
    }
    inflight = try InflightArea(layout, descriptor: descriptor)
  }
}
