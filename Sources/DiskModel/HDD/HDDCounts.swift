// What a hard disk counts.

/// Events and times of one drive, for reports.
struct HDDCounts: Sendable {
  var reads: UInt64 = 0
  var writes: UInt64 = 0
  var flushes: UInt64 = 0
  var discards: UInt64 = 0
  /// Answered by a cache alone.
  var hits: UInt64 = 0
  /// Answered by reading on.
  var streamed: UInt64 = 0
  var cachedWrites: UInt64 = 0
  var stalls: UInt64 = 0
  var held: UInt64 = 0
  var mediaReads: UInt64 = 0
  var mediaWrites: UInt64 = 0
  var writeBacks: UInt64 = 0
  var seeks: UInt64 = 0
  var headSwitches: UInt64 = 0
  /// Served before others because of its age.
  var aged: UInt64 = 0
  var seekTime: UInt64 = 0
  var rotationTime: UInt64 = 0
  var transferTime: UInt64 = 0
  var busyTime: UInt64 = 0
  /// Of a write-back that has not ended: nobody waits for it, so it may reach beyond the last completion.
  var openTime: UInt64 = 0

  var list: [ModelCounter] {
    [
      ModelCounter("reads", reads), ModelCounter("writes", writes), ModelCounter("flushes", flushes),
      ModelCounter("discards", discards), ModelCounter("cache_hits", hits),
      ModelCounter("streamed_reads", streamed), ModelCounter("cached_writes", cachedWrites),
      ModelCounter("stalled_writes", stalls), ModelCounter("held_by_flush", held),
      ModelCounter("media_reads", mediaReads), ModelCounter("media_writes", mediaWrites),
      ModelCounter("write_backs", writeBacks), ModelCounter("seeks", seeks),
      ModelCounter("head_switches", headSwitches), ModelCounter("aged", aged),
      ModelCounter("seek_ns", seekTime), ModelCounter("rotation_ns", rotationTime),
      ModelCounter("transfer_ns", transferTime), ModelCounter("busy_ns", busyTime),
    ]
  }
}
