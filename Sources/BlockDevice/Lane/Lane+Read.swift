// Reads.
import BlockIO
import DiskImage
import Glibc
import Linux

extension Lane {
  /// What planning a request has come to.
  enum Planned {
    /// Its bytes can move.
    case moving
    /// Pages are to be written for the first time.
    case touching
    /// It was done under the lock.
    case done
    /// A message will come.
    case waiting
  }

  func startRead(_ slot: Int, _ data: UnsafeBufferPointer<iovec>) {
    let request = slots.slots[slot].request
    if let file = device.plainFile {
      slots.slots[slot].step = .moving
      return enqueue(.read, slot, file, at: request.offset, count: request.length, data)
    }
    let planned: Planned
    do throws(DiskImageError) {
      planned = try device.lock { () throws(DiskImageError) in
        try planRead(slot, request.offset..<request.offset + request.length, data)
      }
    } catch { return fail(slot, error) }
    switch planned {
    case .moving, .touching:
      slots.slots[slot].step = .moving
      enqueueReads(slot, data)
    case .done: answer(slot, .ok)
    case .waiting: wait(slot, keeping: data)
    }
  }

  /// Under the lock. Zeros alone move without anybody's help.
  private func planRead(
    _ slot: Int, _ range: Range<UInt64>, _ data: UnsafeBufferPointer<iovec>
  ) throws(DiskImageError) -> Planned {
    guard !holdBack(slot) else { return .waiting }
    segments.removeAll(keepingCapacity: true)
    device.image.releaseMemory()
    try device.image.plan(range, into: &segments)
    var movesBytes = false
    for segment in segments {
      switch segment.source {
      case .zeroes: break
      case .file: movesBytes = true
      case .compressed:
        try device.image.read(at: range.lowerBound, into: data)
        return .done
      }
    }
    guard movesBytes else {
      data.fillWithZeros()
      return .done
    }
    device.beginMoving()
    return .moving
  }

  /// Fills memory that is as long as the segments; there is something to be read.
  func enqueueReads(_ slot: Int, _ parts: UnsafeBufferPointer<iovec>) {
    var cursor = IOVectorCursor()
    let isSingle = segments.count == 1
    for segment in segments {
      if !isSingle {
        slices.removeAll()
        slices.append(segment.count, of: parts, from: &cursor)
      }
      let parts = isSingle ? parts : slices.parts
      switch segment.source {
      case .zeroes: parts.fillWithZeros()
      case .file(let index):
        enqueue(.read, slot, device.files[Int(index)], at: segment.offset, count: segment.count, parts)
      case .compressed: preconditionFailure("an engine was asked to decompress")
      }
    }
  }

  /// Under the lock: whether the request must wait because another one has its moment.
  func holdBack(_ slot: Int) -> Bool {
    guard device.quiet.holdsBack else { return false }
    device.quiet.hold(Waiter(lane: number, slot: slot))
    return true
  }

  /// A message will go on with the request.
  func wait(_ slot: Int, keeping data: UnsafeBufferPointer<iovec>) {
    slots.slots[slot].step = .waiting
    slots.keep(data, for: slot)
  }

  /// The bytes of a plan have moved, or have failed to.
  func finishMoving(_ slot: Int) {
    if device.movesBytes { device.lock { device.endMoving(by: self) } }
    finishPiece(slot)
  }

  /// What was begun of a request is over.
  func finishPiece(_ slot: Int) {
    let entry = slots.slots[slot]
    guard entry.code == 0 else { return fail(slot, HostError(code: entry.code)) }
    switch entry.request.operation {
    case .read, .flush: answer(slot, .ok)
    case .write: finishChange(slot)
    case .discard, .writeZeroes:
      slots.slots[slot].zeroed = entry.pieceEnd
      startZeroing(slot)
    }
  }
}
