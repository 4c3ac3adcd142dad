// A drive for one disk: all of it, a part, or one with fewer cylinders.

/// What remains of a drive's geometry for a disk of some size.
struct HDDLayout: Sendable {
  var geometry: HDDGeometry
  var seeks: SeekTable
  /// Added to each of the disk's sectors.
  var firstSector: UInt64
  /// One line: which drive this is, and where the disk lies on it.
  var description: String

  /// Below this many cylinders seeks are too coarse: a scaled drive then loses surfaces instead.
  static let cylindersWanted = 512

  init(_ parameters: HDDParameters, diskSize: UInt64) throws(DiskModelError) {
    let wanted = max(1, diskSize / 512 + (diskSize % 512 == 0 ? 0 : 1))
    let capacity = parameters.sectors
    let limit = parameters.placement == .offset ? capacity - min(capacity, parameters.offset) : capacity
    guard wanted <= limit else {
      let room =
        parameters.placement == .offset && parameters.offset > 0
        ? "the drive's \(capacity * 512) bytes hold \(limit * 512) after 'offset'"
        : "the drive holds \(capacity * 512)"
      throw DiskModelError(
        "the disk has \(diskSize) bytes, but \(room); take a larger preset or more cylinders",
        key: parameters.placement == .offset ? "offset" : "zone")
    }
    let stroke = UInt64(parameters.cylinders)
    let curve = parameters.seek
    let back = Self.distanceBack(parameters)
    let takesBack = Int(curve.travel(UInt64(back), cylinders: stroke) + parameters.writeSettle)
    let revolution = Int(parameters.revolution)
    let groupSkew = { (perTrack: Int) in roundedUp(takesBack * perTrack, revolution) }

    guard parameters.placement == .scaled, wanted < capacity else {
      geometry = HDDGeometry(
        parameters.zones, surfaces: parameters.surfaces, run: parameters.runCylinders,
        revolution: revolution, groupSkew: groupSkew)
      var guess: UInt64 = 0
      seeks = SeekTable(count: geometry.cylinders) { curve.travel($0, cylinders: stroke, guess: &guess) }
      firstSector = parameters.placement == .offset ? parameters.offset : 0
      description =
        wanted == capacity
        ? "the whole drive"
        : "at byte \(firstSector * 512) of the full drive's \(capacity * 512)"
      return
    }
    let (zones, surfaces) = Self.shrunk(parameters, to: wanted)
    geometry = HDDGeometry(
      zones, surfaces: surfaces, run: parameters.runCylinders, revolution: revolution, groupSkew: groupSkew)
    firstSector = 0
    // One cylinder stays one; the longest way takes as long as on the full drive.
    let (far, farScaled) = (max(2, stroke) - 2, UInt64(max(3, geometry.cylinders) - 2))
    var guess: UInt64 = 0
    seeks = SeekTable(count: geometry.cylinders) { distance in
      let full = distance <= 1 ? distance : 1 + scaled(distance - 1, by: far, over: farScaled)
      return curve.travel(full, cylinders: stroke, guess: &guess)
    }
    description =
      "scaled to \(geometry.cylinders) of \(stroke) cylinders and \(surfaces) of "
      + "\(parameters.surfaces) surfaces; seeks take as long from edge to edge"
  }

  /// The cylinders that the arm goes back from one group of runs to the next.
  private static func distanceBack(_ parameters: HDDParameters) -> Int {
    parameters.runCylinders > 1 && parameters.surfaces % 2 == 0 ? parameters.runCylinders : 1
  }

  /// Each zone's share of the cylinders, for at least `sectors`.
  private static func shrunk(
    _ parameters: HDDParameters, to sectors: UInt64
  ) -> (zones: [HDDZone], surfaces: Int) {
    var surfaces = parameters.surfaces
    // Fewer surfaces make more cylinders of the same sectors.
    let cylinders = scaled(
      UInt64(parameters.cylinders), by: sectors, over: max(1, parameters.sectors))
    while surfaces > 1,
      cylinders * UInt64(parameters.surfaces) < UInt64(cylindersWanted * surfaces)
    {
      surfaces -= 1
    }
    // In this many sectors of the full drive the disk is one: rounding leaves a little too much.
    let full =
      parameters.zones.reduce(UInt64(0)) {
        $0 + UInt64($1.cylinders) * UInt64($1.sectorsPerTrack)
      } * UInt64(surfaces)
    let zones = parameters.zones.map { zone in
      var scaledZone = zone
      let share = scaled(UInt64(zone.cylinders), by: sectors, over: full)
      scaledZone.cylinders = Int(min(share, UInt64(HDDParameters.Limits.cylinders))) + 1
      scaledZone.spareCylinders = 0
      return scaledZone
    }
    return (zones, surfaces)
  }
}
