// Where the pages of a disk of this size are on the flash.

/// The drive's channels and dies with as many blocks as the disk needs.
///
/// The flash pages of a partition are numbered in the order in which they are written: in a program unit,
/// then channel, die, word line, line. A page's number alone tells where it is.
struct SSDGeometry: Sendable {
  /// 4 KiB pages of the simulated drive; those of the disk come first.
  let logicalPages: Int
  let diskPages: Int
  /// Whether a smaller drive with these dies would not work.
  let isLeast: Bool
  let partitions: Int
  /// Per partition.
  let lines: Int
  let channels: Int
  let diesPerChannel: Int
  let dies: Int
  let diesPerPartition: Int
  /// 4 KiB pages of what one sensing reads, of what one program writes, and of a line.
  let stripePages: Int
  let unitPages: Int
  let linePages: Int
  let pagesPerPartition: Int
  let unitsPerBlock: Int
  /// Of the flash, all partitions.
  var physicalPages: Int { pagesPerPartition * partitions }

  let byPartition: Divider
  let byLine: Divider
  let byUnit: Divider
  let byStripe: Divider
  let byDie: Divider
  let byType: Divider
  let byPartitionPages: Divider
  private let levels: UInt32
  private let rowsPerPartition: UInt32

  /// Page numbers have 31 bits, and one number is for "none".
  static let pagesMax = (1 << 31) - 2

  init(_ parameters: SSDParameters, diskSize: UInt64) throws(DiskModelError) {
    let page = SSDParameters.pageSize
    guard diskSize / page < UInt64(Self.pagesMax) else {
      throw DiskModelError(
        "a disk of \(diskSize) bytes is too large for a modelled drive: 8 TiB with its spare flash at most"
      )
    }
    partitions = parameters.partitions
    channels = parameters.channels
    diesPerChannel = parameters.diesPerChannel
    dies = channels * diesPerChannel
    diesPerPartition = dies / partitions
    stripePages = Int(parameters.flashPage / page) * parameters.planes
    unitPages = Int(parameters.programUnit / page)
    diskPages = max(1, Int((diskSize + page - 1) / page))

    // The spare flash is at least as many lines as collection needs to move at all: those that are free when
    // it begins, two that are open, and two of pages to be gained.
    let spareLines = parameters.freeLines + 4
    let spare = parameters.overProvisioning
    let stripe = diesPerPartition * unitPages
    let least = (stripe * spareLines * 100_000 + spare - 1) / spare
    let perPartition = max((diskPages + partitions - 1) / partitions, least)
    isLeast = perPartition == least

    // Program units of a die, rounded up; then a block such that the last line wastes least.
    let units = (perPartition * (100_000 + spare) + 100_000 * stripe - 1) / (100_000 * stripe)
    let target = max(1, units / parameters.lines)
    let largest = max(1, perPartition * spare / (100_000 * stripe * spareLines))
    var best = (waste: Int.max, block: 1)
    let most = min(target, largest)
    for block in stride(from: most, through: most - most / 4, by: -1) {
      let waste = (block - units % block) % block
      if waste < best.waste { best = (waste, block) }
      if waste == 0 { break }
    }
    unitsPerBlock = best.block
    lines = (units + best.block - 1) / best.block
    linePages = best.block * stripe
    pagesPerPartition = lines * linePages
    guard pagesPerPartition * partitions < Self.pagesMax else {
      throw isLeast
        ? DiskModelError(
          "\(dies) dies with 'program_unit' of \(parameters.programUnit) bytes and 'over_provisioning' of "
            + "\(Double(spare) / 1000) % make a drive of more than 8 TiB with its spare flash",
          key: "over_provisioning")
        : DiskModelError(
          "a disk of \(diskSize) bytes is too large for a modelled drive: 8 TiB with its spare flash at most")
    }
    // What rounding has added is shared out, so that the ratio is exact to a page.
    logicalPages = pagesPerPartition * partitions * 100_000 / (100_000 + spare)
    byPartition = Divider(partitions)
    byLine = Divider(linePages)
    byUnit = Divider(unitPages)
    byStripe = Divider(stripePages)
    byDie = Divider(diesPerPartition)
    byType = Divider(parameters.readTimes.count)
    byPartitionPages = Divider(pagesPerPartition)
    levels = UInt32(unitPages / stripePages)
    rowsPerPartition = UInt32(lines * unitsPerBlock)
  }

  /// Logical pages of one partition.
  func logicalPages(of partition: Int) -> Int { (logicalPages - partition + partitions - 1) / partitions }

  /// The die of a unit of a line, and the channel of a die.
  @inline(__always) func die(line: UInt32, unitInLine: UInt32, partition: Int) -> Int {
    partition * diesPerPartition + Int(byDie.remainder(unitInLine))
  }

  func channel(of die: Int) -> Int {
    let perPartition = channels / partitions
    let (partition, within) = die.quotientAndRemainder(dividingBy: diesPerPartition)
    return partition * perPartition + within % perPartition
  }

  /// Where a page is: what is sensed with it, by which die, and which type of page that is. Types take turns
  /// through the lines of a partition, so that blocks of one word line have all of them.
  @inline(__always) func place(_ page: UInt32) -> (stripe: UInt32, die: Int, type: Int) {
    let (unit, offset) = byUnit.split(page)
    let (row, die) = byDie.split(unit)
    let partition = partitions == 1 ? 0 : byPartitionPages.quotient(page)
    let layer = (row &- partition &* rowsPerPartition) &* levels &+ byStripe.quotient(offset)
    return (
      byStripe.quotient(page), Int(partition) * diesPerPartition + Int(die), Int(byType.remainder(layer))
    )
  }
}

extension SSDGeometry {
  /// One line that says how the drive was made to fit the disk.
  func description(_ parameters: SSDParameters) -> String {
    let page = SSDParameters.pageSize
    let block = UInt64(unitsPerBlock) * parameters.programUnit
    var text =
      "\(channels) channels and \(dies) dies as in the drive"
      + ", \(lines * partitions) lines of \(Self.size(UInt64(linePages) * page))"
      + " (blocks of \(Self.size(block)))"
    if let capacity = parameters.capacity {
      let disk = UInt64(diskPages) * page
      let bytes = Self.size(capacity)
      text += disk < capacity ? " for a part of its \(bytes)" : " for more than its \(bytes)"
    }
    if isLeast {
      text += "; the disk is the beginning of a drive of \(Self.size(UInt64(logicalPages) * page)), the least"
    }
    let spare = (physicalPages - logicalPages) * 100_000 / logicalPages
    let digits = String(spare % 1000)
    return text + "; \(spare / 1000).\(String(repeating: "0", count: 3 - digits.count))\(digits) % spare"
  }

  private static func size(_ bytes: UInt64) -> String {
    for (unit, scale) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] as [(String, UInt64)]
    where bytes >= scale {
      let tenths = bytes * 10 / scale
      return tenths % 10 == 0 ? "\(tenths / 10) \(unit)" : "\(tenths / 10).\(tenths % 10) \(unit)"
    }
    return "\(bytes) B"
  }
}
