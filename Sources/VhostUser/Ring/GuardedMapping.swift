// Memory of a front-end's file.
import CLinux
import Linux

/// Owns a mapping that its front-end may cut off: an access past the end of the file finds zeros, and then
/// the mapping is broken for good.
struct GuardedMapping: ~Copyable {
  private let mapping: Mapping
  private let guardian: CInt

  init(sharing descriptor: CInt, count: Int) throws(VhostUserError) {
    do throws(LinuxError) {
      mapping = try Mapping(sharing: descriptor, count: count)
    } catch { throw .system(error) }
    guardian = CLinux_guard(mapping.base, count)
  }

  deinit { CLinux_unguard(guardian) }

  /// The first byte. SAFETY: valid for the length as long as the owner lives.
  var base: UnsafeMutableRawPointer { mapping.base }

  /// Whether something was looked for past the end of the file.
  var isBroken: Bool { CLinux_is_broken(guardian) }
}
