// The arm and the platters.
import Simulation

extension HDDModel {
  /// Serves a request at the present, when the arm is free: from a cache that has it meanwhile, by reading
  /// on, or by a media access.
  mutating func serve(_ request: Pending, into finished: inout [ModelCompletion]) {
    var next = request
    if next.isRead {
      if stream != nil, readOn(next.sequence, next.start, next.end, time, &finished) { return }
      stopStream(at: time)
      let start = firstMissing(next.start, next.end)
      if start >= next.end {
        counts.hits += 1
        return finish(
          next.sequence, after: parameters.hitOverhead + parameters.bus(next.end - next.start), at: time,
          &finished)
      }
      if start > next.start {
        next.start = start
        next.place = geometry.place(of: start)
        next.angle = Int32(truncatingIfNeeded: geometry.angle(of: next.place))
      }
    } else {
      stopStream(at: time)
    }
    let (prepared, loaded) = delays(next.arrival, next.overhead, next.loaded)
    let free = footing().free
    let move = seek(to: next.place.cylinder, head: next.place.head, isRead: next.isRead)
    count(move, next.place)
    let access = pass(
      next.place, Int(next.end - next.start),
      from: max(free + prepared + move, free + loaded),
      isRead: next.isRead)
    armSector = next.end
    var done = access.end
    armFreeAt = access.end
    if next.isRead {
      counts.mediaReads += 1
      operation = .read(start: next.start, end: access.end)
      let first = access.begin + sectorTime(next.place)
      done = max(done, first + parameters.bus(next.end - next.start))
      if !parameters.overlapsTransfers { armFreeAt = done }
    } else {
      counts.mediaWrites += 1
      operation = .write
    }
    counts.busyTime += armFreeAt - time
    finished.append(ModelCompletion(sequence: next.sequence, time: SimulationTime(nanoseconds: done)))
  }

  private mutating func count(_ move: UInt64, _ place: HDDPlace) {
    counts.seekTime += move
    if place.cylinder != armCylinder {
      counts.seeks += 1
    } else if place.head != armHead {
      counts.headSwitches += 1
    }
  }

  /// How long until a place passes.
  private func rotation(to place: HDDPlace, at now: UInt64) -> UInt64 {
    turning.wait(from: turning.angle(at: now &+ phase), to: UInt64(geometry.angle(of: place)))
  }

  private func sectorTime(_ place: HDDPlace) -> UInt64 {
    UInt64(roundedUp(geometry.revolution, geometry.zones[place.zone].sectorsPerTrack))
  }

  /// Waits for a place to pass and goes over sectors from there, into further zones if need be; the arm is
  /// on the last one's track afterwards.
  private mutating func pass(
    _ place: HDDPlace, _ count: Int, from start: UInt64, isRead: Bool
  ) -> (begin: UInt64, end: UInt64) {
    var (place, left, begin, now) = (place, count, start, start)
    var isFirst = true
    while true {
      let rotation = rotation(to: place, at: now)
      counts.rotationTime += rotation
      now += rotation
      if isFirst { begin = now }
      isFirst = false
      let part = min(left, geometry.remaining(in: place))
      let passing = UInt64(geometry.passing(part, from: place))
      counts.transferTime += passing
      now += passing
      let last =
        place.sector + part <= geometry.zones[place.zone].sectorsPerTrack
        ? place : geometry.place(part - 1, after: place)
      (armCylinder, armHead) = (last.cylinder, last.head)
      left -= part
      guard left > 0 else {
        lastFooting = HDDFooting(known: now, free: now)
        return (begin, now)
      }
      place = geometry.place(of: geometry.zones[place.zone + 1].firstSector)
      let move = seek(to: place.cylinder, head: place.head, isRead: isRead)
      self.count(move, place)
      now += move
    }
  }

  /// Writes one extent back, or as much of it as one track holds.
  mutating func writeBack() {
    stopStream(at: time)
    let cursor = nextDirty()
    let extent = dirty[cursor]
    let place = geometry.place(of: extent.start)
    let track = geometry.zones[place.zone].sectorsPerTrack - place.sector
    let part = min(Int(extent.end - extent.start), track)
    let geometry = geometry
    dirty.take(UInt64(part), at: cursor) { geometry.extent(at: $0) }
    counts.writeBacks += 1
    inWriteBack = UInt64(part)
    let move = seek(to: place.cylinder, head: place.head, isRead: false)
    count(move, place)
    let access = pass(place, part, from: time + move, isRead: false)
    armSector = extent.start + UInt64(part)
    operation = .writeBack
    counts.openTime = access.end - time
    armFreeAt = access.end
  }

  /// What the arm did is over: its cache learns of it, and the head may read on.
  mutating func finishOperation() {
    switch operation {
    case .none, .write, .stream: break
    case .writeBack:
      inWriteBack = 0
      counts.busyTime += counts.openTime
      counts.openTime = 0
    case .read(let start, let end): beginStream(start, at: end)
    }
    operation = .none
  }

  /// After a read of sectors from `start` to where the arm is, which ended at `now`.
  private mutating func beginStream(_ start: UInt64, at now: UInt64) {
    guard parameters.segments > 0 else { return }
    let end = armSector
    guard parameters.readAheadSectors > 0, end < geometry.sectors else { return segments.insert(start, end) }
    let place = geometry.place(of: end)
    let step = rotation(to: place, at: now)
    stream = HDDStream(start: start, from: end, begun: now + step, place: place, limit: end)
    if extendStream(past: end, from: start), let stream, stream.limit > end { return }
    stream = nil
    segments.insert(start, end)
  }

  /// Moves the end of reading on to a read-ahead past `end`, as far as the segment and the zone allow; false
  /// if the zone ends before `end`.
  private mutating func extendStream(past end: UInt64, from start: UInt64) -> Bool {
    guard var stream else { return false }
    let length = UInt64(parameters.segmentSectors)
    let ahead = min(UInt64(parameters.readAheadSectors), length - min(end - start, length))
    let limit = min(end + ahead, stream.from + UInt64(geometry.remaining(in: stream.place)))
    guard limit >= end else { return false }
    stream.limit = max(stream.limit, limit)
    // The segment is a ring: what was read first goes first.
    if stream.limit - stream.start > length { stream.start = stream.limit - length }
    self.stream = stream
    return true
  }

  /// Serves a read from the stream if it is there, or comes without another seek; the arm is free.
  ///
  /// If not, the stream has ended.
  mutating func readOn(
    _ sequence: UInt64, _ start: UInt64, _ end: UInt64, _ now: UInt64, _ finished: inout [ModelCompletion]
  ) -> Bool {
    guard let old = stream, old.wait(for: start, at: time, geometry) != nil else {
      stopStream(at: now)
      return false
    }
    // A head that has stopped reads no further without another revolution.
    let isRunning = old.passed(old.limit, geometry) >= now
    if isRunning {
      if !extendStream(past: end, from: start) || end > (stream?.limit ?? 0) {
        stopStream(at: now)
        return false
      }
    } else if end > old.limit {
      stopStream(at: now)
      return false
    }
    let current = stream ?? old
    busFreeAt = max(now, busFreeAt) + parameters.hitOverhead + parameters.bus(end - start)
    let last = current.passed(end, geometry)
    guard last > now else {
      counts.hits += 1
      finished.append(ModelCompletion(sequence: sequence, time: SimulationTime(nanoseconds: busFreeAt)))
      if !isRunning { resumeStream(current, past: end, from: start, at: now) }
      return true
    }
    counts.streamed += 1
    counts.transferTime += last - now
    counts.busyTime += last - now
    operation = .stream
    armFreeAt = last
    let done = max(busFreeAt, last + parameters.bus(1))
    finished.append(ModelCompletion(sequence: sequence, time: SimulationTime(nanoseconds: done)))
    return true
  }

  /// Lets a head that had filled its segment go on from there, now that some of it has been asked for.
  private mutating func resumeStream(
    _ stopped: HDDStream, past end: UInt64, from start: UInt64, at now: UInt64
  ) {
    let length = UInt64(parameters.segmentSectors)
    let ahead = min(UInt64(parameters.readAheadSectors), length - min(end - start, length))
    guard end + ahead > stopped.limit, stopped.limit > stopped.from else { return }
    let reached = Int(stopped.limit - stopped.from)
    guard reached < geometry.remaining(in: stopped.place) else { return }
    let last = geometry.place(reached - 1, after: stopped.place)
    (armCylinder, armHead) = (last.cylinder, last.head)
    armSector = stopped.limit
    let place = geometry.place(reached, after: stopped.place)
    let wait = rotation(to: place, at: now)
    stream = HDDStream(
      start: stopped.start, from: stopped.limit, begun: now + wait, place: place, limit: stopped.limit)
    _ = extendStream(past: end, from: start)
  }

  /// Ends reading on: what has passed is in the cache, the arm is where the head was.
  mutating func stopStream(at now: UInt64) {
    guard let stream else { return }
    if parameters.estimate != .exact { lastFooting = footing(on: stream, at: now) }
    self.stream = nil
    let position = stream.position(at: now, geometry)
    segments.insert(stream.start, position)
    guard position > stream.from else { return }
    let last = geometry.place(Int(position - stream.from) - 1, after: stream.place)
    (armCylinder, armHead) = (last.cylinder, last.head)
    armSector = position
  }
}
