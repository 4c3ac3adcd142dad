// Walking a chain of descriptors.
import CLinux

extension SplitQueue {
  /// Follows the chain from `head`; returns what is wrong with it, or nil and what was gathered.
  ///
  /// Terminates: every table is walked for at most as many steps as it has entries, and there are two tables.
  @inline(__always)
  func gather(_ head: UInt16, into gathered: inout Gathering) -> ChainFault? {
    let translator = gatherer.translator
    let table = descriptors
    var index = head
    for _ in 0..<size {
      let descriptor = RingDescriptor(at: table + RingDescriptor.byteCount * Int(index))
      if descriptor.flags & RingDescriptor.indirect != 0 {
        if let fault = gatherer.appendTable(descriptor, isLinear: false, &gathered) { return fault }
        return gatherer.fault(gathered)
      }
      if let fault = translator.append(descriptor, &gathered) { return fault }
      guard descriptor.flags & RingDescriptor.next != 0 else { return gatherer.fault(gathered) }
      index = descriptor.next
      guard index < size else { return .nextOutsideTable(index) }
    }
    return .longerThanRing
  }
}
