// Points and spans of simulated time.
import Simulation
import Testing

@Suite struct SimulationTimeTests {
  @Test func spansAreReadInEveryUnit() {
    let cases: [(String, UInt64)] = [
      ("0", 0), ("0ns", 0), ("768ns", 768), ("50us", 50_000), ("50µs", 50_000), ("1.5ms", 1_500_000),
      ("2s", 2_000_000_000), ("0.000000001s", 1), ("1.000000001s", 1_000_000_001), ("0.5us", 500),
      ("18446744073709551615ns", .max), ("18446744073.709551615s", .max),
    ]
    for (text, nanoseconds) in cases {
      #expect(SimulationDuration(parsing: text)?.nanoseconds == nanoseconds, "\(text)")
    }
  }

  @Test func whatIsNoSpanIsRefused() {
    let texts = [
      "", "1", "00", "ns", ".", ".5s", "5.s", "1.2.3s", "-1s", "+1s", "1 s", " 1s", "1s ", "1S", "1m", "1h",
      "0.5ns",
      "1.0000000001s", "0.1234ns", "18446744073709551616ns", "18446744073.709551616s", "18446744074s", "1e3s",
      "٣s",
      "0x1s", "1,5ms", "1..5s", "1.s", "..s", "99999999999999999999s",
    ]
    for text in texts { #expect(SimulationDuration(parsing: text) == nil, "\(text)") }
  }

  @Test func everySpanReadsBackAsItIsWritten() {
    let seed: UInt64 = 7
    print("seed \(seed)")
    var random = RandomStream(seed: seed, name: "spans")
    for _ in 0..<20_000 {
      let scale: UInt64 = [1, 1_000, 1_000_000, 1_000_000_000].randomElement(using: &random) ?? 1
      let span = SimulationDuration(
        nanoseconds: (random.next() >> UInt64.random(in: 0..<64, using: &random)) &* scale)
      #expect(SimulationDuration(parsing: span.description) == span)
    }
    #expect(SimulationDuration(nanoseconds: 1500).description == "1500ns")
    #expect(SimulationDuration(nanoseconds: 1_500_000).description == "1500us")
    #expect(SimulationDuration(nanoseconds: 3_000_000).description == "3ms")
  }

  @Test func anyTextIsReadOrRefused() {
    let seed: UInt64 = 8
    print("seed \(seed)")
    var random = RandomStream(seed: seed, name: "texts")
    let letters = Array("0123456789.nuµms -+eE")
    for _ in 0..<50_000 {
      let text = String(
        (0..<Int.random(in: 0...14, using: &random)).map { _ in letters.randomElement(using: &random) ?? "0" }
      )
      if let span = SimulationDuration(parsing: text) {
        #expect(SimulationDuration(parsing: span.description) == span, "\(text)")
      }
    }
  }

  @Test func sumsSaturateAndDifferencesDoNotGoBelowZero() {
    var random = RandomStream(seed: 9, name: "sums")
    for _ in 0..<10_000 {
      let a = SimulationTime(nanoseconds: random.next())
      let span = SimulationDuration(nanoseconds: random.next() >> UInt64.random(in: 0..<64, using: &random))
      let sum = a + span
      #expect(sum >= a)
      if sum == .never {
        #expect(sum.since(a) <= span)
      } else {
        #expect(sum.since(a) == span)
        #expect(a.since(sum) == .zero)
      }
    }
    #expect(SimulationTime.never + SimulationDuration(nanoseconds: 1) == .never)
    #expect(SimulationTime(nanoseconds: 42).description == "42 ns")
  }
}
