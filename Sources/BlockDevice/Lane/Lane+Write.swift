// Writes.
import BlockIO
import DiskImage
import Glibc
import Linux
import Synchronization

extension Lane {
  func startWrite(_ slot: Int, _ data: UnsafeBufferPointer<iovec>) {
    let request = slots.slots[slot].request
    let range = request.offset..<request.offset + request.length
    guard let file = device.plainFile else { return change(slot, range, .write, data) }
    guard request.offset >= device.plainWritesFrom else {
      return change(slot, range, .write, withPrivateStart(slot, data))
    }
    slots.slots[slot].step = .moving
    enqueue(.write, slot, file, at: request.offset, count: request.length, data)
  }

  /// The data, whose first bytes nobody can change any more: they are looked at before they are written, and
  /// a guest has its hands on its memory.
  private func withPrivateStart(
    _ slot: Int, _ data: UnsafeBufferPointer<iovec>
  ) -> UnsafeBufferPointer<iovec> {
    let count = min(slots.slots[slot].request.length, UInt64(LaneSlots.edgeBytes))
    // SAFETY: `edges` has more than one page, and nothing else is in it: a raw disk's page has no edges.
    let memory = slots.edges(for: slot)
    var cursor = IOVectorCursor()
    slices.removeAll()
    slices.append(count, of: data, from: &cursor)
    edgeParts.removeAll()
    edgeParts.append(iovec(iov_base: memory, iov_len: Int(count)))
    edgeParts.append(slots.slots[slot].request.length - count, of: data, from: &cursor)
    var position = 0
    for part in slices.parts {
      // If it has waited, this is its own copy already.
      if let base = part.iov_base { memmove(memory + position, base, part.iov_len) }
      position += part.iov_len
    }
    return edgeParts.parts
  }

  /// Changes a range by a plan.
  /// - Parameters:
  ///   - kind: `write`, or how to make zeros of whole pages.
  ///   - data: what is written; for `write` only.
  func change(
    _ slot: Int, _ range: Range<UInt64>, _ kind: IOOperation.Kind, _ data: UnsafeBufferPointer<iovec>
  ) {
    let planned: Planned
    do throws(DiskImageError) {
      planned = try device.lock { () throws(DiskImageError) in
        try planChange(slot, range, kind, data)
      }
    } catch { return fail(slot, error) }
    switch planned {
    case .moving:
      slots.slots[slot].step = .moving
      enqueueChanges(slot, kind, data)
    case .touching where kind != .write:
      slots.slots[slot].step = .touching
      let count = range.upperBound - range.lowerBound
      enqueue(kind, slot, device.files[0], at: slots.slots[slot].place, count: count)
    case .touching: touch(slot, data)
    case .done: finishPiece(slot)
    case .waiting: wait(slot, keeping: data)
    }
  }

  /// Under the lock.
  private func planChange(
    _ slot: Int, _ range: Range<UInt64>, _ kind: IOOperation.Kind, _ data: UnsafeBufferPointer<iovec>
  ) throws(DiskImageError) -> Planned {
    guard !holdBack(slot) else { return .waiting }
    segments.removeAll(keepingCapacity: true)
    device.image.releaseMemory()
    switch try device.image.planWrite(range, of: data, into: &segments) {
    case .inPlace:
      device.beginMoving()
      return .moving
    case .firstTouch(let pages, let head, let tail, let room):
      guard !waitAtGate(slot, pages) else { return .waiting }
      slots.slots[slot].place = segments[0].offset
      segments.removeAll(keepingCapacity: true)
      slots.slots[slot].pages = pages
      slots.slots[slot].head = head ?? 0..<0
      slots.slots[slot].tail = tail ?? 0..<0
      if kind == .write {
        if let head { try device.image.plan(head, into: &segments) }
        if let tail { try device.image.plan(tail, into: &segments) }
        if segments.contains(where: { if case .compressed = $0.source { true } else { false } }) {
          try readEdges(slot)
          segments.removeAll(keepingCapacity: true)
        }
      }
      let isRoomFree = kind == .write && room.map { !device.gate.isClosed($0) } ?? false
      slots.slots[slot].room = isRoomFree ? room ?? pages : pages
      device.gate.close(slots.slots[slot].room)
      device.beginMoving()
      return .touching
    case .blocking(let exclusive):
      guard !waitAtGate(slot, range) else { return .waiting }
      if exclusive, waitForQuiet(slot) { return .waiting }
      try device.image.write(at: range.lowerBound, from: data)
      return .done
    }
  }

  /// Under the lock: whether the request must wait until a page is complete.
  private func waitAtGate(_ slot: Int, _ pages: Range<UInt64>) -> Bool {
    guard device.gate.isClosed(pages) else { return false }
    device.gate.wait(pages, Waiter(lane: number, slot: slot))
    return true
  }

  /// Under the lock: whether the request must wait until nothing is under way. Nobody else waits for that.
  func waitForQuiet(_ slot: Int) -> Bool {
    guard device.quiet.busyCount > 0 else { return false }
    device.quiet.wait(Waiter(lane: number, slot: slot))
    return true
  }

  private func enqueueChanges(
    _ slot: Int, _ kind: IOOperation.Kind, _ data: UnsafeBufferPointer<iovec>
  ) {
    var cursor = IOVectorCursor()
    for segment in segments {
      guard case .file(let index) = segment.source else { preconditionFailure("a write to no file") }
      slices.removeAll()
      if kind == .write { slices.append(segment.count, of: data, from: &cursor) }
      enqueue(
        kind, slot, device.files[Int(index)], at: segment.offset, count: segment.count, slices.parts)
    }
  }

  /// Writes pages for the first time: the segments say what is around the data.
  private func touch(_ slot: Int, _ data: UnsafeBufferPointer<iovec>) {
    guard !segments.isEmpty else { return writeTouched(slot, data) }
    edgeParts.removeAll()
    let (head, tail) = edges(slot)
    if let head { edgeParts.append(head) }
    if let tail { edgeParts.append(tail) }
    enqueueReads(slot, edgeParts.parts)
    // Where there is nothing, zeros are all.
    guard slots.slots[slot].underWay > 0 else { return writeTouched(slot, data) }
    slots.slots[slot].step = .readingEdges
    slots.keep(data, for: slot)
  }

  /// Under the lock: what is around the data, where an engine cannot read it.
  private func readEdges(_ slot: Int) throws(DiskImageError) {
    let entry = slots.slots[slot]
    let (head, tail) = edges(slot)
    for (edge, range) in [(head, entry.head), (tail, entry.tail)] {
      guard var edge else { continue }
      try withUnsafePointer(to: &edge) { (pointer) throws(DiskImageError) in
        try device.image.read(
          at: range.lowerBound, into: UnsafeBufferPointer(start: pointer, count: 1))
      }
    }
  }

  /// Memory for what is around the data.
  private func edges(_ slot: Int) -> (head: iovec?, tail: iovec?) {
    let entry = slots.slots[slot]
    let head = Int(entry.head.upperBound - entry.head.lowerBound)
    let tail = Int(entry.tail.upperBound - entry.tail.lowerBound)
    guard head > 0 || tail > 0 else { return (nil, nil) }
    // SAFETY: each is shorter than a page.
    precondition(head < LaneSlots.edgeBytes && tail < LaneSlots.edgeBytes)
    let memory = slots.edges(for: slot)
    return (
      head > 0 ? iovec(iov_base: memory, iov_len: head) : nil,
      tail > 0 ? iovec(iov_base: memory + LaneSlots.edgeBytes, iov_len: tail) : nil
    )
  }

  private func writeTouched(_ slot: Int, _ data: UnsafeBufferPointer<iovec>) {
    let entry = slots.slots[slot]
    let (head, tail) = edges(slot)
    let before = entry.pages.lowerBound - entry.room.lowerBound
    slices.removeAll()
    if before > 0 { slices.append(zeros.part(before)) }
    if let head { slices.append(head) }
    slices.append(data)
    if let tail { slices.append(tail) }
    if entry.room.upperBound > entry.pages.upperBound {
      slices.append(zeros.part(entry.room.upperBound - entry.pages.upperBound))
    }
    slots.slots[slot].step = .touching
    let start = entry.place - UInt64(head?.iov_len ?? 0) - before
    enqueue(.write, slot, device.files[0], at: start, count: slices.parts.byteCount ?? 0, slices.parts)
  }

  /// What is around the data is there.
  func finishEdges(_ slot: Int) {
    guard slots.slots[slot].code == 0 else { return finishTouching(slot) }
    if slots.slots[slot].request.operation == .write { return writeTouched(slot, slots.parts(slot)) }
    withZeros(slot) { writeTouched(slot, $0) }
  }

  /// Pages are written, and count; or they do not.
  func finishTouching(_ slot: Int) {
    let entry = slots.slots[slot]
    var failure: DiskImageError?
    let wantsFlush = device.lock {
      if entry.code == 0 {
        do throws(DiskImageError) { try device.image.finishWrite(entry.pages) } catch { failure = error }
      }
      device.openGate(entry.room, by: self)
      device.endMoving(by: self)
      return device.image.wantsFlush && !device.flush.isUnderWay && device.flushesItself
    }
    slots.releaseEdges(slot)
    if let failure { fail(slot, failure) } else { finishPiece(slot) }
    if wantsFlush { flushForItself() }
  }

  /// Everything that a request changes is changed.
  func finishChange(_ slot: Int) {
    let writes = device.completedWrites.wrappingAdd(1, ordering: .sequentiallyConsistent).newValue
    guard slots.slots[slot].request.isDurable || device.isWriteThrough else { return answer(slot, .ok) }
    makeDurable(slot, writes: writes)
  }
}
