// The head reading on after a request.

/// Reading on from `from` at `begun`, until `limit` or something else to do.
///
/// Apart from the model: what looks into a large value would copy all of it first.
struct HDDStream: Sendable {
  /// The first sector that is still in the buffer.
  var start: UInt64
  var from: UInt64
  var begun: UInt64
  var place: HDDPlace
  var limit: UInt64

  /// When the sectors before `sector` have passed; zero for what was read before.
  @inline(__always)
  func passed(_ sector: UInt64, _ geometry: HDDGeometry) -> UInt64 {
    guard sector > from else { return 0 }
    return begun + UInt64(geometry.passing(Int(sector - from), from: place))
  }

  /// Nanoseconds until a sector is reached by reading on; nil when that is not the best way to it.
  ///
  /// Within a revolution it is: a seek meets a sector when it passes, no earlier.
  @inline(__always)
  func wait(for sector: UInt64, at now: UInt64, _ geometry: HDDGeometry) -> UInt64? {
    guard start <= sector, sector <= limit else { return nil }
    let begin = passed(sector, geometry)
    guard begin > now else { return 0 }
    return begin - now < UInt64(geometry.revolution) ? begin - now : nil
  }

  /// The sector that the head has come to.
  func position(at now: UInt64, _ geometry: HDDGeometry) -> UInt64 {
    guard now > begun else { return from }
    let perTrack = geometry.zones[place.zone].sectorsPerTrack
    let onTrack = min(UInt64(perTrack - place.sector), limit - from)
    if passed(from + onTrack, geometry) > now {
      // On the first track: the sectors whose end, rounded up, is not later.
      let turned = geometry.angle(of: place) + Int(now - begun)
      return from + UInt64(turned * perTrack / geometry.revolution - place.offset)
    }
    var (low, high) = (from + onTrack, limit)
    while low < high {
      let middle = low + (high - low + 1) / 2
      if passed(middle, geometry) <= now { low = middle } else { high = middle - 1 }
    }
    return low
  }
}
