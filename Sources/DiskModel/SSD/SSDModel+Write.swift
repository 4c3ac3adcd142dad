// Writes: into the buffer when there is room, from there to the flash unit by unit.

extension SSDModel {
  mutating func startWrite(_ request: ModelRequest, at now: UInt64) {
    var state = inside(request)
    let pages = state.pages
    state.nextPage = pages.lowerBound
    state.endPage = pages.upperBound
    state.pending = 1
    unresolved += 1
    let time = parameters.firmwareWrite + parameters.firmwareWritePage * UInt64(max(1, pages.count))
    events.insert(.writeReady, requests.insert(state), at: now + time)
  }

  /// The firmware is done with a write: it gets in line for the buffer.
  mutating func writeReady(_ index: UInt32, _ now: UInt64, _ finished: inout [ModelCompletion]) {
    guard requests[index].nextPage < requests[index].endPage else {
      resolve(index, at: now, &finished)
      return
    }
    requests[index].next = noIndex
    if bufferQueue.isEmpty {
      bufferQueue.head = index
    } else {
      requests[bufferQueue.tail].next = index
    }
    bufferQueue.tail = index
    admit(now)
  }

  /// Sends writes over the link for which there is room, in order.
  mutating func admit(_ now: UInt64) {
    while !bufferQueue.isEmpty, !isFirstArriving {
      let index = bufferQueue.head
      let request = requests[index]
      let pages = min(request.endPage - request.nextPage, segmentPages)
      guard bufferUsed + pages <= bufferPages else {
        if bufferFullSince == .max {
          bufferFullSince = now
          counts.bufferWaits += 1
        }
        return
      }
      if bufferFullSince != .max {
        counts.bufferWait += now - bufferFullSince
        bufferFullSince = .max
      }
      bufferUsed += pages
      requests[index].segment = pages
      let isLast = request.nextPage + pages == request.endPage
      if isLast {
        bufferQueue.head = request.next
        if request.next == noIndex { bufferQueue.tail = noIndex }
      } else {
        isFirstArriving = true
      }
      // Zeroes are made in the drive.
      var end = now
      if request.operation == .write {
        let start = UInt64(request.nextPage) * SSDParameters.pageSize
        let stop = start + UInt64(pages) * SSDParameters.pageSize
        let bytes = min(stop, request.offset + request.length) - max(start, request.offset)
        end = sendOverLink(index, bytes, at: now)
      }
      events.insert(.writeArrived, index, at: end)
    }
  }

  /// A write, or a piece of a large one, is in the buffer.
  mutating func writeArrived(_ index: UInt32, _ now: UInt64, _ finished: inout [ModelCompletion]) {
    let request = requests[index]
    let first = request.nextPage
    let end = first + request.segment
    requests[index].nextPage = end
    flushes.buffered(request.segment)
    for page in first..<end {
      placeSoon(page, forced: request.isForced ? index : noIndex, now)
    }
    if end < request.endPage {
      isFirstArriving = false
      admit(now)
      return
    }
    guard request.isForced else {
      resolve(index, at: now, &finished)
      return
    }
    for page in request.pages.prefix(geometry.partitions) {
      closeSoon(Int(geometry.byPartition.remainder(page)), PageQueue.Entry.close, 0, now)
    }
    unitEnded(for: index, now, &finished)
  }

  // MARK: From the buffer to a place on the flash

  /// Takes a page of the buffer: to the open unit if that may be, otherwise it waits.
  private mutating func placeSoon(_ page: UInt32, forced: UInt32, _ now: UInt64) {
    let partition = Int(geometry.byPartition.remainder(page))
    counts.hostPages += 1
    if forced != noIndex { requests[forced].pending += 1 }
    if partitions[partition].waiting.isEmpty, mayPlace(partition, now) {
      forget(page)
      place(page, isCurrent: true, forced: forced, partition, now)
      return
    }
    forget(page)
    let number = partitions[partition].waiting.append(PageQueue.Entry(page: page, tag: forced))
    map[page] = Self.buffered(number)
  }

  /// The map's entry for a page that waits in the buffer.
  private static func buffered(_ number: UInt32) -> UInt32 { 1 << 31 | number & 0x3fff_ffff }

  /// What was written to a page before is no longer valid.
  mutating func forget(_ page: UInt32) {
    let old = map[page]
    guard old < 1 << 31 else { return }
    mappedPages -= 1
    isValid[old] = false
    let line = geometry.byLine.quotient(old)
    valid[Int(line)] -= 1
    let partition = Int(geometry.byPartition.remainder(page))
    // A victim that is being emptied has one page less to move.
    if readsLeft[Int(line)] > 0 {
      partitions[partition].pagesToMove -= 1
    } else {
      partitions[partition].victims.decreased(line, valid: valid)
    }
  }

  /// Lets waiting pages go on as far as there is room.
  mutating func placeWaiting(_ partition: Int, _ now: UInt64) {
    while !partitions[partition].waiting.isEmpty {
      let entry = partitions[partition].waiting.first
      switch entry.page {
      case PageQueue.Entry.close: closeUnit(partition, now)
      case PageQueue.Entry.flush:
        closeUnit(partition, now)
        partitions[partition].epoch = entry.tag
      default:
        guard mayPlace(partition, now) else { return }
        let isCurrent = map[entry.page] == Self.buffered(partitions[partition].waiting.gone)
        place(entry.page, isCurrent: isCurrent, forced: entry.tag, partition, now)
      }
      partitions[partition].waiting.removeFirst()
    }
  }

  /// Whether the next page of the host has a place; opens a line if need be.
  private mutating func mayPlace(_ partition: Int, _ now: UInt64) -> Bool {
    if partitions[partition].user.line == noIndex, !openLine(partition, now) { return false }
    return !partitions[partition].isCollecting || partitions[partition].credits > 0
  }

  /// - Parameter isCurrent: whether nothing newer was written to the page since it came to the buffer.
  private mutating func place(
    _ page: UInt32, isCurrent: Bool, forced: UInt32, _ partition: Int, _ now: UInt64
  ) {
    let line = partitions[partition].user.line
    let position = partitions[partition].user.position
    let flashPage = line * UInt32(geometry.linePages) + position
    if isCurrent {
      map[page] = flashPage
      reverse[flashPage] = page
      isValid[flashPage] = true
      valid[Int(line)] += 1
      mappedPages += 1
    }
    if partitions[partition].user.unit == noIndex {
      partitions[partition].user.unit = openUnit(
        .program, line, position, partition, epoch: partitions[partition].epoch)
    }
    let unit = partitions[partition].user.unit
    operations[unit].pages += 1
    if forced != noIndex { wait(forced, for: unit) }
    partitions[partition].user.position = position + 1
    partitions[partition].credits -= 1
    if geometry.byUnit.remainder(position + 1) == 0 { finishUnit(partition, now) }
  }

  /// A forced write's page is in this unit; one wait for each unit is enough.
  private mutating func wait(_ request: UInt32, for unit: UInt32) {
    let first = operations[unit].waiter
    if first != noIndex, waiters[first].request == request {
      requests[request].pending -= 1
    } else {
      operations[unit].waiter = waiters.insert(UnitWaiter(request: request, next: first))
    }
  }

  /// An operation for the unit that begins at a position of a line.
  mutating func openUnit(
    _ kind: FlashOperation.Kind, _ line: UInt32, _ position: UInt32, _ partition: Int, epoch: UInt32 = 0
  ) -> UInt32 {
    let unitInLine = geometry.byUnit.quotient(position)
    let unit = geometry.byUnit.quotient(line * UInt32(geometry.linePages) + position)
    isUnprogrammed[unit] = true
    let die = geometry.die(line: line, unitInLine: unitInLine, partition: partition)
    return operations.insert(
      FlashOperation(
        kind: kind, die: UInt32(die), duration: parameters.programTime, target: unit, epoch: epoch))
  }

  private mutating func finishUnit(_ partition: Int, _ now: UInt64) {
    let unit = partitions[partition].user.unit
    partitions[partition].user.unit = noIndex
    counts.programs += 1
    if partitions[partition].user.position == UInt32(geometry.linePages) {
      let line = partitions[partition].user.line
      partitions[partition].user = WriteStream()
      partitions[partition].victims.insert(line, valid: valid)
    }
    enqueue(unit, isHostRead: false, now)
  }

  /// Closes the open unit once the pages that wait have gone to the flash.
  mutating func closeSoon(_ partition: Int, _ kind: UInt32, _ tag: UInt32, _ now: UInt64) {
    if partitions[partition].waiting.isEmpty {
      closeUnit(partition, now)
      if kind == PageQueue.Entry.flush { partitions[partition].epoch = tag }
    } else {
      _ = partitions[partition].waiting.append(PageQueue.Entry(page: kind, tag: tag))
    }
  }

  /// Programs a unit that is not full; the rest of it is lost.
  private mutating func closeUnit(_ partition: Int, _ now: UInt64) {
    guard partitions[partition].user.unit != noIndex else { return }
    let rest = geometry.unitPages - Int(geometry.byUnit.remainder(partitions[partition].user.position))
    partitions[partition].user.position += UInt32(rest)
    partitions[partition].credits -= rest
    counts.closedPages += UInt64(rest)
    finishUnit(partition, now)
  }

  /// A unit of the host's is on the flash: its room in the buffer is free.
  mutating func programmed(
    _ operation: FlashOperation, _ now: UInt64, _ finished: inout [ModelCompletion]
  ) {
    isUnprogrammed[operation.target] = false
    bufferUsed -= operation.pages
    var waiter = operation.waiter
    while waiter != noIndex {
      let one = waiters[waiter]
      waiters.remove(waiter)
      unitEnded(for: one.request, now, &finished)
      waiter = one.next
    }
    if flushes.programmed(operation.pages, epoch: operation.epoch) { endDrainedFlushes(now, &finished) }
    admit(now)
  }

  private mutating func unitEnded(for index: UInt32, _ now: UInt64, _ finished: inout [ModelCompletion]) {
    requests[index].pending -= 1
    if requests[index].pending == 0 { resolve(index, at: now, &finished) }
  }
}
