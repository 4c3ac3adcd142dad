// The arm and the platters.
import Simulation

extension HDDModel {
  /// Serves a request at the present, when the arm is free: from a cache that has it meanwhile, by reading
  /// on, or by a media access.
  mutating func serve(_ next: Pending, into finished: inout [ModelCompletion]) {
    if next.isRead {
      let start = firstMissing(next.start, next.end)
      if start >= next.end {
        counts.hits += 1
        return finish(
          next.sequence, after: parameters.hitOverhead + parameters.bus(next.end - next.start), at: time,
          &finished)
      }
      if readOn(next.sequence, start, next.end, time, &finished) { return }
    }
    stopStream(at: time)
    let (prepared, loaded) = delays(next.arrival, next.overhead, next.loaded)
    let move = seek(to: next.place.cylinder, head: next.place.head, isRead: next.isRead)
    count(move, next.place)
    let access = pass(
      next.place, Int(next.end - next.start),
      from: max(time + UInt64(prepared) + move, time + UInt64(loaded)),
      isRead: next.isRead)
    armSector = next.end
    var done = access.end
    if next.isRead {
      counts.mediaReads += 1
      operation = .read(start: next.start)
      let first = access.begin + sectorTime(next.place)
      done = max(done, first + parameters.bus(next.end - next.start))
    } else {
      counts.mediaWrites += 1
      operation = .write
    }
    counts.busyTime += access.end - time
    armFreeAt = access.end
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

  private func sectorTime(_ place: HDDPlace) -> UInt64 {
    UInt64(roundedUp(Int(revolution), geometry.zones[place.zone].sectorsPerTrack))
  }

  /// Waits for a place to pass and goes over sectors from there, into further zones if need be; the arm is
  /// on the last one's track afterwards.
  private mutating func pass(
    _ place: HDDPlace, _ count: Int, from start: UInt64, isRead: Bool
  ) -> (begin: UInt64, end: UInt64) {
    var (place, left, begin, now) = (place, count, start, start)
    var isFirst = true
    while true {
      let turned = Int((now + phase) % revolution)
      let rotation = UInt64(wait(from: turned, to: geometry.angle(of: place)))
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
      guard left > 0 else { return (begin, now) }
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
    case .read(let start): beginStream(start)
    }
    operation = .none
  }

  /// After a read of sectors from `start` to where the arm is.
  private mutating func beginStream(_ start: UInt64) {
    guard parameters.segments > 0 else { return }
    let end = armSector
    guard parameters.readAheadSectors > 0, end < geometry.sectors else { return segments.insert(start, end) }
    let place = geometry.place(of: end)
    let turned = Int((time + phase) % revolution)
    let step = UInt64(wait(from: turned, to: geometry.angle(of: place)))
    stream = Stream(start: start, from: end, begun: time + step, place: place, limit: end)
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

  /// Whether a sector is in the stream's buffer or about to pass.
  @inline(__always)
  func continuesStream(_ sector: UInt64) -> Bool {
    guard let stream else { return false }
    return stream.start <= sector && sector <= stream.limit
  }

  /// Serves a read from the stream if it is there, or comes without another seek; the arm is free.
  mutating func readOn(
    _ sequence: UInt64, _ start: UInt64, _ end: UInt64, _ now: UInt64, _ finished: inout [ModelCompletion]
  ) -> Bool {
    guard continuesStream(start), let old = stream else { return false }
    let stopsAt = passed(old.limit, in: old)
    // A head that has stopped reads no further without another revolution.
    let isRunning = stopsAt >= now
    if !isRunning, end > old.limit { return false }
    if isRunning {
      guard extendStream(past: end, from: start) else { return false }
    }
    guard let current = stream, end <= current.limit else { return false }
    let cost = parameters.hitOverhead + parameters.bus(end - start)
    busFreeAt = max(now, busFreeAt) + cost
    let last = passed(end, in: current)
    guard last > now else {
      counts.hits += 1
      finished.append(ModelCompletion(sequence: sequence, time: SimulationTime(nanoseconds: busFreeAt)))
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

  /// When the sectors before `sector` have passed; zero for what was read before.
  private func passed(_ sector: UInt64, in stream: Stream) -> UInt64 {
    guard sector > stream.from else { return 0 }
    return stream.begun + UInt64(geometry.passing(Int(sector - stream.from), from: stream.place))
  }

  /// Ends reading on: what has passed is in the cache, the arm is where the head was.
  mutating func stopStream(at now: UInt64) {
    guard let stream else { return }
    self.stream = nil
    let position = self.position(of: stream, at: now)
    segments.insert(stream.start, position)
    guard position > stream.from else { return }
    let last = geometry.place(Int(position - stream.from) - 1, after: stream.place)
    (armCylinder, armHead) = (last.cylinder, last.head)
    armSector = position
  }

  /// The sector that the head has come to.
  private func position(of stream: Stream, at now: UInt64) -> UInt64 {
    guard now > stream.begun else { return stream.from }
    let perTrack = geometry.zones[stream.place.zone].sectorsPerTrack
    let onTrack = min(UInt64(perTrack - stream.place.sector), stream.limit - stream.from)
    if passed(stream.from + onTrack, in: stream) > now {
      // On the first track: the sectors whose end, rounded up, is not later.
      let position = stream.place.position % perTrack
      let turned = roundedUp(position * Int(revolution), perTrack) + Int(now - stream.begun)
      return stream.from + UInt64(turned * perTrack / Int(revolution) - position)
    }
    var (low, high) = (stream.from + onTrack, stream.limit)
    while low < high {
      let middle = low + (high - low + 1) / 2
      if passed(middle, in: stream) <= now { low = middle } else { high = middle - 1 }
    }
    return low
  }
}
