// Flushes.
import BlockIO
import DiskImage
import Glibc
import Linux
import Simulation
import Synchronization

/// A flush that a lane leads, and how far it is.
struct FlushFlight {
  enum Phase { case data, pieces, metadata }

  let plan: FlushPlan
  let file: ImageFile
  var phase = Phase.data
}

extension Lane {
  /// Ends a request when so many completed writes are durable.
  func makeDurable(_ slot: Int, writes: UInt64) {
    switch device.lock({ device.flush.join(writes, Waiter(lane: number, slot: slot)) }) {
    case .isDurable: answer(slot, .ok)
    case .wait: slots.slots[slot].step = .waiting
    case .lead: leadFlush(slot)
    }
  }

  /// Much waits in memory.
  func flushForItself() {
    let slot = slots.take(BlockRequest(operation: .flush, offset: 0, length: 0, tag: 0), at: now)
    slots.slots[slot].isInternal = true
    makeDurable(slot, writes: .max)
  }

  /// Begins the flush under way; this is the one that leads it.
  func leadFlush(_ slot: Int) {
    slots.slots[slot].step = .waiting
    slots.slots[slot].isLeading = true
    do throws(DiskImageError) {
      let isDone = try device.lock { () throws(DiskImageError) -> Bool? in
        if device.image.flushNeedsQuiet, holdBack(slot) || waitForQuiet(slot) { return nil }
        return try beginFlush()
      }
      guard let isDone else { return }
      if isDone { return answer(slot, .ok) }
    } catch { return failFlush(slot, error) }
    slots.slots[slot].step = .flushing
    if let flight { enqueue(.synchronize, slot, flight.file) }
  }

  /// Under the lock.
  /// - Returns: whether it is done already.
  func beginFlush() throws(DiskImageError) -> Bool {
    device.flush.begin(covering: device.completedWrites.load(ordering: .sequentiallyConsistent))
    let plan: FlushPlan
    do throws(DiskImageError) { plan = try device.image.beginFlush() } catch {
      device.endFlush(isDurable: false, by: self)
      throw error
    }
    guard let file = plan.file else {
      device.image.endFlush(.done)
      device.endFlush(isDurable: true, by: self)
      return true
    }
    flight = FlushFlight(plan: plan, file: file)
    return false
  }

  /// A step of the flush is over.
  func goOnFlushing(_ slot: Int) {
    guard let flight else { preconditionFailure("a flush without a plan") }
    let hasFailed = slots.slots[slot].code != 0
    switch flight.phase {
    case .data where hasFailed, .metadata where hasFailed: endFlush(slot, .synchronizeFailed)
    case .pieces where hasFailed: endFlush(slot, .writeFailed)
    case .metadata: endFlush(slot, .done)
    case .data where flight.plan.pieces.isEmpty: endFlush(slot, .done)
    case .data:
      self.flight?.phase = .pieces
      for piece in flight.plan.pieces {
        // SAFETY: iovec has one type for both directions; the bytes are valid until the flush ends.
        var part = iovec(
          iov_base: UnsafeMutableRawPointer(mutating: piece.bytes.baseAddress), iov_len: piece.bytes.count)
        withUnsafePointer(to: &part) {
          enqueue(
            .write, slot, flight.file, at: piece.offset, count: UInt64(piece.bytes.count),
            UnsafeBufferPointer(start: $0, count: 1))
        }
      }
    case .pieces:
      self.flight?.phase = .metadata
      enqueue(.synchronize, slot, flight.file)
    }
  }

  private func endFlush(_ slot: Int, _ result: FlushResult) {
    flight = nil
    let isDurable = if case .done = result { true } else { false }
    device.lock {
      device.image.endFlush(result)
      device.endFlush(isDurable: isDurable, by: self)
    }
    if isDurable { answer(slot, .ok) } else { failFlush(slot, HostError(code: slots.slots[slot].code)) }
  }

  /// What nobody asked for is not tried again.
  func failFlush(_ slot: Int, _ reason: some CustomStringConvertible) {
    if slots.slots[slot].isInternal { device.lock { device.flushesItself = false } }
    fail(slot, reason)
  }
}
