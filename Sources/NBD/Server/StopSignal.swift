// How the server reaches the thread of a connection.
import Linux
import Synchronization

/// Says once, to a thread that waits for descriptors, that it is to come to an end.
final class StopSignal: Sendable {
  private let raised = Atomic(false)
  private let bell: WakeUp

  init() throws(LinuxError) { bell = try WakeUp() }

  /// Readable for ever once it is raised.
  var descriptor: CInt { bell.descriptor }
  var isRaised: Bool { raised.load(ordering: .acquiring) }

  func raise() {
    raised.store(true, ordering: .releasing)
    bell.wake()
  }
}
