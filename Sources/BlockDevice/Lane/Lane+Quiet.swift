// What is done when nothing else is under way.
import BlockIO
import DiskImage
import Linux

extension Lane {
  /// The moment that a request waited for.
  func useQuiet(_ slot: Int) {
    // Changes that are to be durable come twice.
    if slots.slots[slot].isLeading { return flushInQuiet(slot) }
    switch slots.slots[slot].request.operation {
    case .read, .flush: preconditionFailure("a request that waits for nobody has got its moment")
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
        defer { device.endQuiet(by: self) }
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
        defer { device.endQuiet(by: self) }
        return try beginFlush()
      }
      if isDone { return answer(slot, .ok) }
    } catch { return failFlush(slot, error) }
    slots.slots[slot].step = .flushing
    if let flight { enqueue(.synchronize, slot, flight.file) }
  }
}
