// Discarding and zeroing.
import BlockIO
import Glibc

extension QCOW2.Disk {
  package func discard(_ range: Range<UInt64>) throws(DiskImageError) {
    try writeZeroes(range, unmap: true)
  }

  /// Whole clusters become zero clusters, or nothing where nothing is beneath; what is left at either end is
  /// written, unless it is zeros already.
  package func writeZeroes(_ range: Range<UInt64>, unmap: Bool) throws(DiskImageError) {
    try requireOpen(writing: true)
    guard range.upperBound <= size else {
      throw .outOfBounds(
        offset: range.lowerBound, count: range.upperBound - range.lowerBound, size: size)
    }
    guard !range.isEmpty else { return }
    try prepareToWrite()
    let mask = geometry.clusterMask
    // The last cluster of the disk counts as whole.
    let wholeEnd = range.upperBound == size ? size : range.upperBound & ~mask
    let wholeStart = (range.lowerBound + mask) & ~mask
    guard wholeStart < wholeEnd else { return try writeZeros(range) }
    try writeZeros(range.lowerBound..<wholeStart)
    var position = wholeStart
    while position < wholeEnd {
      try reclaim()
      position = try zeroClusters(position..<wholeEnd, unmap: unmap)
    }
    try writeZeros(wholeEnd..<range.upperBound)
  }

  /// Zeroes as many clusters as one page of a table has entries for, or skips what has no tables.
  private func zeroClusters(_ range: Range<UInt64>, unmap: Bool) throws(DiskImageError) -> UInt64 {
    let offset = range.lowerBound
    let table = try l2Table(offset)
    if table == nil, isNothingBeneath(offset) {
      return try endOfAbsentTables(offset, limit: range.upperBound)
    }
    let count = min(
      clustersInPage(offset), (range.upperBound - offset + geometry.clusterMask) >> geometry.clusterBits)
    let end = min(range.upperBound, offset + count << geometry.clusterBits)
    if let table {
      let first = table + geometry.l2Index(offset) * 8
      let slot = try tables.load(first, .l2, from: metadata, engine: engine)
      var changes = false
      for index in 0..<count where !changes {
        let entry = tables.word(slot, first + index * 8)
        changes = try zeroed(entry, offset + index << geometry.clusterBits, unmap: unmap).entry != entry
      }
      if !changes { return end }
    }
    let first = try ownTable(offset) + geometry.l2Index(offset) * 8
    let slot = try tables.load(first, .l2, from: metadata, engine: engine)
    for index in 0..<count {
      let entry = tables.word(slot, first + index * 8)
      let new = try zeroed(entry, offset + index << geometry.clusterBits, unmap: unmap)
      guard new.entry != entry else { continue }
      tables.setWord(slot, first + index * 8, new.entry)
      if let freed = new.freed { free(freed, unmap: unmap) }
    }
    return end
  }

  /// Whether nothing shows where this image has nothing.
  private func isNothingBeneath(_ offset: UInt64) -> Bool {
    guard let backing else { return true }
    return offset >= backing.size
  }

  /// What an entry becomes, and what it no longer refers to.
  private func zeroed(
    _ entry: UInt64, _ offset: UInt64, unmap: Bool
  ) throws(DiskImageError) -> (entry: UInt64, freed: QCOW2.Cluster?) {
    let old = try meaning(entry, offset)
    let nothing = isNothingBeneath(offset) ? 0 : QCOW2.EntryBits.zero
    switch old {
    case .unallocated: return (nothing, nil)
    case .zero(nil, _): return (entry, nil)
    case .zero(_?, true) where !unmap: return (entry, nil)
    case .standard(_, true) where !unmap: return (entry | QCOW2.EntryBits.zero, nil)
    case .standard, .zero, .compressed: return (nothing, old)
    }
  }

  /// Makes less than a cluster zeros.
  private func writeZeros(_ range: Range<UInt64>) throws(DiskImageError) {
    guard !range.isEmpty else { return }
    shown.removeAll(keepingCapacity: true)
    try plan(range, into: &shown)
    guard !shown.allSatisfy({ $0.source == .zeroes }) else { return }
    let step = min(Limits.zeroBytesPerWrite, Int(range.upperBound - range.lowerBound))
    try withUnsafeTemporaryAllocation(byteCount: step, alignment: 8) { (memory) throws(DiskImageError) in
      // SAFETY: no part is longer than the memory.
      memory.initializeMemory(as: UInt8.self, repeating: 0)
      var position = range.lowerBound
      while position < range.upperBound {
        let count = min(range.upperBound - position, UInt64(step))
        var part = iovec(iov_base: memory.baseAddress, iov_len: Int(count))
        try withUnsafePointer(to: &part) { (pointer) throws(DiskImageError) in
          try write(at: position, from: UnsafeBufferPointer(start: pointer, count: 1))
        }
        position += count
      }
    }
  }
}
