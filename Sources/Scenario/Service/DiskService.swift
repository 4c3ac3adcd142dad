// What serves disks.

/// Disks that are served until somebody ends it.
package protocol DiskService: AnyObject {
  /// Whether any client is connected.
  var isBusy: Bool { get }
  /// Whether a client that was at work went without a word.
  var hasLostClient: Bool { get }
  /// Looks whether images have become longer or shorter, and tells the drivers.
  func refreshSizes()
  /// Flushes and closes every image; a line for each that could not be.
  func close() -> [String]
  /// Which engine serves each disk, and why, a line each; none in simulated time.
  var engines: [String] { get }
  /// What each disk did.
  var reports: [DiskReport] { get }
  /// How many requests were completed.
  var completions: UInt64 { get }
  /// Of what was completed, in its order.
  var digest: String { get }
}
