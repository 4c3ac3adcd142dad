// Which request is next.

extension HDDModel {
  /// Removes the next request from the queue; the oldest one that waits for the queue takes its place.
  mutating func takeNext() -> Pending {
    let index = window.count == 1 ? 0 : nextIndex()
    let next = window[index]
    if let waiting = overflow.popFirst() {
      window[index] = waiting
    } else {
      let last = window.removeLast()
      if index < window.count { window[index] = last }
    }
    return next
  }

  private mutating func nextIndex() -> Int {
    guard parameters.ageBound > 0 else { return choice() }
    let oldest = oldest()
    guard time - window[oldest].arrival >= parameters.ageBound else { return choice() }
    if choice() != oldest { counts.aged += 1 }
    return oldest
  }

  private func choice() -> Int {
    switch parameters.scheduler {
    case .fcfs: oldest()
    case .clook: nextUpwards()
    case .sstf: shortestSeek()
    case .sptf: parameters.estimate == .exact ? shortestPositioning() : shortestReckoned()
    }
  }

  private func oldest() -> Int {
    var oldest = 0
    for index in 1..<window.count where window[index].order < window[oldest].order { oldest = index }
    return oldest
  }

  /// The lowest sector from the arm upwards; the lowest of all when there is none.
  private func nextUpwards() -> Int {
    var best = 0
    for index in 1..<window.count {
      let (a, b) = (window[index].start, window[best].start)
      let (isAbove, bestIsAbove) = (a >= armSector, b >= armSector)
      if isAbove != bestIsAbove {
        if isAbove { best = index }
      } else if a < b || a == b && window[index].order < window[best].order {
        best = index
      }
    }
    return best
  }

  private func shortestSeek() -> Int {
    var (best, bestTime, bestOrder) = (0, UInt64.max, UInt64.max)
    for index in window.indices {
      let time = seek(
        to: window[index].place.cylinder, head: window[index].place.head, isRead: window[index].isRead)
      let order = window[index].order
      if time < bestTime || time == bestTime && order < bestOrder {
        (best, bestTime, bestOrder) = (index, time, order)
      }
    }
    return best
  }

  /// The earliest start of the transfer. A seek that alone takes longer than the best so far is not looked
  /// into.
  private func shortestPositioning() -> Int {
    let turned = turning.angle(at: time &+ phase)
    let stream = stream
    var (best, bestTime, bestOrder) = (0, UInt64.max, UInt64.max)
    for index in window.indices {
      let order = window[index].order
      var delay: UInt64 = 0
      if window[index].isRead, let wait = stream?.wait(for: window[index].start, at: time, geometry) {
        // It is being read already.
        delay = wait
      } else {
        let (prepared, loaded) = delays(
          window[index].arrival, window[index].overhead, window[index].loaded)
        delay =
          prepared
          + seek(
            to: window[index].place.cylinder, head: window[index].place.head, isRead: window[index].isRead)
        if delay > bestTime { continue }
        delay = max(delay, loaded)
        delay += turning.wait(from: turned + delay, to: UInt64(window[index].angle))
      }
      if delay < bestTime || delay == bestTime && order < bestOrder {
        (best, bestTime, bestOrder) = (index, delay, order)
      }
    }
    return best
  }

  /// From the present to the start of a request's seek, and to where its data is there.
  @inline(__always)
  func delays(_ arrival: UInt64, _ overhead: UInt64, _ loaded: UInt64) -> (prepared: UInt64, loaded: UInt64) {
    guard parameters.overlapsCommands else { return (overhead, loaded) }
    let waited = time - arrival
    let prepared = overhead > waited ? overhead - waited : 0
    guard parameters.overlapsTransfers else { return (prepared, prepared + (loaded - overhead)) }
    return (prepared, loaded > waited ? loaded - waited : 0)
  }

  /// Nanoseconds from the arm's place to a track, for a read or a write.
  @inline(__always)
  func seek(to cylinder: Int32, head: Int32, isRead: Bool) -> UInt64 {
    let distance = Int(abs(cylinder - armCylinder))
    let move = distance > 0 ? seeks[distance] : head == armHead ? 0 : parameters.headSwitch
    return isRead || (distance == 0 && head == armHead) ? move : move + parameters.writeSettle
  }

  /// The extent to write back next: by the same rule, among the oldest or the nearest.
  mutating func nextDirty() -> DirtyExtents.Cursor {
    let turned = turning.angle(at: time &+ phase)
    if parameters.writeBackWindow > 0 {
      dirty.oldest(parameters.writeBackWindow, into: &candidates)
    } else {
      nearestDirty()
    }
    var (best, bestTime) = (candidates[0], UInt64.max)
    for cursor in candidates {
      let extent = dirty[cursor]
      let delay = seek(to: extent.cylinder, head: extent.head, isRead: false)
      if delay >= bestTime { continue }
      let total = delay + turning.wait(from: turned + delay, to: UInt64(extent.angle))
      if total < bestTime { (best, bestTime) = (cursor, total) }
    }
    return best
  }

  /// The extents around the arm, as many on each side.
  private mutating func nearestDirty() {
    candidates.removeAll(keepingCapacity: true)
    let middle = dirty.firstEnding(from: armSector)
    var cursor = middle
    while dirty.isValid(cursor), candidates.count < Self.reach {
      candidates.append(cursor)
      cursor = dirty.after(cursor)
    }
    cursor = dirty.before(middle)
    let limit = candidates.count + Self.reach
    while dirty.isValid(cursor), candidates.count < limit {
      candidates.append(cursor)
      cursor = dirty.before(cursor)
    }
  }

  /// Extents on one side of the arm that the write-back looks at.
  private static var reach: Int { 24 }
}
