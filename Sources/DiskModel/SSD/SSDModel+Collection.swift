// Garbage collection: lines with few valid pages are emptied and erased, while the host goes on.

extension SSDModel {
  /// Gives the host's stream an erased line, if collection does not need it. Few are left: that begins.
  mutating func openLine(_ partition: Int, _ now: UInt64) -> Bool {
    // One more victim can always be emptied, or nothing would ever become free.
    let free = partitions[partition].free.count
    let needed = Int(partitions[partition].pagesToMove) + geometry.linePages
    guard free > 0, (free - 1) * geometry.linePages + room(in: partitions[partition].collected) >= needed
    else {
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
      let pages = UInt32(isValid.mask(first, count: geometry.stripePages).nonzeroBitCount)
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

  /// A stripe of a victim has been read: its valid pages move, and the host may write as many as it gained.
  mutating func stripeCollected(_ stripe: UInt32, _ now: UInt64) {
    let first = stripe * UInt32(geometry.stripePages)
    let partition = partition(of: first)
    let line = geometry.byLine.quotient(first)
    let mask = isValid.mask(first, count: geometry.stripePages)
    let moved = mask.nonzeroBitCount
    Self.lookUp(map, reverse, first, mask)
    var rest = mask
    while rest != 0 {
      rest = move(first, rest, partition)
      let stream = partitions[partition].collected
      guard geometry.byUnit.remainder(stream.position) == 0 else { break }
      partitions[partition].collected.unit = noIndex
      counts.collectionPrograms += 1
      closeCollectedLine(partition)
      enqueue(stream.unit, isHostRead: false, now)
    }
    partitions[partition].pagesToMove -= UInt32(moved)
    partitions[partition].credits += geometry.stripePages - moved
    partitions[partition].readsInFlight -= 1
    stripeEnded(line, partition, now)
    readStripes(partition, now)
    collect(partition, now)
    placeWaiting(partition, now)
  }

  /// Looks at the map entries of valid pages before they move: they are anywhere in a large table, and so
  /// the processor fetches them all at once.
  private static func lookUp(_ map: LazyTable, _ reverse: LazyTable, _ first: UInt32, _ mask: UInt64) {
    var (rest, entries) = (mask, UInt32(0))
    while rest != 0 {
      entries |= map[reverse[first + UInt32(rest.trailingZeroBitCount)]]
      rest &= rest - 1
    }
    precondition(entries < 1 << 31, "a valid page is mapped")
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
    guard eraseTime > 0 else { return }
    for die in 0..<geometry.diesPerPartition {
      let operation = FlashOperation(
        kind: .erase, die: UInt32(partition * geometry.diesPerPartition + die),
        duration: eraseTime, target: line)
      enqueue(operations.insert(operation), isHostRead: false, now)
    }
  }

  func partition(of page: UInt32) -> Int {
    geometry.partitions == 1 ? 0 : Int(geometry.byPartitionPages.quotient(page))
  }

  /// Gives valid pages of a victim's stripe new places, up to the end of a unit; returns those that are left.
  mutating func move(_ first: UInt32, _ mask: UInt64, _ partition: Int) -> UInt64 {
    var stream = partitions[partition].collected
    if stream.line == noIndex { stream = WriteStream(line: partitions[partition].free.removeFirst()) }
    if stream.unit == noIndex {
      stream.unit = openUnit(.collectionProgram, stream.line, stream.position, partition)
    }
    let place = stream.line * UInt32(geometry.linePages) + stream.position
    let room = UInt32(geometry.unitPages) - geometry.byUnit.remainder(stream.position)
    var (rest, count) = (mask, UInt32(0))
    while rest != 0, count < room {
      let page = first + UInt32(rest.trailingZeroBitCount)
      let logical = reverse[page]
      map[logical] = place + count
      reverse[place + count] = logical
      isValid[page] = false
      isValid[place + count] = true
      count += 1
      rest &= rest - 1
    }
    valid[Int(geometry.byLine.quotient(first))] -= count
    valid[Int(stream.line)] += count
    counts.collectedPages += UInt64(count)
    stream.position += count
    partitions[partition].collected = stream
    return rest
  }

  mutating func closeCollectedLine(_ partition: Int) {
    guard partitions[partition].collected.position == UInt32(geometry.linePages) else { return }
    let line = partitions[partition].collected.line
    partitions[partition].collected = WriteStream()
    partitions[partition].victims.insert(line, valid: valid)
  }
}
