// How other threads reach a session.
import Linux

/// Wakes a session's loop, and carries lines for its log there.
///
/// The threads of rings speak through it, because a session's log belongs to the session's thread.
final class Doorbell: Sendable {
  private struct Post {
    var lines: [String] = []
    /// Lines that did not fit.
    var dropped = 0
  }

  private let bell: WakeUp
  private let post = Guarded(Post())

  init() throws(LinuxError) { bell = try WakeUp() }

  /// Readable after a ring, until `answer`.
  var rawValue: CInt { bell.descriptor }

  func ring() { bell.wake() }

  func answer() { bell.clear() }

  /// Leaves a line, if nobody has left too many.
  func post(_ line: @autoclosure () -> String) {
    let isFirst = post.withLock { post in
      guard post.lines.count < Limits.logLines else {
        post.dropped += 1
        return false
      }
      post.lines.append(line())
      return true
    }
    if isFirst { ring() }
  }

  /// The lines that were left, and how many more there would have been.
  func takeLines() -> (lines: [String], dropped: Int) {
    post.withLock { post in
      defer { post = Post() }
      return (post.lines, post.dropped)
    }
  }
}
