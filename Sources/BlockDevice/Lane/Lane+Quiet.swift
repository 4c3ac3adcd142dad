// What is done when nothing else is under way.
import BlockIO
import DiskImage

extension Lane {
  /// The moment that a request waited for.
  func useQuiet(_ slot: Int) {
    switch slots.slots[slot].request.operation {
    case .flush: flushInQuiet(slot)
    case .read: preconditionFailure("a read waits for nobody")
    // A write that is to be durable waits as the leader of a flush, too.
    case .write where slots.slots[slot].isChanged: flushInQuiet(slot)
    case .discard where slots.slots[slot].isChanged, .writeZeroes where slots.slots[slot].isChanged:
      flushInQuiet(slot)
    case .write:
      let offset = slots.slots[slot].request.offset
      guard
        inQuiet(
          slot,
          { () throws(DiskImageError) in
            try device.image.write(at: offset, from: slots.parts(slot))
          })
      else { return }
      finishPiece(slot)
    case .discard, .writeZeroes:
      guard inQuiet(slot, { () throws(DiskImageError) in try zeroPiece(slot) }) else { return }
      finishImagePiece(slot)
    }
  }

  /// Runs `body` under the lock, and lets the others go on.
  /// - Returns: whether it worked; otherwise the request has failed.
  private func inQuiet(_ slot: Int, _ body: () throws(DiskImageError) -> Void) -> Bool {
    do throws(DiskImageError) {
      try device.lock { () throws(DiskImageError) in
        defer { device.endQuiet() }
        try body()
      }
      return true
    } catch {
      fail(slot, error)
      return false
    }
  }

  private func flushInQuiet(_ slot: Int) {
    do throws(DiskImageError) {
      let isDone = try device.lock { () throws(DiskImageError) in
        defer { device.endQuiet() }
        return try beginFlush()
      }
      if isDone { return answer(slot, .ok) }
    } catch { return failFlush(slot, error) }
    slots.slots[slot].step = .flushing
    if let flight { enqueue(.synchronize, slot, flight.file) }
  }
}
