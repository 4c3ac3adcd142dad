// Garbage collection: lines with few valid pages are emptied and erased, while the host goes on.

extension SSDModel {
  /// Gives the host's stream an erased line; there is one. Few are left: collection begins.
  mutating func openLine(_ partition: Int, _ now: UInt64) {
    partitions[partition].user.line = partitions[partition].free.removeFirst()
    partitions[partition].user.position = 0
    if !partitions[partition].isCollecting, partitions[partition].freeCount <= parameters.freeLines {
      partitions[partition].isCollecting = true
      // The line just opened, but for what closing its units may lose.
      partitions[partition].credits = geometry.linePages - geometry.unitPages
      collect(partition, now)
    }
  }

  /// Begins to empty the line with the fewest valid pages, unless enough lines are free or will be.
  mutating func collect(_ partition: Int, _ now: UInt64) {
    while partitions[partition].isCollecting, partitions[partition].victim == noIndex {
      keepSpare(partition)
      let free = partitions[partition].freeCount
      if free > parameters.freeLines {
        partitions[partition].isCollecting = false
        return
      }
      guard free + partitions[partition].erasing <= parameters.freeLines,
        let line = partitions[partition].victims.minimum
      else { return }
      let pages = valid[Int(line)]
      guard pages < UInt32(geometry.linePages), hasRoom(partition, for: pages) else { return }
      _ = partitions[partition].victims.removeMinimum(valid: valid)
      partitions[partition].victim = line
      partitions[partition].cursor = 0
      partitions[partition].victimPages = pages
      partitions[partition].moved = 0
      partitions[partition].granted = 0
      readStripes(partition, now)
    }
  }

  /// An erased line is put aside for collection, before the host may have it.
  mutating func keepSpare(_ partition: Int) {
    if partitions[partition].spare == noIndex, partitions[partition].free.count > 0 {
      partitions[partition].spare = partitions[partition].free.removeFirst()
    }
  }

  /// Whether a victim's pages have a place for certain: emptying a line never stops half way.
  private func hasRoom(_ partition: Int, for pages: UInt32) -> Bool {
    let line = UInt32(geometry.linePages)
    let stream = partitions[partition].collected
    let open = stream.line == noIndex ? 0 : line - stream.position
    return open + (partitions[partition].spare == noIndex ? 0 : line) >= pages
  }

  /// Reads the victim's stripes with valid pages, two for each die at a time.
  private mutating func readStripes(_ partition: Int, _ now: UInt64) {
    let stripes = UInt32(geometry.linePages / geometry.stripePages)
    let base = partitions[partition].victim * stripes
    while partitions[partition].cursor < stripes,
      partitions[partition].readsInFlight < 2 * geometry.diesPerPartition
    {
      let stripe = base + partitions[partition].cursor
      partitions[partition].cursor += 1
      let first = stripe * UInt32(geometry.stripePages)
      var pages: UInt32 = 0
      for page in first..<(first + UInt32(geometry.stripePages)) where isValid(page) { pages += 1 }
      guard pages > 0 else { continue }
      let (_, die, type) = geometry.place(first)
      let times = pages == 1 ? parameters.smallReadTimes : parameters.readTimes
      counts.collectionReads += 1
      partitions[partition].readsInFlight += 1
      let operation = FlashOperation(
        kind: .collectionRead, die: UInt32(die), duration: times[type],
        channelBytes: pages * UInt32(SSDParameters.pageSize), target: stripe)
      enqueue(operations.insert(operation), isHostRead: false, now)
    }
    if partitions[partition].cursor == stripes, partitions[partition].readsInFlight == 0 {
      eraseVictim(partition, now)
    }
  }

  /// Whether a flash page is what its logical page's map entry says.
  @inline(__always) func isValid(_ page: UInt32) -> Bool {
    let logical = reverse[page]
    return logical != noIndex && map[logical] == page
  }

  /// A stripe of a victim has been read: its valid pages move.
  mutating func stripeCollected(_ stripe: UInt32, _ now: UInt64) {
    let first = stripe * UInt32(geometry.stripePages)
    let partition = partition(of: first)
    for page in first..<(first + UInt32(geometry.stripePages)) where isValid(page) {
      move(page, partition, now)
    }
    partitions[partition].readsInFlight -= 1
    grant(partition)
    readStripes(partition, now)
    placeWaiting(partition, now)
    admit(now)
  }

  func partition(of page: UInt32) -> Int {
    geometry.partitions == 1 ? 0 : Int(geometry.byPartitionPages.quotient(page))
  }

  private mutating func move(_ page: UInt32, _ partition: Int, _ now: UInt64) {
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
      partitions[partition].collected = WriteStream(line: partitions[partition].spare)
      partitions[partition].spare = noIndex
      keepSpare(partition)
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
    partitions[partition].moved += 1
    counts.collectedPages += 1
    return (line, position)
  }

  mutating func closeCollectedLine(_ partition: Int) {
    guard partitions[partition].collected.position == UInt32(geometry.linePages) else { return }
    let line = partitions[partition].collected.line
    partitions[partition].collected = WriteStream()
    partitions[partition].victims.insert(line, valid: valid)
  }

  /// Lets the host write as many pages as collection has gained so far, as if they came evenly.
  private mutating func grant(_ partition: Int) {
    let (pages, moved) = (partitions[partition].victimPages, partitions[partition].moved)
    let gain = UInt64(UInt32(geometry.linePages) - pages)
    // Pages overwritten before they were read count when the line is empty.
    let part = UInt32(gain * UInt64(moved) / UInt64(max(1, pages)))
    partitions[partition].credits += Int(part) - Int(partitions[partition].granted)
    partitions[partition].granted = part
  }

  private mutating func eraseVictim(_ partition: Int, _ now: UInt64) {
    let line = partitions[partition].victim
    let gain = geometry.linePages - Int(partitions[partition].moved)
    partitions[partition].credits += gain - Int(partitions[partition].granted)
    partitions[partition].victim = noIndex
    partitions[partition].erasing += 1
    erasesLeft[Int(line)] = UInt32(geometry.diesPerPartition)
    counts.erases += UInt64(geometry.diesPerPartition)
    for die in 0..<geometry.diesPerPartition {
      let operation = FlashOperation(
        kind: .erase, die: UInt32(partition * geometry.diesPerPartition + die),
        duration: parameters.eraseTime, target: line)
      enqueue(operations.insert(operation), isHostRead: false, now)
    }
    collect(partition, now)
  }

  /// One die has erased its block of a line; the last one makes it free.
  mutating func blockErased(_ line: UInt32, _ now: UInt64) {
    erasesLeft[Int(line)] -= 1
    guard erasesLeft[Int(line)] == 0 else { return }
    let partition = Int(line) / geometry.lines
    partitions[partition].erasing -= 1
    partitions[partition].free.append(line)
    collect(partition, now)
    placeWaiting(partition, now)
    admit(now)
  }
}
