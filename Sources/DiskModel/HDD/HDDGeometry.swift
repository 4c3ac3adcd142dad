// Where a sector is: zones, tracks, skews and angles.

/// Cylinders with one number of sectors on each track, as a drive is described.
package struct HDDZone: Equatable, Sendable {
  package var cylinders: Int
  package var sectorsPerTrack: Int
  /// Sectors by which a track starts later than the one before it, under another head.
  package var trackSkew: Int
  /// The same, in the next cylinder.
  package var cylinderSkew: Int
  /// Cylinders after the zone that hold no data.
  package var spareCylinders: Int

  package init(
    cylinders: Int, sectorsPerTrack: Int, trackSkew: Int, cylinderSkew: Int, spareCylinders: Int = 0
  ) {
    self.cylinders = cylinders
    self.sectorsPerTrack = sectorsPerTrack
    self.trackSkew = trackSkew
    self.cylinderSkew = cylinderSkew
    self.spareCylinders = spareCylinders
  }
}

/// A sector's place on the disk.
struct HDDPlace: Equatable, Sendable {
  var zone: Int
  /// Counts the zone's tracks in the order of their sectors.
  var track: Int
  var sector: Int
  var cylinder: Int32
  var head: Int32
  /// Where it begins, in sectors of its zone: sector and skews.
  var position: Int
  /// The same on its track's circle: less than a track has.
  var offset: Int
}

/// Zones of tracks in serpentine order, turning at a constant rate.
///
/// Sectors go along a surface for `run` cylinders, then back on the next one, and so on over all surfaces;
/// a run of 1 is the classic order of cylinders. `position` counts skews of all tracks before; its angle is
/// rounded up, so that adjacent sectors meet to the nanosecond.
struct HDDGeometry: Sendable {
  struct Zone: Sendable {
    var firstSector: UInt64
    var sectors: UInt64
    var firstCylinder: Int
    var sectorsPerTrack: Int
    var trackSkew: Int
    var cylinderSkew: Int
    /// From the last track of one group of runs to the first of the next.
    var groupSkew: Int
    var tracks: Int
    /// The tracks of a whole group: runs on every surface.
    var groupTracks: Int
    var run: Int
    /// Cylinders of the last group, if it is not a whole one; otherwise `run`.
    var lastRun: Int
    var groups: Int
    /// All skews of a whole group, the step to the next one included.
    var skewOfGroup: Int
  }

  /// Nanoseconds of a revolution.
  let revolution: Int
  let surfaces: Int
  private(set) var zones: [Zone] = []
  private(set) var cylinders = 0
  /// Sectors that have a place.
  private(set) var sectors: UInt64 = 0

  /// - Parameter groupSkew: sectors that pass while the arm goes back over a run, for sectors per track.
  init(
    _ zones: [HDDZone], surfaces: Int, run: Int, revolution: Int, groupSkew: (Int) -> Int
  ) {
    self.revolution = revolution
    self.surfaces = surfaces
    for zone in zones {
      let run = min(run, zone.cylinders)
      let groups = (zone.cylinders + run - 1) / run
      // With an odd number of surfaces the last run ends beside the next group.
      let goesBack = run > 1 && surfaces % 2 == 0
      let step = goesBack ? max(groupSkew(zone.sectorsPerTrack), zone.cylinderSkew) : zone.cylinderSkew
      let inGroup = surfaces * (run - 1) * zone.cylinderSkew + (surfaces - 1) * zone.trackSkew
      let tracks = zone.cylinders * surfaces
      self.zones.append(
        Zone(
          firstSector: sectors, sectors: UInt64(tracks) * UInt64(zone.sectorsPerTrack),
          firstCylinder: cylinders, sectorsPerTrack: zone.sectorsPerTrack, trackSkew: zone.trackSkew,
          cylinderSkew: zone.cylinderSkew, groupSkew: step, tracks: tracks, groupTracks: run * surfaces,
          run: run, lastRun: zone.cylinders - (groups - 1) * run, groups: groups,
          skewOfGroup: inGroup + step))
      sectors += UInt64(tracks) * UInt64(zone.sectorsPerTrack)
      cylinders += zone.cylinders + zone.spareCylinders
    }
  }

  /// - Precondition: `sector < sectors`
  func place(of sector: UInt64) -> HDDPlace {
    var (low, high) = (0, zones.count - 1)
    while low < high {
      let middle = (low + high + 1) / 2
      if zones[middle].firstSector <= sector { low = middle } else { high = middle - 1 }
    }
    let inZone = Int(sector - zones[low].firstSector)
    let (track, within) = inZone.quotientAndRemainder(dividingBy: zones[low].sectorsPerTrack)
    return place(zone: low, track: track, sector: within)
  }

  private func place(zone index: Int, track: Int, sector: Int) -> HDDPlace {
    let zone = zones[index]
    let (group, inGroup) = track.quotientAndRemainder(dividingBy: zone.groupTracks)
    let run = group == zone.groups - 1 ? zone.lastRun : zone.run
    let (surface, along) = run == 1 ? (inGroup, 0) : inGroup.quotientAndRemainder(dividingBy: run)
    let head = group % 2 == 0 ? surface : surfaces - 1 - surface
    let cylinder = zone.firstCylinder + group * zone.run + (surface % 2 == 0 ? along : run - 1 - along)
    let skew =
      group * zone.skewOfGroup + surface * ((run - 1) * zone.cylinderSkew + zone.trackSkew)
      + along * zone.cylinderSkew
    return HDDPlace(
      zone: index, track: track, sector: sector, cylinder: Int32(truncatingIfNeeded: cylinder),
      head: Int32(truncatingIfNeeded: head), position: sector + skew,
      offset: (sector + skew) % zone.sectorsPerTrack)
  }

  /// The time at which a position begins to pass, counted from position 0, rounded up to a nanosecond.
  @inline(__always)
  func passage(of position: Int, in zone: Int) -> Int {
    let (turns, rest) = position.quotientAndRemainder(dividingBy: zones[zone].sectorsPerTrack)
    return turns * revolution + roundedUp(rest * revolution, zones[zone].sectorsPerTrack)
  }

  /// The angle at which a place begins, as a time within a revolution.
  @inline(__always)
  func angle(of place: HDDPlace) -> Int {
    let perTrack = zones[place.zone].sectorsPerTrack
    return roundedUp(place.offset * revolution, perTrack)
  }

  /// How long `count` sectors from `start` take to pass, track and cylinder steps included; they stay within
  /// one zone.
  func passing(_ count: Int, from start: HDDPlace) -> Int {
    let zone = zones[start.zone]
    if start.sector + count <= zone.sectorsPerTrack {
      let end = roundedUp((start.offset + count) * revolution, zone.sectorsPerTrack)
      return end - roundedUp(start.offset * revolution, zone.sectorsPerTrack)
    }
    // The end is the last sector's: a step after it is not part of this.
    let last = start.sector + count - 1
    let (tracks, sector) = last.quotientAndRemainder(dividingBy: zone.sectorsPerTrack)
    let end = place(zone: start.zone, track: start.track + tracks, sector: sector)
    let turned = tracks * zone.sectorsPerTrack + end.position + 1
    return passage(of: turned, in: start.zone) - passage(of: start.position, in: start.zone)
  }

  /// The place `count` sectors on, in the same zone.
  func place(_ count: Int, after start: HDDPlace) -> HDDPlace {
    let zone = zones[start.zone]
    let (tracks, sector) = (start.sector + count).quotientAndRemainder(dividingBy: zone.sectorsPerTrack)
    return place(zone: start.zone, track: start.track + tracks, sector: sector)
  }

  /// Sectors from a place to the end of its zone.
  func remaining(in place: HDDPlace) -> Int {
    let zone = zones[place.zone]
    return (zone.tracks - place.track) * zone.sectorsPerTrack - place.sector
  }
}
