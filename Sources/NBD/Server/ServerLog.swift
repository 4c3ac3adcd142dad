// Lines about clients, not too many of them.
import Linux

/// Takes lines from all threads of a server, and leaves out those that come too fast.
final class ServerLog: Sendable {
  private struct State {
    /// When the present span began, on the host's clock.
    var start: UInt64 = 0
    var count = 0
    var omitted = 0
  }

  private let state = Guarded(State())
  private let write: @Sendable (String) -> Void

  private static let linesPerSpan = 10
  private static let spanMilliseconds: UInt64 = 10_000

  init(_ write: @escaping @Sendable (String) -> Void) { self.write = write }

  func callAsFunction(_ line: String) {
    let now = HostClock.milliseconds
    let omitted = state.withLock { state -> Int? in
      if state.count == 0 || now - state.start >= Self.spanMilliseconds {
        (state.start, state.count) = (now, 0)
      }
      state.count += 1
      guard state.count <= Self.linesPerSpan else {
        state.omitted += 1
        return nil
      }
      defer { state.omitted = 0 }
      return state.omitted
    }
    guard let omitted else { return }
    write(omitted == 0 ? line : "\(line) (\(omitted) more lines before it)")
  }
}
