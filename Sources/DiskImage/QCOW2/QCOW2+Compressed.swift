// Storing clusters that are compressed already.
package import BlockIO

extension QCOW2.Disk {
  /// Bytes in a cluster.
  package var clusterSize: UInt64 { geometry.clusterSize }
  /// What `appendCompressed` takes.
  package var compressionMethod: CompressedCluster.Method { geometry.compression }

  /// Stores a whole cluster of the disk, compressed by `QCOW2.Compressor` with `compressionMethod`.
  ///
  /// One follows the other without a gap, several in a host cluster. What the disk had there is freed. The
  /// last cluster of a disk is a whole one too: padded with zeros before it was compressed.
  /// - Parameters:
  ///   - offset: in the disk, a multiple of `clusterSize`.
  ///   - stored: fewer bytes than a cluster.
  package func appendCompressed(at offset: UInt64, _ stored: [UInt8]) throws(DiskImageError) {
    try requireOpen(writing: true)
    let count = UInt64(stored.count)
    guard offset < size, offset & geometry.clusterMask == 0, count > 0, count < geometry.clusterSize else {
      throw .outOfBounds(offset: offset, count: count, size: size)
    }
    try prepareToWrite()
    try reclaim()
    let table = try ownTable(offset)
    let (start, clusters) = try reserveCompressed(count)
    do throws(DiskImageError) {
      try put(stored[...], at: start)
      let place = table + geometry.l2Index(offset) * 8
      let slot = try tables.load(place, .l2, from: metadata, engine: engine)
      let old = try meaning(tables.word(slot, place), offset)
      let sectors = (start + count - 1) / 512 - start / 512
      let bits = 62 - (geometry.clusterBits - 8)
      tables.setWord(slot, place, QCOW2.EntryBits.compressed | sectors << bits | start)
      free(old)
    } catch {
      release(clusters)
      throw error
    }
    compressedEnd = start + count
  }

  /// A place for so many bytes, in the rest of the last host cluster or in a new one; counts a reference to
  /// each host cluster that they touch.
  private func reserveCompressed(_ count: UInt64) throws(DiskImageError) -> (UInt64, Range<UInt64>) {
    let last = compressedEnd >> geometry.clusterBits
    let used = compressedEnd & geometry.clusterMask
    let room = used > 0 ? geometry.clusterSize - used : 0
    var references: UInt64 = 0
    if room > 0 { references = try refcount(last) }
    // The rest of a host cluster is ours as long as somebody uses its start.
    let mayShare = references > 0 && references < geometry.refcountMax
    if mayShare, count <= room {
      try setRefcount(last, references + 1)
      return (compressedEnd, last..<last + 1)
    }
    let new = try allocate(upTo: 1)
    let start = new.lowerBound << geometry.clusterBits
    guard start + geometry.clusterSize <= UInt64(1) << (62 - (geometry.clusterBits - 8)) else {
      release(new)
      throw .qcow2(path: path, .full)
    }
    guard mayShare, new.lowerBound == last + 1 else { return (start, new) }
    do throws(DiskImageError) { try setRefcount(last, references + 1) } catch {
      release(new)
      throw error
    }
    return (compressedEnd, last..<new.upperBound)
  }
}
