// The bounds of this module; those of faults are beside them.

/// The numbers that bound this module.
enum Limits {
  /// Zeroes and discards proceed in steps of this many bytes.
  static let zeroBytesPerStep: UInt64 = 256 << 20
  /// And of this many where the host cannot make zeros, and they are written.
  static let zeroBytesPerWrittenStep: UInt64 = 1 << 20
}
