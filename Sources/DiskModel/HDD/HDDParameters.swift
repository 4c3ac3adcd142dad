// The numbers of a hard disk.
package import Simulation

/// How a drive's queue is ordered.
package enum HDDScheduler: String, CaseIterable, Sendable {
  /// By arrival.
  case fcfs
  /// Upwards through the sectors, then from the lowest again.
  case clook = "c-look"
  /// Shortest seek first.
  case sstf
  /// Shortest positioning time first: seek and rotation.
  case sptf
}

/// Where a disk that is smaller than the drive lies on it.
package enum HDDPlacement: String, CaseIterable, Sendable {
  /// On a drive with fewer cylinders (and, for small disks, surfaces), whose arm takes as long from edge to
  /// edge.
  case scaled
  /// `offset` bytes into the drive.
  case offset
}

/// A hard disk, checked. Lengths in sectors of 512 bytes, times in nanoseconds.
package struct HDDParameters: Equatable, Sendable {
  package var revolution: UInt64
  package var surfaces: Int
  /// Cylinders that one surface is followed for before the next (serpentine); 1 is the classic order.
  package var runCylinders: Int
  package var zones: [HDDZone]
  /// What the drive offers, when its tracks hold more.
  package var sectors: UInt64
  package var seek: SeekCurve
  package var headSwitch: UInt64
  package var writeSettle: UInt64
  /// From a command's arrival to the start of its seek.
  package var readOverhead: UInt64
  package var writeOverhead: UInt64
  /// Of a command that the cache answers.
  package var hitOverhead: UInt64
  package var flushOverhead: UInt64
  package var discardOverhead: UInt64
  /// For each 4 MiB of a discard.
  package var discardCost: UInt64
  /// Of one sector on the bus, in picoseconds.
  package var busPicoseconds: UInt64
  /// Whether the overhead of one command goes beside the arm's work for another.
  package var overlapsCommands: Bool
  /// Whether the bus transfer does.
  package var overlapsTransfers: Bool
  package var scheduler: HDDScheduler
  package var estimate: HDDEstimate
  /// How many requests the scheduler chooses from, the oldest ones.
  package var depth: Int
  /// A request that has waited longer goes first; 0 for no bound.
  package var ageBound: UInt64
  /// Of the read cache, 0 for none.
  package var segments: Int
  package var segmentSectors: Int
  package var readAheadSectors: Int
  /// Of the volatile write cache, 0 for write-through.
  package var writeCacheSectors: UInt64
  /// How many of the oldest extents the write-back chooses from; 0 for the nearest ones of all.
  package var writeBackWindow: Int
  /// Whether the platter's angle at the beginning is drawn from the seed.
  package var isPhaseRandom: Bool
  package var placement: HDDPlacement
  /// Into the drive, for `HDDPlacement.offset`; in sectors.
  package var offset: UInt64

  package enum Limits {
    package static let zones = 256
    package static let surfaces = 64
    package static let cylinders = 1 << 22
    package static let sectorsPerTrack = 1 << 16
    package static let depth = 1024
    package static let segments = 256
    package static let second = SimulationDuration(nanoseconds: 1_000_000_000)
  }

  /// Cylinders of the whole drive, spare ones included.
  package var cylinders: Int { zones.reduce(0) { $0 + $1.cylinders + $1.spareCylinders } }

  package init(_ reader: ParameterReader) throws(DiskModelError) {
    let rpm = try reader.required("rpm", reader.integer("rpm", in: 600...100_000))
    revolution = UInt64(60_000_000_000 / rpm)
    surfaces = try reader.required("surfaces", reader.integer("surfaces", in: 1...Limits.surfaces))
    runCylinders = try reader.integer("run_cylinders", in: 1...65_536) ?? 1
    headSwitch = try Self.duration("head_switch", in: reader) ?? 0
    writeSettle = try Self.duration("write_settle", in: reader) ?? 0
    seek = try SeekCurve(reader)

    readOverhead = try Self.duration("read_overhead", in: reader) ?? 0
    writeOverhead = try Self.duration("write_overhead", in: reader) ?? readOverhead
    hitOverhead = try Self.duration("hit_overhead", in: reader) ?? readOverhead
    flushOverhead = try Self.duration("flush_overhead", in: reader) ?? hitOverhead
    discardOverhead = try Self.duration("discard_overhead", in: reader) ?? hitOverhead
    discardCost = try Self.duration("discard_per_4mib", in: reader) ?? 1_000
    // 512 bytes at a rate.
    busPicoseconds =
      try reader.bandwidth("bus").map { scaled(512_000_000_000_000, by: 1, over: $0) } ?? 0
    overlapsCommands = try reader.boolean("command_overlap") ?? true
    overlapsTransfers = try reader.boolean("transfer_overlap") ?? overlapsCommands

    scheduler = try reader.word("scheduler") ?? .sptf
    estimate = try reader.word("estimate") ?? .exact
    depth = try reader.integer("depth", in: 1...Limits.depth) ?? 32
    ageBound = try reader.duration("age_bound")?.nanoseconds ?? 0

    segments = try reader.integer("segments", in: 0...Limits.segments) ?? 0
    segmentSectors = Int(try reader.bytes("segment_size", in: 512...(1 << 30)) ?? 256 << 10) / 512
    readAheadSectors =
      try reader.bytes("read_ahead", in: 0...(1 << 30)).map { Int($0 / 512) } ?? segmentSectors
    writeCacheSectors = try reader.bytes("write_cache", in: 0...(1 << 32)).map { $0 / 512 } ?? 0
    writeBackWindow = try reader.integer("write_back_window", in: 0...256) ?? 0

    isPhaseRandom = try reader.word("phase", Phase.self) != .zero
    placement = try reader.word("placement") ?? .scaled
    let offset = try reader.bytes("offset")
    if let offset, offset % 512 != 0 {
      throw reader.error("'offset' is \(offset), not a multiple of 512", key: "offset")
    }
    if offset != nil, placement != .offset {
      throw reader.error("'offset' needs placement = \"offset\"", key: "offset")
    }
    self.offset = (offset ?? 0) / 512

    zones = []
    sectors = 0
    try readZones(reader)
    try reader.finish()
  }

  private enum Phase: String, CaseIterable { case random, zero }

  private static func duration(_ key: String, in reader: ParameterReader) throws(DiskModelError) -> UInt64? {
    try reader.duration(key, in: .zero...Limits.second)?.nanoseconds
  }

  /// Zones, with the least skews that do where none are given; refuses skews that would cost a revolution.
  private mutating func readZones(_ reader: ParameterReader) throws(DiskModelError) {
    let tables = try reader.required("zone", reader.tables("zone"))
    guard (1...Limits.zones).contains(tables.count) else {
      throw reader.error("a drive has 1 to \(Limits.zones) zones, not \(tables.count)", key: "zone")
    }
    for table in tables {
      zones.append(
        HDDZone(
          cylinders: try table.required(
            "cylinders", table.integer("cylinders", in: 1...Limits.cylinders)),
          sectorsPerTrack: try table.required(
            "sectors_per_track", table.integer("sectors_per_track", in: 1...Limits.sectorsPerTrack)),
          trackSkew: try table.integer("track_skew", in: 0...Limits.sectorsPerTrack) ?? -1,
          cylinderSkew: try table.integer("cylinder_skew", in: 0...Limits.sectorsPerTrack) ?? -1,
          spareCylinders: try table.integer("spare_cylinders", in: 0...Limits.cylinders) ?? 0))
      try table.finish()
    }
    guard cylinders <= Limits.cylinders else {
      throw reader.error("all zones have \(cylinders) cylinders, more than \(Limits.cylinders)", key: "zone")
    }
    // A steep curve goes on beyond its last point.
    let longest = seek.travel(UInt64(cylinders), cylinders: UInt64(cylinders))
    guard longest <= Limits.second.nanoseconds else {
      throw reader.error(
        "a seek over all \(cylinders) cylinders takes \(longest) ns, more than a second", key: "seek")
    }
    let step = seek.travel(1, cylinders: UInt64(cylinders)) + writeSettle
    let change = headSwitch + writeSettle
    guard max(step, change) < revolution else {
      throw reader.error(
        "a seek of one cylinder or a head switch takes \(max(step, change)) ns with 'write_settle', "
          + "more than a revolution of \(revolution) ns",
        key: step > change ? "seek" : "head_switch")
    }
    for (index, table) in tables.enumerated() {
      try settleSkew(\.trackSkew, of: index, "track_skew", takes: change, "a head switch", table)
      try settleSkew(\.cylinderSkew, of: index, "cylinder_skew", takes: step, "a seek of one cylinder", table)
    }
    let offered = zones.reduce(UInt64(0)) {
      $0 + UInt64($1.cylinders) * UInt64(surfaces) * UInt64($1.sectorsPerTrack)
    }
    let wanted = try reader.bytes("capacity", in: 512...(1 << 60)).map { $0 / 512 }
    if let wanted, wanted > offered {
      throw reader.error(
        "'capacity' is \(wanted * 512) bytes, but the zones hold \(offered * 512)", key: "capacity")
    }
    sectors = wanted ?? offered
  }

  private mutating func settleSkew(
    _ skew: WritableKeyPath<HDDZone, Int>, of zone: Int, _ key: String, takes time: UInt64, _ what: String,
    _ table: ParameterReader
  ) throws(DiskModelError) {
    let perTrack = zones[zone].sectorsPerTrack
    let least = roundedUp(Int(time) * perTrack, Int(revolution))
    if zones[zone][keyPath: skew] < 0 { zones[zone][keyPath: skew] = least }
    guard zones[zone][keyPath: skew] <= perTrack else {
      throw table.error(
        "'\(key)' is \(zones[zone][keyPath: skew]) sectors, but a track has \(perTrack)", key: key)
    }
    guard zones[zone][keyPath: skew] >= least else {
      throw table.error(
        "'\(key)' is \(zones[zone][keyPath: skew]) sectors, but \(least) pass during \(what)"
          + (writeSettle > 0 ? " with 'write_settle'" : ""),
        key: key)
    }
  }

  /// Nanoseconds that `count` sectors take on the bus. More than 8 GiB, which no guest asks for, cost no
  /// more, so that the product fits with the slowest bus.
  @inline(__always)
  func bus(_ count: UInt64) -> UInt64 { (min(count, 1 << 24) * busPicoseconds + 999) / 1_000 }
}

extension HDDParameters: ModelParameters {
  package static let kind = "hdd"

  package func make(for context: ModelContext) throws(DiskModelError) -> (any DiskModel)? {
    try HDDModel(self, for: context)
  }
}
