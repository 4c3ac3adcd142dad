// The numbers of a flash drive.
internal import Simulation

/// A solid-state drive as a user describes it: flash, link, firmware, buffer and over-provisioning.
package struct SSDParameters: Sendable {
  package static let kind = "ssd"

  /// How dies choose what to do next.
  package enum Scheduler: String, CaseIterable, Sendable {
    /// In the order in which operations came.
    case fifo
    /// Reads of the host go first, `readBurst` of them at most while something else waits.
    case readFirst = "read_first"
  }

  /// What a command to write zeroes does.
  package enum ZeroesMode: String, CaseIterable, Sendable {
    /// Unmaps, as a discard.
    case unmap
    /// Writes, without the host's link.
    case write
  }

  /// What the drive holds when the simulation begins.
  package enum Precondition: Equatable, Sendable {
    case none
    /// Written once from beginning to end.
    case fill
    /// Filled, then as many times its pages overwritten in random order, with repetitions.
    case randomly(Int)
  }

  // Flash.
  package let channels: Int
  package let diesPerChannel: Int
  /// Flash pages of a die that are sensed and programmed together.
  package let planes: Int
  /// Bytes of one plane's page.
  package let flashPage: UInt64
  /// Bytes that one program operation of a die writes: all planes, all levels of a cell.
  package let programUnit: UInt64
  /// Translation layers side by side: page n belongs to n mod `partitions`, each has its own channels.
  package let partitions: Int
  /// tR by type of page (lower, middle, upper …), which take turns within a block.
  package let readTimes: [UInt64]
  /// The same when one map page alone is read.
  package let smallReadTimes: [UInt64]
  package let programTime: UInt64
  /// Of a block of `block` bytes; smaller blocks, in a drive made smaller, take a part of it.
  package let eraseTime: UInt64
  package let block: UInt64?
  /// Bytes per second of one channel.
  package let channelBandwidth: UInt64
  /// A read crosses the channel in chunks of as many bytes, each of which goes on to the host at once.
  package let channelChunk: UInt64
  package let scheduler: Scheduler
  package let readBurst: Int
  /// A read that finds a program running waits this long at most; zero for as long as it takes.
  package let programSuspend: UInt64
  package let eraseSuspend: UInt64

  // Controller.
  package let linkBandwidth: UInt64
  /// The link's time for each command that moves data.
  package let linkCommand: UInt64
  /// Firmware, for a read of at most `smallRead` bytes and for a larger one.
  package let firmwareSmallRead: UInt64
  package let firmwareRead: UInt64
  package let smallRead: UInt64
  /// Firmware, for a write, and for each of its pages.
  package let firmwareWrite: UInt64
  package let firmwareWritePage: UInt64
  /// Bytes.
  package let writeBuffer: UInt64
  package let hasPowerLossProtection: Bool
  /// What a flush takes: all of it with power-loss protection, otherwise what comes after the last program.
  package let flushTime: UInt64
  /// Whether other commands go on during a flush (NVMe), or wait (SATA).
  package let isFlushQueued: Bool
  package let discardTime: UInt64
  /// Bytes unmapped per second; nil for any number.
  package let discardBandwidth: UInt64?
  package let zeroesTime: UInt64
  package let zeroesMode: ZeroesMode

  // Translation layer.
  /// (physical − logical) / logical, in 100,000ths.
  package let overProvisioning: Int
  /// Lines (the same block of every die of a partition) that there should be in each partition.
  package let lines: Int
  /// Collection begins when as few lines are free.
  package let freeLines: Int
  /// Bytes of the map that the controller holds; nil for all of it.
  package let mapCache: UInt64?
  /// Bytes of a page of the map that a miss brings over the channel, and that are held together: a power of
  /// two, by default all 4096 (MQSim: a sector of 512).
  package let mapFetch: UInt64
  /// The drive's own size, for the description of a smaller one.
  package let capacity: UInt64?
  package let precondition: Precondition

  /// Bytes of one entry of the map.
  package static let pageSize: UInt64 = 4096

  package init(_ reader: ParameterReader) throws(DiskModelError) {
    channels = try reader.required("channels", reader.integer("channels", in: 1...256))
    diesPerChannel = try reader.required("dies_per_channel", reader.integer("dies_per_channel", in: 1...256))
    planes = try reader.integer("planes", in: 1...16) ?? 1
    let page = Self.pageSize
    flashPage = try reader.required("flash_page", reader.bytes("flash_page", in: page...(256 << 10)))
    let unit = try reader.bytes("program_unit", in: page...(4 << 20))
    partitions = try reader.integer("partitions", in: 1...64) ?? 1
    readTimes = try reader.required("read", Self.durations("read", reader))
    let smallTimes = try Self.durations("read_4k", reader)
    programTime = try Self.required("program", 1, reader)
    eraseTime = try Self.duration("erase", reader) ?? 0
    block = try reader.bytes("block", in: page...(1 << 30))
    channelBandwidth = try reader.required("channel_bandwidth", reader.bandwidth("channel_bandwidth"))
    let chunk = try reader.bytes("channel_chunk", in: page...(4 << 20))
    scheduler = try reader.word("scheduler") ?? .fifo
    readBurst = try reader.integer("read_burst", in: 1...1024) ?? 8
    programSuspend = try Self.duration("program_suspend", reader) ?? 0
    eraseSuspend = try Self.duration("erase_suspend", reader) ?? 0
    linkBandwidth = try reader.required("link_bandwidth", reader.bandwidth("link_bandwidth"))
    linkCommand = try Self.duration("link_command", reader) ?? 0
    firmwareRead = try Self.required("firmware_read", 0, reader)
    let small = try Self.duration("firmware_small_read", reader)
    smallRead = try reader.bytes("small_read", in: 0...(1 << 30)) ?? page
    firmwareWrite = try Self.required("firmware_write", 0, reader)
    firmwareWritePage = try Self.duration("firmware_write_page", reader) ?? 0
    writeBuffer = try reader.required("write_buffer", reader.bytes("write_buffer", in: page...(64 << 30)))
    hasPowerLossProtection = try reader.required(
      "power_loss_protection", reader.boolean("power_loss_protection"))
    let flush = try Self.duration("flush", reader)
    isFlushQueued = try reader.boolean("flush_queued") ?? true
    let discard = try Self.duration("discard", reader)
    discardBandwidth = try reader.bandwidth("discard_bandwidth")
    let zeroes = try Self.duration("write_zeroes", reader)
    zeroesMode = try reader.word("write_zeroes_mode") ?? .unmap
    overProvisioning = try reader.required("over_provisioning", Self.percentage("over_provisioning", reader))
    lines = try reader.integer("lines", in: 64...65_536) ?? 2048
    freeLines = try reader.integer("free_lines", in: 2...64) ?? 2
    mapCache = try reader.bytes("map_cache", in: page...(1 << 40))
    mapFetch = try reader.bytes("map_fetch", in: 512...page) ?? page
    capacity = try reader.bytes("capacity", in: (1 << 20)...(1 << 60))
    precondition = try Self.precondition("precondition", reader) ?? .fill
    let (stripe, times, read, write) = (flashPage * UInt64(planes), readTimes, firmwareRead, firmwareWrite)
    let isProtected = hasPowerLossProtection
    programUnit = unit ?? stripe
    channelChunk = chunk ?? 4 << 20
    smallReadTimes = smallTimes ?? times
    firmwareSmallRead = small ?? read
    flushTime = flush ?? (isProtected ? write : 0)
    discardTime = discard ?? write
    zeroesTime = zeroes ?? discard ?? write
    try reader.finish()
    try check(reader)
  }

  /// What is wrong only together.
  private func check(_ reader: ParameterReader) throws(DiskModelError) {
    func error(_ key: String, _ text: String) -> DiskModelError { reader.error(text, key: key) }
    let stripe = flashPage * UInt64(planes)
    guard flashPage % Self.pageSize == 0 else {
      throw error("flash_page", "'flash_page' is \(flashPage) bytes, not a multiple of 4096")
    }
    guard stripe <= 256 << 10 else {
      throw error("planes", "'planes' pages of 'flash_page' are \(stripe) bytes together, more than 256 KiB")
    }
    guard programUnit % stripe == 0 else {
      throw error(
        "program_unit",
        "'program_unit' is \(programUnit) bytes, not a multiple of the \(stripe) bytes of a page in all "
          + "planes"
      )
    }
    guard programUnit <= 4 << 20 else {
      throw error("program_unit", "'program_unit' is \(programUnit) bytes, more than 4 MiB")
    }
    if let block, block % programUnit != 0 {
      throw error("block", "'block' is \(block) bytes, not a multiple of the program unit, \(programUnit)")
    }
    guard channels % partitions == 0 else {
      throw error(
        "partitions", "'partitions' is \(partitions), which does not divide the \(channels) channels")
    }
    guard smallReadTimes.count == readTimes.count else {
      throw error(
        "read_4k",
        "'read_4k' has \(smallReadTimes.count) times and 'read' \(readTimes.count): one for each type")
    }
    guard channelChunk % Self.pageSize == 0 else {
      throw error("channel_chunk", "'channel_chunk' is \(channelChunk) bytes, not a multiple of 4096")
    }
    let least = 2 * UInt64(partitions) * programUnit
    guard writeBuffer >= least, writeBuffer % Self.pageSize == 0 else {
      throw error(
        "write_buffer",
        "'write_buffer' is \(writeBuffer) bytes, not a multiple of 4096 and at least two program units for "
          + "each partition (\(least))")
    }
    for (key, time) in [("program_suspend", programSuspend), ("erase_suspend", eraseSuspend)] {
      guard time == 0 || scheduler == .readFirst else {
        throw error(key, "'\(key)' needs scheduler = \"read_first\": what is suspended lets reads go first")
      }
    }
    if let mapCache, mapCache < 16 * Self.pageSize {
      throw error("map_cache", "'map_cache' is \(mapCache) bytes, less than 64 KiB")
    }
    guard mapFetch & (mapFetch - 1) == 0 else {
      throw error("map_fetch", "'map_fetch' is \(mapFetch) bytes, not a power of two")
    }
    guard mapCache != nil || mapFetch == Self.pageSize else {
      throw error("map_fetch", "'map_fetch' needs a 'map_cache'")
    }
  }

  private static func duration(_ key: String, _ reader: ParameterReader) throws(DiskModelError) -> UInt64? {
    try reader.duration(key, in: .zero...Self.second)?.nanoseconds
  }

  /// What a part of a drive takes at most: a write of a terabyte, page by page, still fits the clock.
  private static let second = SimulationDuration(nanoseconds: 1_000_000_000)

  private static func required(
    _ key: String, _ least: UInt64, _ reader: ParameterReader
  ) throws(DiskModelError) -> UInt64 {
    let range = SimulationDuration(nanoseconds: least)...second
    return try reader.required(key, reader.duration(key, in: range)).nanoseconds
  }

  /// One time, or one for each type of page.
  private static func durations(
    _ key: String, _ reader: ParameterReader
  ) throws(DiskModelError) -> [UInt64]? {
    func read(_ value: ParameterValue) -> UInt64? {
      guard case .string(let text) = value, let time = SimulationDuration(parsing: text),
        time.nanoseconds > 0, time <= second
      else { return nil }
      return time.nanoseconds
    }
    let expected = "times up to 1s of one to eight types of pages, like \"40us\""
    guard reader.isArray(key) else {
      let range = SimulationDuration(nanoseconds: 1)...second
      return try reader.duration(key, in: range).map { [$0.nanoseconds] }
    }
    guard let times = try reader.array(key, of: expected, read) else { return nil }
    guard (1...8).contains(times.count) else {
      throw reader.error("'\(key)' has \(times.count) values, not \(expected)", key: key)
    }
    return times
  }

  /// `7%`, `6.25%`: in 100,000ths, one per cent to a thousand.
  private static func percentage(_ key: String, _ reader: ParameterReader) throws(DiskModelError) -> Int? {
    guard let text = try reader.string(key) else { return nil }
    let parts = text.dropLast().split(separator: ".", omittingEmptySubsequences: false)
    let digits = parts.count == 2 ? String(parts[1]) : ""
    guard text.hasSuffix("%"), (1...2).contains(parts.count), digits.utf8.count <= 3,
      parts.count == 1 || !digits.isEmpty, let whole = UInt32(parts[0]),
      let fraction = UInt32(digits + String(repeating: "0", count: 3 - digits.utf8.count)),
      (1000...1_000_000).contains(Int(whole) * 1000 + Int(fraction))
    else {
      throw reader.error(
        "'\(key)' is \"\(text)\", not a percentage from 1% to 1000% with three decimals at most, like \"7%\"",
        key: key)
    }
    return Int(whole) * 1000 + Int(fraction)
  }

  private static func precondition(
    _ key: String, _ reader: ParameterReader
  ) throws(DiskModelError) -> Precondition? {
    guard let text = try reader.string(key) else { return nil }
    switch text {
    case "none": return Precondition.none
    case "fill": return .fill
    default:
      // In a specification, `ssd-nvme-mlc:precondition=random3`, colons are between parameters.
      let digits = text.hasPrefix("random:") ? text.dropFirst(7) : text.dropFirst(6)
      guard text.hasPrefix("random"), let times = Int(digits), (1...100).contains(times) else {
        throw reader.error(
          "'\(key)' is \"\(text)\", not \"none\", \"fill\" or \"random:K\" (or randomK) with K from 1 to 100",
          key: key)
      }
      return .randomly(times)
    }
  }

  /// No operation of a die for the host takes less.
  var leastOperation: UInt64 { min(programTime, (readTimes + smallReadTimes).min() ?? programTime) }

  /// No request completes earlier.
  package var minimumLatency: UInt64 {
    let least = min(firmwareRead, firmwareSmallRead, firmwareWrite, min(discardTime, zeroesTime))
    return hasPowerLossProtection ? min(least, flushTime) : least
  }
}

extension SSDParameters: ModelParameters {
  package func make(for context: ModelContext) throws(DiskModelError) -> (any DiskModel)? {
    try SSDModel(self, for: context)
  }
}
