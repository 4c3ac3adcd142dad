// Which writes survive a power cut.
import Simulation

extension Fault {
  /// Chooses among the changes in a cache, in their order.
  ///
  /// Without `torn` a write survives as a whole or not at all. With it, a unit is a piece of the disk of 512
  /// or 4096 bytes at a multiple of that: `prefix` ends after any unit of any write; under `subset` each unit
  /// of each write has its own chance. What is drawn for a write depends on its sequence number alone. Zeroes
  /// and discards are never torn.
  /// - Parameter stream: the numbers for one purpose and one sequence number.
  func survivors(
    among writes: [VolatileWrite], stream: (_ purpose: String, UInt64) -> RandomStream
  ) -> [Survivor] {
    switch keeps {
    case .none: return []
    case .all: return writes.map { Survivor(sequence: $0.sequence, range: 0..<$0.count) }
    case .prefix: return prefix(of: writes, stream("prefix", writes.first?.sequence ?? 0))
    case .subset:
      return writes.flatMap { write -> [Survivor] in
        var random = stream("subset", write.sequence)
        guard let torn else {
          return random.next() >> 63 == 0 ? [] : [Survivor(sequence: write.sequence, range: 0..<write.count)]
        }
        var pieces: [Survivor] = []
        for unit in write.units(of: torn) where random.next() >> 63 != 0 {
          if let last = pieces.last, last.range.upperBound == unit.lowerBound {
            pieces[pieces.count - 1] = Survivor(
              sequence: write.sequence, range: last.range.lowerBound..<unit.upperBound)
          } else {
            pieces.append(Survivor(sequence: write.sequence, range: unit))
          }
        }
        return pieces
      }
    }
  }

  private func prefix(of writes: [VolatileWrite], _ stream: RandomStream) -> [Survivor] {
    var random = stream
    let number = Int(random.below(UInt64(writes.count) + 1))
    var survivors = writes[..<number].map { Survivor(sequence: $0.sequence, range: 0..<$0.count) }
    if let torn, number < writes.count {
      let units = Array(writes[number].units(of: torn))
      let kept = Int(random.below(UInt64(units.count)))
      if kept > 0 {
        survivors.append(Survivor(sequence: writes[number].sequence, range: 0..<units[kept - 1].upperBound))
      }
    }
    return survivors
  }
}

extension VolatileWrite {
  /// In bytes.
  var count: UInt64 { range.upperBound - range.lowerBound }

  /// Its pieces between multiples of `size` of the disk, relative to its beginning.
  func units(of size: UInt64) -> some Sequence<Range<UInt64>> {
    Swift.sequence(state: range.lowerBound) { position -> Range<UInt64>? in
      guard position < range.upperBound else { return nil }
      var end = range.upperBound
      if case .bytes = content { end = min(end, (position / size + 1) * size) }
      defer { position = end }
      return position - range.lowerBound..<end - range.lowerBound
    }
  }
}

extension RandomStream {
  /// A number below a limit that is not zero.
  mutating func below(_ limit: UInt64) -> UInt64 { next().multipliedFullWidth(by: limit).high }
}
