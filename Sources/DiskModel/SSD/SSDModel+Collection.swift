// Garbage collection: lines with few valid pages are emptied and erased, while the host goes on.

extension SSDModel {
  /// Gives the host's stream an erased line, if collection does not need it. Few are left: that begins.
  mutating func openLine(_ partition: Int, _ now: UInt64) -> Bool {
    // One more victim can always be emptied, or nothing would ever become free.
    let free = partitions[partition].free.count
    let needed = Int(partitions[partition].pagesToMove) + geometry.linePages
    guard free > 0, (free - 1) * geometry.linePages + room(in: partitions[partition].collected) >= needed else {
      return false
    }
    partitions[partition].user = WriteStream(line: partitions[partition].free.removeFirst())
    if !partitions[partition].isCollecting, free - 1 <= parameters.freeLines {
      partitions[partition].isCollecting = true
      // The line just opened, but for what closing its units may lose.
      partitions[partition].credits = geometry.linePages - geometry.unitPages
      collect(partition, now)
    }
    return true
  }

  /// Pages that a stream's line has left.
  private func room(in stream: WriteStream) -> Int {
    stream.line == noIndex ? 0 : geometry.linePages - Int(stream.position)
  }

  /// Begins to empty the line with the fewest valid pages, unless enough lines are free or will be.
  mutating func collect(_ partition: Int, _ now: UInt64) {
    while partitions[partition].isCollecting, partitions[partition].victim == noIndex {
      let free = partitions[partition].free.count
      if free > parameters.freeLines {
        partitions[partition].isCollecting = false
        return
      }
      guard free + partitions[partition].emptying <= parameters.freeLines,
        let line = partitions[partition].victims.minimum
      else { return }
      // All of its pages have a place for certain: emptying a line never stops half way.
      let pages = valid[Int(line)]
      let room = free * geometry.linePages + room(in: partitions[partition].collected)
      guard pages < UInt32(geometry.linePages), Int(partitions[partition].pagesToMove + pages) <= room else {
        return
      }
      _ = partitions[partition].victims.removeMinimum(valid: valid)
      partitions[partition].victim = line
      partitions[partition].cursor = 0
      partitions[partition].emptying += 1
      partitions[partition].pagesToMove += pages
      readsLeft[Int(line)] = 1
      readStripes(partition, now)
    }
  }

  /// Reads the victim's stripes with valid pages, a few for each die at a time.
  private mutating func readStripes(_ partition: Int, _ now: UInt64) {
    let line = partitions[partition].victim
    guard line != noIndex else { return }
    let stripes = UInt32(geometry.linePages / geometry.stripePages)
    let base = line * stripes
    while partitions[partition].readsInFlight < Self.readsPerDie * geometry.diesPerPartition {
      guard partitions[partition].cursor < stripes else {
        partitions[partition].victim = noIndex
        stripeEnded(line, partition, now)
        return
      }
      let stripe = base + partitions[partition].cursor
      partitions[partition].cursor += 1
      let first = stripe * UInt32(geometry.stripePages)
      var pages: UInt32 = 0
      for page in first..<(first + UInt32(geometry.stripePages)) where isValid(page) { pages += 1 }
      guard pages > 0 else {
        partitions[partition].credits += geometry.stripePages
        continue
      }
      let (_, die, type) = geometry.place(first)
      let time = pages == 1 ? parameters.smallReadTimes[type] : parameters.readTimes[type]
      counts.collectionReads += 1
      partitions[partition].readsInFlight += 1
      readsLeft[Int(line)] += 1
      let operation = FlashOperation(
        kind: .collectionRead, die: UInt32(die), duration: time,
        channelBytes: pages * UInt32(SSDParameters.pageSize), target: stripe)
      enqueue(operations.insert(operation), isHostRead: false, now)
    }
  }

  /// Reads of one victim's stripes that wait for a die or are at work, for each die.
  private static let readsPerDie = 2

  /// Whether a flash page is what its logical page's map entry says.
  @inline(__always) func isValid(_ page: UInt32) -> Bool {
    let logical = reverse[page]
    return logical != noIndex && map[logical] == page
  }

  /// A stripe of a victim has been read: its valid pages move, and the host may write as many as it gained.
  mutating func stripeCollected(_ stripe: UInt32, _ now: UInt64) {
    let first = stripe * UInt32(geometry.stripePages)
    let partition = partition(of: first)
    let line = geometry.byLine.quotient(first)
    var moved = 0
    for page in first..<(first + UInt32(geometry.stripePages)) where isValid(page) {
      move(page, partition, now)
      moved += 1
    }
    partitions[partition].credits += geometry.stripePages - moved
    partitions[partition].readsInFlight -= 1
    stripeEnded(line, partition, now)
    readStripes(partition, now)
    collect(partition, now)
    placeWaiting(partition, now)
    admit(now)
  }

  /// The last stripe of a victim has been dealt with: its blocks are erased.
  ///
  /// It counts as free at once: whatever is programmed there comes to each die after the erase.
  private mutating func stripeEnded(_ line: UInt32, _ partition: Int, _ now: UInt64) {
    readsLeft[Int(line)] -= 1
    guard readsLeft[Int(line)] == 0 else { return }
    partitions[partition].emptying -= 1
    partitions[partition].free.append(line)
    counts.erases += UInt64(geometry.diesPerPartition)
    for die in 0..<geometry.diesPerPartition {
      let operation = FlashOperation(
        kind: .erase, die: UInt32(partition * geometry.diesPerPartition + die),
        duration: parameters.eraseTime, target: line)
      enqueue(operations.insert(operation), isHostRead: false, now)
    }
  }

  func partition(of page: UInt32) -> Int {
    geometry.partitions == 1 ? 0 : Int(geometry.byPartitionPages.quotient(page))
  }

  private mutating func move(_ page: UInt32, _ partition: Int, _ now: UInt64) {
    partitions[partition].pagesToMove -= 1
    let (line, position) = moveInMap(page, partition)
    if partitions[partition].collected.unit == noIndex {
      partitions[partition].collected.unit = openUnit(.collectionProgram, line, position, partition)
    }
    guard geometry.byUnit.remainder(position + 1) == 0 else { return }
    let unit = partitions[partition].collected.unit
    partitions[partition].collected.unit = noIndex
    counts.collectionPrograms += 1
    closeCollectedLine(partition)
    enqueue(unit, isHostRead: false, now)
  }

  /// Gives a valid page of a victim its new place: returns the line and the position within.
  mutating func moveInMap(_ page: UInt32, _ partition: Int) -> (line: UInt32, position: UInt32) {
    if partitions[partition].collected.line == noIndex {
      partitions[partition].collected = WriteStream(line: partitions[partition].free.removeFirst())
    }
    let line = partitions[partition].collected.line
    let position = partitions[partition].collected.position
    let moved = line * UInt32(geometry.linePages) + position
    let logical = reverse[page]
    map[logical] = moved
    reverse[moved] = logical
    valid[Int(geometry.byLine.quotient(page))] -= 1
    valid[Int(line)] += 1
    partitions[partition].collected.position = position + 1
    counts.collectedPages += 1
    return (line, position)
  }

  mutating func closeCollectedLine(_ partition: Int) {
    guard partitions[partition].collected.position == UInt32(geometry.linePages) else { return }
    let line = partitions[partition].collected.line
    partitions[partition].collected = WriteStream()
    partitions[partition].victims.insert(line, valid: valid)
  }
}
