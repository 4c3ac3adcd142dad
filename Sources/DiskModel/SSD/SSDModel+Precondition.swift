// What the drive holds when the simulation begins: state alone, no time.
internal import Simulation

extension SSDModel {
  /// Some minutes of the host's time.
  private static let overwritesMax = 1 << 30

  /// Brings the drive into the state that the parameters ask for. The same for the same stream.
  mutating func prepare(_ stream: RandomStream) throws(DiskModelError) {
    guard parameters.precondition != .none else { return }
    for partition in 0..<geometry.partitions { fill(partition) }
    guard case .randomly(let times) = parameters.precondition else { return }
    let overwrites = times * geometry.logicalPages
    guard overwrites <= Self.overwritesMax else {
      throw DiskModelError(
        "'precondition' is \"random:\(times)\", which overwrites \(overwrites) pages of this drive, "
          + "more than \(Self.overwritesMax)", key: "precondition")
    }
    var stream = stream
    for _ in 0..<overwrites {
      overwrite(UInt32(truncatingIfNeeded: stream.next(upperBound: UInt64(geometry.logicalPages))))
    }
    for partition in 0..<geometry.partitions { settle(partition) }
    counts = SSDCounts()
  }

  /// The tables say where pages are after a sequential fill; here are the lines.
  private mutating func fill(_ partition: Int) {
    var left = UInt32(geometry.logicalPages(of: partition))
    mappedPages += UInt64(left)
    let linePages = UInt32(geometry.linePages)
    while left > 0 {
      let line = partitions[partition].free.removeFirst()
      let pages = min(left, linePages)
      valid[Int(line)] = pages
      left -= pages
      if pages == linePages {
        partitions[partition].victims.insert(line, valid: valid)
      } else {
        partitions[partition].user = WriteStream(line: line, position: pages)
      }
    }
    settle(partition)
  }

  /// What is open is taken for programmed: the next page begins a unit.
  private mutating func settle(_ partition: Int) {
    if partitions[partition].collected.unit != noIndex {
      isUnprogrammed[operations[partitions[partition].collected.unit].target] = false
      operations.remove(partitions[partition].collected.unit)
      partitions[partition].collected.unit = noIndex
    }
    let unit = UInt32(geometry.unitPages)
    for stream in [\SSDPartition.user, \SSDPartition.collected] {
      let line = partitions[partition][keyPath: stream].line
      guard line != noIndex else { continue }
      let position = partitions[partition][keyPath: stream].position
      let end = (position + unit - 1) / unit * unit
      partitions[partition][keyPath: stream].position = end
      if end == UInt32(geometry.linePages) {
        partitions[partition][keyPath: stream] = WriteStream()
        partitions[partition].victims.insert(line, valid: valid)
      }
    }
  }

  private mutating func overwrite(_ page: UInt32) {
    let partition = Int(geometry.byPartition.remainder(page))
    forget(page)
    if partitions[partition].user.line == noIndex {
      partitions[partition].user = WriteStream(line: partitions[partition].free.removeFirst())
      while partitions[partition].free.count <= parameters.freeLines { collectAtOnce(partition) }
    }
    let line = partitions[partition].user.line
    let position = partitions[partition].user.position
    let flashPage = line * UInt32(geometry.linePages) + position
    map[page] = flashPage
    reverse[flashPage] = page
    isValid[flashPage] = true
    valid[Int(line)] += 1
    mappedPages += 1
    partitions[partition].user.position = position + 1
    if position + 1 == UInt32(geometry.linePages) {
      partitions[partition].user = WriteStream()
      partitions[partition].victims.insert(line, valid: valid)
    }
  }

  private mutating func collectAtOnce(_ partition: Int) {
    guard let line = partitions[partition].victims.removeMinimum(valid: valid) else {
      preconditionFailure("a drive with spare flash has lines to collect")
    }
    let first = line * UInt32(geometry.linePages)
    for start in stride(from: first, to: first + UInt32(geometry.linePages), by: geometry.stripePages) {
      var rest = isValid.mask(start, count: geometry.stripePages)
      while rest != 0 {
        rest = move(start, rest, partition)
        guard geometry.byUnit.remainder(partitions[partition].collected.position) == 0 else { break }
        programAtOnce(partition)
      }
    }
    partitions[partition].free.append(line)
  }

  /// The collected unit that is full is on the flash.
  private mutating func programAtOnce(_ partition: Int) {
    let unit = partitions[partition].collected.unit
    isUnprogrammed[operations[unit].target] = false
    operations.remove(unit)
    partitions[partition].collected.unit = noIndex
    closeCollectedLine(partition)
  }
}
