// The owner of a file descriptor.
import CLinux
import Glibc

/// Owns one file descriptor and closes it.
package struct Descriptor: ~Copyable {
  /// The number that the kernel knows it by; valid as long as the owner lives.
  package let rawValue: CInt

  /// Takes over a descriptor that nobody else will close.
  package init(owning rawValue: CInt) {
    precondition(rawValue >= 0)
    self.rawValue = rawValue
  }

  deinit { close(rawValue) }

  /// Gives the descriptor away: the caller closes it from now on.
  package consuming func release() -> CInt {
    let value = rawValue
    discard self
    return value
  }

  /// A second descriptor of the same open file (`fcntl(F_DUPFD_CLOEXEC)`).
  package func duplicate() throws(LinuxError) -> Descriptor {
    Descriptor(owning: try retrying("dup", "") { CLinux_duplicate(rawValue) })
  }

  /// Whether reads and writes return EAGAIN instead of waiting (`O_NONBLOCK`).
  package func setNonblocking(_ enabled: Bool) throws(LinuxError) {
    _ = try retrying("fcntl", "O_NONBLOCK") { CLinux_set_nonblocking(rawValue, enabled) }
  }

  /// Whether a program started from here inherits it.
  package func setInherited(_ inherited: Bool) throws(LinuxError) {
    _ = try retrying("fcntl", "FD_CLOEXEC") { CLinux_set_close_on_exec(rawValue, !inherited) }
  }

  /// A non-blocking event counter (`eventfd(2)`).
  package static func eventCounter() throws(LinuxError) -> Descriptor {
    let flags = CInt(bitPattern: UInt32(0o2000000 | 0o4000))  // EFD_CLOEXEC | EFD_NONBLOCK
    return Descriptor(owning: try retrying("eventfd", "") { eventfd(0, flags) })
  }

  /// A pipe: what is written to `writer` comes out of `reader`. Both are close-on-exec.
  package static func pipe() throws(LinuxError) -> DescriptorPair {
    var ends: (CInt, CInt) = (-1, -1)
    _ = try retrying("pipe2", "") {
      withUnsafeMutablePointer(to: &ends) {
        $0.withMemoryRebound(to: CInt.self, capacity: 2) { CLinux_pipe($0) }
      }
    }
    return DescriptorPair(reader: Descriptor(owning: ends.0), writer: Descriptor(owning: ends.1))
  }
}

/// Two ends of a pipe or of a socket pair.
package struct DescriptorPair: ~Copyable {
  package let reader: Descriptor
  package let writer: Descriptor

  package init(reader: consuming Descriptor, writer: consuming Descriptor) {
    self.reader = reader
    self.writer = writer
  }

  /// Both ends, each with an owner of its own.
  package consuming func split(
    _ body: (consuming Descriptor, consuming Descriptor) -> Void
  ) { body(reader, writer) }
}
