// What serves disks.

/// Disks that are served until somebody ends it.
package protocol DiskService: AnyObject {
  /// Whether any client is connected.
  var isBusy: Bool { get }
  /// Whether a client that was at work went without a word.
  var hasLostClient: Bool { get }
  /// Flushes and closes every image; a line for each that could not be.
  func close() -> [String]
  /// What each disk did.
  var reports: [DiskReport] { get }
  /// How many requests were completed.
  var completions: UInt64 { get }
  /// Of what was completed, in its order.
  var digest: String { get }
}
