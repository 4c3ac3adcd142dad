// A refcount table that must grow.
import BlockIO

extension QCOW2.Disk {
  /// Moves the refcount table behind everything that it counts, twice as long.
  ///
  /// The new table and the blocks that count it, and themselves, are durable before the header names them;
  /// until then the old table is right, and from then on the new one.
  func growRefcountTable() throws(DiskImageError) {
    try writeBack()
    let old = header.refcountTableOffset..<header.refcountTableOffset + refcountTableEntries * 8
    let first = refcountTableEntries << geometry.blockBits
    let (tableClusters, blocks) = try newRefcountTableSize(first)
    let total = blocks + tableClusters
    guard (first + total) << geometry.clusterBits < Limits.qcow2HostOffsetMax else {
      throw .qcow2(path: path, .full)
    }
    let counts = QCOW2.counts(
      ones: Int(total), byteCount: Int(blocks << geometry.clusterBits), order: geometry.refcountOrder)
    try put(counts[...], at: first << geometry.clusterBits)
    // The old table, followed by the new blocks; zeros stand for no block.
    var table = [UInt8](repeating: 0, count: Int(old.upperBound - old.lowerBound))
    do throws(BlockIOError) {
      try engine.read(metadata, at: old.lowerBound, into: &table)
    } catch { throw .file(error) }
    for block in 0..<blocks { table.append(bigEndian: (first + block) << geometry.clusterBits) }
    table.append(
      contentsOf: repeatElement(0, count: Int(tableClusters << geometry.clusterBits) - table.count))
    let offset = (first + blocks) << geometry.clusterBits
    try put(table[...], at: offset)
    try synchronize()

    var changed = header
    changed.refcountTableOffset = offset
    changed.refcountTableClusters = UInt32(tableClusters)
    try put(changed.encodedFields()[48..<60], at: 48)
    try synchronize()
    header = changed
    tables.forget(old)
    free(old.lowerBound >> geometry.clusterBits..<old.upperBound >> geometry.clusterBits)
    freeHint = min(freeHint, first + total)
    try applyFrees()
  }

  private func newRefcountTableSize(_ first: UInt64) throws(DiskImageError) -> (UInt64, UInt64) {
    var tableClusters = UInt64(header.refcountTableClusters) * 2
    while true {
      guard tableClusters << geometry.clusterBits <= Limits.qcow2RefcountTableBytesMax else {
        throw .qcow2(path: path, .full)
      }
      let perBlock: UInt64 = 1 << geometry.blockBits
      var blocks: UInt64 = 1
      while blocks * perBlock < blocks + tableClusters { blocks += 1 }
      let entries = tableClusters << (geometry.clusterBits - 3)
      if refcountTableEntries + blocks <= entries { return (tableClusters, blocks) }
      tableClusters *= 2
    }
  }
}

extension QCOW2 {
  /// Refcount blocks whose first counts are 1, and the others 0.
  static func counts(ones: Int, byteCount: Int, order: UInt32) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: byteCount)
    bytes.withUnsafeMutableBytes { buffer in
      // SAFETY: so many counts fit.
      precondition(ones << Int(order) <= 8 * buffer.count)
      guard let base = buffer.baseAddress else { return }
      for index in 0..<ones { storeCount(base, index, order: order, 1) }
    }
    return bytes
  }
}
