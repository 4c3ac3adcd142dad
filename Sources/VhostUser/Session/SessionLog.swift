// What a session says.

/// The session's voice: the first lines as they are, the rest as a number.
final class SessionLog {
  private let sink: (String) -> Void
  private var count = 0

  init(sink: @escaping (String) -> Void) { self.sink = sink }

  func callAsFunction(_ line: @autoclosure () -> String) {
    count += 1
    if count <= Limits.logLines { sink(line()) }
  }

  /// Says what was left at the door.
  func collect(from doorbell: Doorbell) {
    let (lines, dropped) = doorbell.takeLines()
    for line in lines { self(line) }
    count += dropped
  }

  /// Says how much was left unsaid.
  func close() {
    if count > Limits.logLines { sink("\(count - Limits.logLines) more lines of this session are not shown") }
  }
}
