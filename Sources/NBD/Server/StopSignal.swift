// How the server reaches the thread of a connection.
import Glibc
import Linux
import Synchronization

/// Says once, to a thread that waits for descriptors, that it is to come to an end.
final class StopSignal: Sendable {
  private let raised = Atomic(false)
  private let bell: SharedDescriptor

  init() throws(LinuxError) { bell = SharedDescriptor(try Descriptor.eventCounter()) }

  /// Readable for ever once it is raised.
  var descriptor: CInt { bell.rawValue }
  var isRaised: Bool { raised.load(ordering: .acquiring) }

  func raise() {
    raised.store(true, ordering: .releasing)
    var one: UInt64 = 1
    // It fails only if the counter is full, and then it rings already.
    _ = write(bell.rawValue, &one, MemoryLayout<UInt64>.size)
  }
}
