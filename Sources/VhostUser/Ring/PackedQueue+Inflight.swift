// Going on where another process was killed.
import CLinux

extension PackedQueue {
  /// What is found in a region: chains that a predecessor had taken, and which entry follows which.
  struct Legacy {
    var record: PackedRecord
    var used: PackedPosition
    /// nil: there was no predecessor.
    var chains: [PackedRecord.Chain]?
    var links: [(from: UInt16, to: UInt16)] = []
  }

  static func inherit(
    _ region: InflightRegion, size: UInt16, used: PackedPosition, descriptors: UnsafeMutableRawPointer
  ) throws(VhostUserError) -> Legacy {
    var used = used
    var chains: [PackedRecord.Chain]?
    var links: [(from: UInt16, to: UInt16)] = []
    let record = try PackedRecord(
      region, size: size, used: &used,
      flags: { index in
        let place = descriptors + (RingDescriptor.byteCount * Int(index) + RingDescriptor.packedFlagsOffset)
        return UInt16(littleEndian: CLinux_load16_acquire(place))
      }, chains: &chains, link: { links.append(($0, $1)) })
    return Legacy(record: record, used: used, chains: chains, links: links)
  }

  /// A region that was in use says where the ring is; what the front-end says of it is older.
  mutating func takeOver(_ legacy: Legacy) {
    for (from, to) in legacy.links { entries[Int(from)].next = to }
    firstFree = legacy.record.firstFree
    guard let chains = legacy.chains else { return }
    used = legacy.used
    for chain in chains {
      entries[Int(chain.first)].identifier = chain.identifier
      entries[Int(chain.first)].count = chain.count
      entries[Int(chain.first)].last = chain.last
      outstanding += Int(chain.count)
    }
    available = used
    available.advance(by: outstanding, size: size)
    inherited = chains.reversed().map(\.first)
    hasInherited = !inherited.isEmpty
  }

  /// Takes a chain that was under way, from the copies of its descriptors.
  mutating func takeInherited() -> RingStep {
    guard let head = inherited.popLast() else { return .empty }
    hasInherited = !inherited.isEmpty
    var gathered = Gathering()
    var chainFault: ChainFault?
    var entry = head
    gatherer.log?.begin()
    let translator = gatherer.translator
    for _ in 0..<entries[Int(head)].count {
      guard let descriptor = record?.descriptor(in: entry), chainFault == nil else { break }
      chainFault =
        descriptor.flags & RingDescriptor.indirect != 0
        ? gatherer.appendTable(descriptor, isLinear: true, &gathered)
        : translator.append(descriptor, &gathered)
      entry = entries[Int(entry)].next
    }
    return answer(head, gathered, chainFault)
  }
}
