// Reads: which stripes, from the buffer or from the flash, and on to the host.

extension SSDModel {
  /// The firmware is done with a read: looks up its map, or loads it first.
  mutating func readReady(_ index: UInt32, _ now: UInt64, _ finished: inout [ModelCompletion]) {
    if mapCache != nil {
      let missing = loadMap(index, now)
      guard missing == 0 else { return }
    }
    readPages(index, now, &finished)
  }

  /// The pages of a read: those of one stripe that follow each other in a partition are sensed together.
  private mutating func readPages(_ index: UInt32, _ now: UInt64, _ finished: inout [ModelCompletion]) {
    let request = requests[index]
    let pages = request.pages
    // One for this function, so that nothing ends before all parts have been made.
    requests[index].pending = 1
    requests[index].last = now
    var direct: UInt64 = 0
    let step = UInt32(geometry.partitions)
    for first in pages.prefix(Int(step)) {
      var group = FlashOperation(kind: .read, die: 0, request: index, duration: 0, target: noIndex)
      var page = first
      while page < pages.upperBound {
        let bytes = pages.count == 1 ? request.length : request.overlap(page)
        let entry = map[page]
        if entry >= 1 << 31 || isUnprogrammed[geometry.byUnit.quotient(entry)] {
          if entry == noIndex { counts.unmappedPages += 1 } else { counts.bufferHits += 1 }
          direct += bytes
        } else {
          let (stripe, die, type) = geometry.place(entry)
          if group.target == stripe {
            group.channelBytes += UInt32(SSDParameters.pageSize)
            group.linkBytes += bytes
            group.duration = parameters.readTimes[type]
          } else {
            if group.target != noIndex { startPart(group, now) }
            group.die = UInt32(die)
            group.target = stripe
            group.channelBytes = UInt32(SSDParameters.pageSize)
            group.linkBytes = bytes
            group.duration = parameters.smallReadTimes[type]
          }
        }
        page += step
      }
      if group.target != noIndex { startPart(group, now) }
    }
    if direct > 0 || request.length == 0 {
      let end = sendOverLink(index, direct, at: now)
      requests[index].last = max(requests[index].last, end)
    }
    partEnded(index, &finished)
  }

  private mutating func startPart(_ operation: FlashOperation, _ now: UInt64) {
    requests[operation.request].pending += 1
    counts.flashReads += 1
    enqueue(operations.insert(operation), isHostRead: true, now)
  }

  /// A part has been sent, or is known to be at `last`.
  mutating func partEnded(_ index: UInt32, _ finished: inout [ModelCompletion]) {
    requests[index].pending -= 1
    if requests[index].pending == 0 { resolve(index, at: requests[index].last, &finished) }
  }

  // MARK: A map that does not fit

  /// Starts reads of the pieces of the map that a request needs and that are not cached, each by itself;
  /// returns how many.
  private mutating func loadMap(_ index: UInt32, _ now: UInt64) -> UInt32 {
    let range = requests[index].pages
    guard let first = range.first, let last = range.last, let pieces = mapCache?.pieces(of: first...last)
    else { return 0 }
    requests[index].pending = 0
    for piece in pieces {
      guard mapCache?.use(piece) == false else { continue }
      let mapPage = UInt32(UInt64(piece) * parameters.mapFetch / SSDParameters.pageSize)
      // Map pages are spread over the dies and types of pages like any other data.
      let die = mapPage % UInt32(geometry.dies)
      let type = Int(mapPage / UInt32(geometry.dies)) % parameters.smallReadTimes.count
      counts.mapReads += 1
      requests[index].pending += 1
      let operation = FlashOperation(
        kind: .mapRead, die: die, request: index, duration: parameters.smallReadTimes[type],
        channelBytes: UInt32(parameters.mapFetch), target: piece)
      enqueue(operations.insert(operation), isHostRead: true, now)
    }
    return requests[index].pending
  }

  /// A piece of the map is there: the read goes on when it was the last.
  mutating func mapPieceLoaded(
    _ index: UInt32, _ piece: UInt32, _ now: UInt64, _ finished: inout [ModelCompletion]
  ) {
    mapCache?.insert(piece)
    requests[index].pending -= 1
    if requests[index].pending == 0 { readPages(index, now, &finished) }
  }
}
