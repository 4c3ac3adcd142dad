// The bounds of this module.

/// The numbers that bound this module.
enum Limits {
  /// Queues of one disk.
  static let queuesMax = 256
  /// How many are offered to a driver, which uses as many as it has processors, unless told otherwise: a
  /// queue that is not used costs nothing.
  static let queuesOffered = 64
  /// Transfers that a queue's engine gives to the kernel at once.
  static let engineDepth = 256
  /// How long an idle ring is looked at before its thread sleeps: what a driver needs for its next request.
  static let kickPollingNanoseconds: UInt64 = 32_000
  /// … and where requests take longer than that: what a driver needs that polls.
  static let shortKickPollingNanoseconds: UInt64 = 5_000
  /// After so many looks in vain only each 2^n-th time is worth one.
  static let kickPollingMissesMax = 8
}
