// Numbers that may never change: runs of last year must be the runs of today.
import Simulation
import Testing

@Suite struct RandomStreamTests {
  /// splitmix64 and FNV-1a by the book, with the constants of their papers.
  private func reference(seed: UInt64, name: String, count: Int) -> [UInt64] {
    func mix(_ value: UInt64) -> UInt64 {
      var z = value
      z = (z ^ z >> 30) &* 13_787_848_793_156_543_929
      z = (z ^ z >> 27) &* 10_723_151_780_598_845_931
      return z ^ z >> 31
    }
    var hash: UInt64 = 14_695_981_039_346_656_037
    for byte in name.utf8 {
      hash ^= UInt64(byte)
      hash = hash &* 1_099_511_628_211
    }
    let golden: UInt64 = 11_400_714_819_323_198_485
    var state = mix(seed &+ golden) ^ mix(hash)
    return (0..<count).map { _ in
      state = state &+ golden
      return mix(state)
    }
  }

  @Test func itIsSplitmix64OfTheSeedAndTheName() {
    for (seed, name) in [(0, ""), (1, "node1"), (UInt64.max, "disk/rootfs"), (42, "ä")] as [(UInt64, String)]
    {
      var stream = RandomStream(seed: seed, name: name)
      #expect((0..<100).map { _ in stream.next() } == reference(seed: seed, name: name, count: 100))
    }
  }

  @Test func itsFirstNumbersAreWrittenDown() {
    var stream = RandomStream(seed: 1, name: "node1")
    // From ten lines of Python over the two papers' formulas.
    #expect(
      (0..<3).map { _ in stream.next() } == [
        0x2093_6d6c_f77e_77a5, 0x3b52_2e0f_17ea_89cc, 0x562b_19c0_6c0f_f10d,
      ])
  }

  @Test func namesAndSeedsMakeDifferentStreams() {
    var firsts: Set<UInt64> = []
    for seed in 0..<UInt64(100) {
      for name in ["a", "b", "ab", "ba", "", "node1", "node2"] {
        var stream = RandomStream(seed: seed, name: name)
        firsts.insert(stream.next())
      }
    }
    #expect(firsts.count == 700)
  }
}
