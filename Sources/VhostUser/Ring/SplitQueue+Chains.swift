// Walking a chain of descriptors.
import CLinux

extension SplitQueue {
  /// Follows the chain from `head`; returns what is wrong with it, or nil and the chain.
  ///
  /// Terminates: every table is walked for at most as many steps as it has entries, and there are two tables.
  mutating func gather(_ head: UInt16, into chain: inout Chain?) -> ChainFault? {
    var gathered = Gathering()
    var index = head
    var steps = 0
    while true {
      steps += 1
      guard steps <= Int(size) else { return .longerThanRing }
      let descriptor = RingDescriptor(at: descriptors + RingDescriptor.byteCount * Int(index))
      if descriptor.flags & RingDescriptor.indirect != 0 {
        if let fault = gatherer.appendTable(descriptor, isLinear: false, &gathered) { return fault }
        break
      }
      if let fault = gatherer.append(descriptor, &gathered) { return fault }
      guard descriptor.flags & RingDescriptor.next != 0 else { break }
      index = descriptor.next
      guard index < size else { return .nextOutsideTable(index) }
    }
    chain = gatherer.chain(head: head, gathered)
    return nil
  }
}
