// What a drive tells of itself.

extension SSDModel {
  package var counters: [ModelCounter] {
    var all = [
      ModelCounter("host_pages_written", counts.hostPages),
      ModelCounter("closed_pages", counts.closedPages),
      ModelCounter("collected_pages", counts.collectedPages),
      ModelCounter("collection_reads", counts.collectionReads),
      ModelCounter("programs", counts.programs),
      ModelCounter("collection_programs", counts.collectionPrograms),
      ModelCounter("block_erases", counts.erases),
      ModelCounter("flash_reads", counts.flashReads),
      ModelCounter("map_reads", counts.mapReads),
      ModelCounter("buffer_hit_pages", counts.bufferHits),
      ModelCounter("unmapped_pages_read", counts.unmappedPages),
      ModelCounter("discarded_pages", counts.discardedPages),
      ModelCounter("buffer_waits", counts.bufferWaits),
      ModelCounter("buffer_full_ns", counts.bufferWait),
      ModelCounter("suspensions", counts.suspensions),
      ModelCounter("flushes", counts.flushes),
      ModelCounter("held_by_flush", counts.heldByFlush),
      ModelCounter("mapped_pages", mappedPages),
      ModelCounter("link_busy_ns", link.busy),
      ModelCounter("channels_busy_ns", channels.reduce(0) { $0 + $1.busy }),
      ModelCounter("dies_busy_ns", dies.reduce(0) { $0 + $1.busy }),
    ]
    if let amplification { all.append(ModelCounter("write_amplification_thousandths", amplification)) }
    return all
  }

  /// Pages that were programmed for each one that the host wrote, in thousandths; nil before it wrote any.
  private var amplification: UInt64? {
    guard counts.hostPages > 0 else { return nil }
    return UInt64(
      UInt128(counts.hostPages + counts.collectedPages) * 1000 / UInt128(counts.hostPages))
  }
}
