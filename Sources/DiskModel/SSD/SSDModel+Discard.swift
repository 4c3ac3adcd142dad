// Pages that hold nothing any more.

extension SSDModel {
  /// Unmaps the pages that lie within a request; returns how many that are, mapped or not.
  mutating func unmap(_ request: ModelRequest) -> UInt64 {
    let range = inside(request)
    let size = SSDParameters.pageSize
    let first = (range.offset + size - 1) / size
    let end = (range.offset + range.length) / size
    guard first < end else { return 0 }
    let chunk = UInt64(LazyTable.chunkSize)
    var page = first
    while page < end {
      let index = Int(page / chunk)
      if page % chunk == 0, page + chunk <= end, map.isConstant(chunk: index) || map.isUntouched(chunk: index)
      {
        unmapUntouched(index)
        page += chunk
      } else {
        let logical = UInt32(page)
        if map[logical] != noIndex {
          counts.discardedPages += 1
          forget(logical)
          map[logical] = noIndex
        }
        page += 1
      }
    }
    return end - first
  }

  /// The same for a whole chunk of the map that nobody wrote to: without a look at each page.
  private mutating func unmapUntouched(_ chunk: Int) {
    let first = UInt32(chunk << LazyTable.chunkShift)
    // It is unmapped, or as the fill left it: then its pages follow each other in each partition.
    guard map.isUntouched(chunk: chunk), map[first] != noIndex else { return }
    let end = first + UInt32(LazyTable.chunkSize)
    for page in first..<(first + UInt32(min(geometry.partitions, LazyTable.chunkSize))) {
      let partition = Int(geometry.byPartition.remainder(page))
      var flashPage = map[page]
      var left = (end - page + UInt32(geometry.partitions) - 1) / UInt32(geometry.partitions)
      while left > 0 {
        let (line, position) = geometry.byLine.split(flashPage)
        let count = min(left, UInt32(geometry.linePages) - position)
        valid[Int(line)] -= count
        if readsLeft[Int(line)] > 0 {
          partitions[partition].pagesToMove -= count
        } else {
          partitions[partition].victims.decreased(line, valid: valid)
        }
        flashPage += count
        left -= count
      }
    }
    mappedPages -= UInt64(LazyTable.chunkSize)
    counts.discardedPages += UInt64(LazyTable.chunkSize)
    map.setChunk(chunk)
  }
}
