// Flushes: what was written before is on the flash, or is safe where it is.
internal import Simulation

/// Which pages were written before which flush.
///
/// An epoch is the time between two flushes. A unit holds pages of one epoch: a flush closes those that are
/// open. A flush is done when no page of its epoch and earlier ones is left in the buffer.
struct FlushState: Sendable {
  /// Pages in the buffer, by epoch: the oldest that is not drained first, the present one last.
  private(set) var outstanding = Fifo<UInt64>([0])
  /// The flushes at the ends of these epochs, the present one's excepted, and when the firmware is done.
  private var ends = Fifo<(sequence: UInt64, earliest: UInt64)>()
  private var oldest: UInt32 = 0
  /// Whether anything was written in the present epoch.
  private(set) var isDirty = false

  /// A flush that is not queued is waiting for what came before it, or at work; these came after it.
  var isHolding = false
  var holder: UInt64 = 0
  var held = Fifo<ModelRequest>()

  var present: UInt32 { oldest &+ UInt32(outstanding.count - 1) }

  /// Whether a flush has nothing to do.
  var isClean: Bool { !isDirty && outstanding.count == 1 && outstanding[0] == 0 }

  mutating func buffered(_ pages: UInt32) {
    outstanding[outstanding.count - 1] += UInt64(pages)
    isDirty = true
  }

  /// Whether a flush may be done now.
  mutating func programmed(_ pages: UInt32, epoch: UInt32) -> Bool {
    let index = Int(epoch &- oldest)
    outstanding[index] -= UInt64(pages)
    return index == 0 && outstanding[0] == 0 && outstanding.count > 1
  }

  /// A flush ends the epoch.
  mutating func begin(_ sequence: UInt64, earliest: UInt64) {
    ends.append((sequence, earliest))
    outstanding.append(0)
    isDirty = false
  }

  /// The next flush that is done.
  mutating func popDrained() -> (sequence: UInt64, earliest: UInt64)? {
    guard outstanding.count > 1, outstanding[0] == 0 else { return nil }
    _ = outstanding.popFirst()
    oldest &+= 1
    return ends.popFirst()
  }
}

extension SSDModel {
  mutating func flush(_ request: ModelRequest, at now: UInt64, _ finished: inout [ModelCompletion]) {
    counts.flushes += 1
    guard parameters.isFlushQueued else {
      flushes.isHolding = true
      flushes.holder = request.sequence
      if unresolved == 0 { scheduleHeldFlush(at: now) }
      return
    }
    drain(request.sequence, now, &finished)
  }

  /// All before a flush that is not queued have ends: it begins at the last of them.
  mutating func scheduleHeldFlush(at now: UInt64) {
    events.insert(.flushBegins, 0, at: max(now, lastEnd))
  }

  mutating func beginFlush(_ now: UInt64, _ finished: inout [ModelCompletion]) {
    drain(flushes.holder, now, &finished)
  }

  mutating func endFlush(_ now: UInt64, _ finished: inout [ModelCompletion]) {
    flushes.isHolding = false
    // Until the next flush holds the rest.
    while !flushes.isHolding, let request = flushes.held.popFirst() {
      counts.heldByFlush += 1
      accept(request, at: now, &finished)
    }
  }

  private mutating func drain(_ sequence: UInt64, _ now: UInt64, _ finished: inout [ModelCompletion]) {
    if parameters.hasPowerLossProtection {
      flushed(sequence, at: now + parameters.flushTime, &finished)
      return
    }
    let earliest = now + parameters.firmwareWrite
    if flushes.isClean {
      flushed(sequence, at: earliest, &finished)
      return
    }
    flushes.begin(sequence, earliest: earliest)
    unresolved += 1
    for partition in 0..<geometry.partitions {
      closeSoon(partition, PageQueue.Entry.flush, flushes.present, now)
    }
    endDrainedFlushes(now, &finished)
  }

  mutating func endDrainedFlushes(_ now: UInt64, _ finished: inout [ModelCompletion]) {
    while let flush = flushes.popDrained() {
      unresolved -= 1
      flushed(flush.sequence, at: max(now, flush.earliest) + parameters.flushTime, &finished)
    }
  }

  private mutating func flushed(_ sequence: UInt64, at time: UInt64, _ finished: inout [ModelCompletion]) {
    end(sequence, at: time, &finished)
    if flushes.isHolding { events.insert(.flushEnds, 0, at: time) }
  }
}
