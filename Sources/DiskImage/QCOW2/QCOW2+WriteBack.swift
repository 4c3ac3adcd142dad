// The order in which a qcow2 file changes.
import BlockIO
import Glibc

extension QCOW2.Disk {
  /// Writes everything that is only in memory, and makes it durable.
  ///
  /// At every moment the medium has counted what its tables refer to, whatever part of the writes since the
  /// last fdatasync it has: data and counts; the refcount table, which names counts; L2 tables, which name
  /// data; the L1 table, which names L2 tables; only then the counts of what they have dropped.
  func writeBack() throws(DiskImageError) {
    try writeTables(.refcountBlock)
    if tables.dirtyCount(.refcountTable) > 0 {
      try synchronize()
      try writeTables(.refcountTable)
    }
    try extendFile()
    try synchronize()
    if tables.dirtyCount(.l2) > 0 {
      try writeTables(.l2)
      try synchronize()
    }
    if tables.dirtyCount(.l1) > 0 {
      try writeTables(.l1)
      try synchronize()
    }
    try applyFrees()
  }

  /// Keeps the memory for tables within its limit, between two steps of a request.
  func reclaim() throws(DiskImageError) {
    guard tables.isCrowded || pendingFrees.count >= Limits.qcow2PendingFreesMax else { return }
    try writeBack()
    // The counts of what was freed, if they are many.
    if tables.isCrowded { try writeBack() }
  }

  func writeTables(_ kind: QCOW2.TableKind) throws(DiskImageError) {
    guard tables.dirtyCount(kind) > 0 else { return }
    willWrite(upTo: neededEnd)
    let end = try tables.write(kind, to: metadata, engine: engine)
    writtenEnd = max(writtenEnd, end)
  }

  /// Makes the file as long as its clusters: QEMU takes a cluster beyond the end for a mistake.
  private func extendFile() throws(DiskImageError) {
    guard writtenEnd < neededEnd else { return }
    try put([0], at: neededEnd - 1)
  }

  func synchronize() throws(DiskImageError) { try durability.synchronize(metadata, engine: engine) }

  func put(_ bytes: ArraySlice<UInt8>, at offset: UInt64) throws(DiskImageError) {
    let end = offset + UInt64(bytes.count)
    willWrite(upTo: end)
    do throws(BlockIOError) { try engine.write(metadata, at: offset, from: bytes) } catch {
      throw .file(error)
    }
    writtenEnd = max(writtenEnd, end)
  }

  func put(_ parts: UnsafeBufferPointer<iovec>, at offset: UInt64) throws(DiskImageError) {
    let end = offset + (parts.byteCount ?? 0)
    willWrite(upTo: end)
    do throws(BlockIOError) { try engine.write(metadata, at: offset, from: parts) } catch {
      throw .file(error)
    }
    writtenEnd = max(writtenEnd, end)
  }

  /// A write that fails may have written, too: what is there is no longer known to be zeros.
  private func willWrite(upTo end: UInt64) {
    durability.willChange()
    touchedEnd = max(touchedEnd, end)
  }

  /// Before the first change: whoever does not keep a feature in order says so, and names the journal.
  /// Bitmaps that are no longer right go, as far as we understand where they are.
  func prepareToWrite() throws(DiskImageError) {
    guard !isPrepared else { return }
    if header.autoclear != 0 || tables.unnamedJournal != nil {
      var bitmaps: [Range<UInt64>] = []
      var isGood = header.autoclear & QCOW2.Autoclear.bitmaps != 0
      if isGood {
        isGood = try QCOW2.forEachBitmapRange(header, of: metadata, engine: engine) { (offset, count) in
          let end = offset + count
          let last = (end + geometry.clusterMask) >> geometry.clusterBits
          bitmaps.append(offset >> geometry.clusterBits..<last)
        }
      }
      var changed = header
      changed.autoclear = 0
      if isGood { changed.setExtension(QCOW2.ExtensionType.bitmaps, nil) }
      try rewriteNaming(changed)
      if isGood { for clusters in bitmaps { free(clusters) } }
    }
    isPrepared = true
  }
}
