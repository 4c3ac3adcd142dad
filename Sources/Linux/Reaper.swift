// Nothing that we started outlives us, even if we are killed.
import CLinux
import Glibc

/// A process that kills, when we have gone, the process groups that it was told of.
///
/// The kernel kills our children with us (`PR_SET_PDEATHSIG`), but not theirs: a UML that is killed while it
/// starts a process leaves that one behind, stopped for ever.
package final class Reaper {
  private let identifier: Int32
  private var channel: Descriptor?

  /// Call it early: the process is a copy of ours, though it closes every descriptor.
  package init() throws(LinuxError) {
    var channel: CInt = -1
    identifier = CLinux_start_reaper(&channel)
    guard identifier > 0 else { throw LinuxError("fork", "", code: -identifier) }
    self.channel = Descriptor(owning: channel)
  }

  deinit {
    channel = nil
    while waitpid(identifier, nil, 0) < 0, errno == EINTR {}
  }

  /// Kills this group when we have gone.
  package func watch(_ group: Int32) { tell(group) }

  /// The group has ended; its number may soon be another's.
  package func forget(_ group: Int32) { tell(-group) }

  private func tell(_ message: Int32) {
    guard let channel = channel?.rawValue else { return }
    _ = withUnsafeBytes(of: message) { send(channel, $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL)) }
  }
}
