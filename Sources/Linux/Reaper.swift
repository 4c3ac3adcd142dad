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

  /// Where a group says, before it does anything else, that it is to be killed when we have gone.
  var channelNumber: CInt { channel?.rawValue ?? -1 }

  /// The group has ended; its number may soon be another's.
  func forget(_ group: Int32) {
    _ = withUnsafeBytes(of: -group) { send(channelNumber, $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL)) }
  }
}
