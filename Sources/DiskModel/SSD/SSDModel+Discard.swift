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
      guard page % chunk == 0, page + chunk <= end else {
        unmapOne(UInt32(page))
        page += 1
        continue
      }
      let index = Int(page / chunk)
      let last = index + Int((end - page) / chunk)
      // As many whole chunks of the map as nobody wrote to.
      let untouched = (index..<last).prefix { map.isUntouched(chunk: $0) }.count
      let constant = (index..<last).prefix { map.isConstant(chunk: $0) }.count
      if untouched > 0 { unmapUntouched(index..<(index + untouched)) }
      page += UInt64(max(untouched, constant)) * chunk
      if untouched == 0, constant == 0 {
        for one in page..<(page + chunk) { unmapOne(UInt32(one)) }
        page += chunk
      }
    }
    return end - first
  }

  private mutating func unmapOne(_ page: UInt32) {
    guard map[page] != noIndex else { return }
    counts.discardedPages += 1
    forget(page)
    map[page] = noIndex
  }

  /// The same for whole chunks of the map that nobody wrote to: without a look at each page.
  private mutating func unmapUntouched(_ chunks: Range<Int>) {
    let first = UInt32(chunks.lowerBound << LazyTable.chunkShift)
    let pages = UInt32(chunks.count << LazyTable.chunkShift)
    // They are unmapped, or as the fill left them: then their pages follow each other in each partition.
    guard map[first] != noIndex else { return }
    let step = UInt32(geometry.partitions)
    for page in first..<(first + step) {
      let partition = Int(geometry.byPartition.remainder(page))
      var flashPage = map[page]
      var left = (pages - (page - first) + step - 1) / step
      isValid.clear(Int(flashPage), Int(flashPage + left))
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
    mappedPages -= UInt64(pages)
    counts.discardedPages += UInt64(pages)
    for chunk in chunks { map.setChunk(chunk) }
  }
}
