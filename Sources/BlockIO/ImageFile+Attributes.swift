// What a file has besides its contents.
package import Glibc
import Linux

extension ImageFile {
  /// Who may read and write the file, without the bits for set-user-id and the like.
  package func permissions() throws(BlockIOError) -> mode_t {
    var status = stat()
    guard fstat(descriptor.rawValue, &status) == 0 else { throw .cannotOpen(LinuxError("fstat", path)) }
    return status.st_mode & 0o777
  }

  /// When the contents changed last, to the nanosecond.
  package func modificationTime() throws(BlockIOError) -> timespec {
    var status = stat()
    guard fstat(descriptor.rawValue, &status) == 0 else { throw .cannotOpen(LinuxError("fstat", path)) }
    return status.st_mtim
  }

  /// Gives the contents another time of change (`futimens(2)`); the time of access stays.
  ///
  /// For operations that change where the bytes are and not what they are: COW files hold the time of their
  /// backing file, and would be refused for nothing.
  package func setModificationTime(_ time: timespec) throws(BlockIOError) {
    var status = stat()
    guard fstat(descriptor.rawValue, &status) == 0 else { throw .cannotOpen(LinuxError("fstat", path)) }
    let times = [status.st_atim, time]
    do throws(LinuxError) {
      _ = try retrying("futimens", path) { futimens(descriptor.rawValue, times) }
    } catch { throw .cannotOpen(error) }
  }
}
