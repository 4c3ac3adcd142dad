// A request reaches the drive: answered by a cache, or put into the queue.
import Simulation

extension HDDModel {
  /// Takes a request that no flush holds, at the present.
  mutating func admit(_ request: Arrived, at now: UInt64, into finished: inout [ModelCompletion]) {
    switch request.operation {
    case .read:
      counts.reads += 1
      admitRead(request, at: now, into: &finished)
    case .write:
      counts.writes += 1
      let count = request.end - request.start
      guard !request.isForced, count <= parameters.writeCacheSectors else {
        return enqueueWrite(request, at: now, isTransferred: true)
      }
      guard stalled.isEmpty, hasSpace(for: count) else {
        counts.stalls += 1
        return stalled.append(request)
      }
      cache(request, at: now, into: &finished)
    case .writeZeroes:
      counts.writes += 1
      enqueueWrite(request, at: now, isTransferred: false)
    case .discard:
      counts.discards += 1
      forget(request, at: now)
      let pieces = request.length >> 22 + (request.length & (1 << 22 - 1) == 0 ? 0 : 1)
      let cost = scaled(pieces, by: parameters.discardCost, over: 1)
      finish(request.sequence, after: parameters.discardOverhead + min(cost, 1 << 50), at: now, &finished)
    case .flush:
      counts.flushes += 1
      guard parameters.writeCacheSectors > 0 else {
        return finish(request.sequence, after: parameters.flushOverhead, at: now, &finished)
      }
      // Not queued (ATA FLUSH CACHE): what has come is served and written, what comes now is held.
      flush = (request.sequence, now + parameters.flushOverhead)
    }
  }

  /// Completes a request that only the drive's electronics served: one after another.
  mutating func finish(
    _ sequence: UInt64, after duration: UInt64, at now: UInt64, _ finished: inout [ModelCompletion]
  ) {
    busFreeAt = max(now, busFreeAt) + duration
    finished.append(ModelCompletion(sequence: sequence, time: SimulationTime(nanoseconds: busFreeAt)))
  }

  private mutating func admitRead(
    _ request: Arrived, at now: UInt64, into finished: inout [ModelCompletion]
  ) {
    var start = firstMissing(request.start, request.end)
    if start >= request.end {
      counts.hits += 1
      return finish(
        request.sequence, after: parameters.hitOverhead + parameters.bus(request.end - request.start),
        at: now, &finished)
    }
    if stream != nil, isArmFree, window.isEmpty, dirty.isEmpty {
      if readOn(request.sequence, start, request.end, now, &finished) { return }
      // What has passed is in the cache now.
      start = firstMissing(start, request.end)
    }
    enqueue(request, from: start, at: now, isRead: true, isTransferred: true)
  }

  /// The first of these sectors that neither cache holds.
  mutating func firstMissing(_ start: UInt64, _ end: UInt64) -> UInt64 {
    if !dirty.isEmpty, dirty.contains(start, end) { return end }
    guard parameters.segments > 0 else { return start }
    var missing = start
    while missing < end {
      let next = segments.end(from: missing)
      if next == missing { break }
      missing = next
    }
    return missing
  }

  private func hasSpace(for count: UInt64) -> Bool {
    dirty.sectors + inWriteBack + count <= parameters.writeCacheSectors
  }

  /// Puts a write into the cache, where it is complete for the guest.
  private mutating func cache(_ request: Arrived, at now: UInt64, into finished: inout [ModelCompletion]) {
    counts.cachedWrites += 1
    forgetRead(request.start, request.end, at: now)
    var extent = geometry.extent(at: request.start)
    extent.end = request.end
    dirty.insert(extent)
    let count = request.end - request.start
    finish(request.sequence, after: parameters.hitOverhead + parameters.bus(count), at: now, &finished)
  }

  /// Lets writes into the space that a write-back has left.
  mutating func admitStalled(into finished: inout [ModelCompletion]) {
    while let next = stalled.first, hasSpace(for: next.end - next.start) {
      _ = stalled.popFirst()
      cache(next, at: time, into: &finished)
    }
  }

  /// Drops what the caches hold of a range that is written past them, or discarded.
  private mutating func forget(_ request: Arrived, at now: UInt64) {
    forgetRead(request.start, request.end, at: now)
    if !dirty.isEmpty {
      let geometry = geometry
      dirty.trim(request.start, request.end) { geometry.extent(at: $0) }
    }
  }

  private mutating func forgetRead(_ start: UInt64, _ end: UInt64, at now: UInt64) {
    guard parameters.segments > 0 else { return }
    // Only while the arm is free: otherwise the stream goes on for somebody.
    if isArmFree, let stream, stream.start < end, start < stream.limit { stopStream(at: now) }
    segments.trim(start, end)
  }

  /// - Parameter isTransferred: whether its data goes over the bus.
  private mutating func enqueueWrite(_ request: Arrived, at now: UInt64, isTransferred: Bool) {
    forget(request, at: now)
    enqueue(request, from: request.start, at: now, isRead: false, isTransferred: isTransferred)
  }

  private mutating func enqueue(
    _ request: Arrived, from start: UInt64, at now: UInt64, isRead: Bool, isTransferred: Bool
  ) {
    let place = geometry.place(of: start)
    let overhead = isRead ? parameters.readOverhead : parameters.writeOverhead
    let transfer = isRead || !isTransferred ? 0 : parameters.bus(request.end - start)
    let pending = Pending(
      sequence: request.sequence, order: nextOrder, arrival: now, start: start, end: request.end,
      place: place, angle: Int32(truncatingIfNeeded: geometry.angle(of: place)), isRead: isRead,
      overhead: overhead, loaded: overhead + transfer)
    nextOrder += 1
    if window.count < parameters.depth { window.append(pending) } else { overflow.append(pending) }
  }
}

extension HDDGeometry {
  /// An extent of no length yet.
  func extent(at sector: UInt64) -> DirtyExtents.Extent {
    let place = place(of: sector)
    return DirtyExtents.Extent(
      start: sector, end: sector, age: 0, cylinder: place.cylinder, head: place.head,
      angle: Int32(truncatingIfNeeded: angle(of: place)))
  }
}
