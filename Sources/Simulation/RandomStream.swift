// Random numbers that depend on a name and a counter only.

/// A counter-based generator: the n-th number of the stream named by a seed and a purpose.
///
/// splitmix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014). A stream is
/// derived from names, so that adding a node or another purpose moves no other stream. Not for secrets.
package struct RandomStream: RandomNumberGenerator, Sendable {
  private var state: UInt64

  /// The stream of `name` (a node, a disk, a purpose) under a run's seed.
  package init(seed: UInt64, name: String) {
    // FNV-1a over the name, then mixed with the seed: any 64-bit hash that is written down would do.
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    state = RandomStream.mix(seed &+ 0x9e37_79b9_7f4a_7c15) ^ RandomStream.mix(hash)
  }

  package mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    return RandomStream.mix(state)
  }

  private static func mix(_ value: UInt64) -> UInt64 {
    var z = value
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
