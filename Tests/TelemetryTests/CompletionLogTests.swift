// What every disk did, in order, as one number.
import Simulation
import Telemetry
import Testing

@Suite struct CompletionLogTests {
  private func digest(of bytes: [UInt8]) -> String {
    let digest = Digest()
    bytes.withUnsafeBytes { digest.update($0) }
    return digest.hexadecimal
  }

  /// From libxxhash 0.8.1: `XXH3_128bits("", 0)` and `XXH3_128bits("abc", 3)`, high word first.
  @Test func digestsAreThoseOfXXH3() {
    #expect(digest(of: []) == "99aa06d3014798d86001c324468d497f")
    #expect(digest(of: Array("abc".utf8)) == "06b05ab6733a618578af5f94892f3950")
  }

  @Test func aDigestIsThatOfTheWholeStream() {
    let bytes = (0..<1000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    let digest = Digest()
    for part in stride(from: 0, to: 1000, by: 37) {
      bytes[part..<min(part + 37, 1000)].withUnsafeBytes { digest.update($0) }
      _ = digest.hexadecimal  // looking changes nothing
    }
    #expect(digest.hexadecimal == self.digest(of: bytes))
  }

  private func record(_ number: UInt64) -> CompletionLog.Record {
    CompletionLog.Record(
      completed: SimulationTime(nanoseconds: 0x0102_0304_0506_0708 + number),
      submitted: SimulationTime(nanoseconds: 0x1112_1314_1516_1718), sequence: 0x2122_2324_2526_2728,
      offset: 0x3132_3334_3536_3738, length: 0x4142_4344_4546_4748, disk: 0x5152_5354, operation: 0x6162,
      status: 0x7172)
  }

  @Test func aRecordIs48LittleEndianBytes() {
    let log = CompletionLog()
    #expect(log.digest == digest(of: []))
    log.append(record(0))
    let bytes: [UInt8] =
      Array((1...8).reversed()) + (0x11...0x18).reversed() + (0x21...0x28).reversed()
      + (0x31...0x38).reversed()
      + (0x41...0x48).reversed() + (0x51...0x54).reversed() + [0x62, 0x61, 0x72, 0x71]
    #expect(bytes.count == 48)
    #expect(log.digest == digest(of: bytes))
    #expect(log.count == 1)
  }

  /// The records written by Python's `struct.pack("<QQQQQIHH", …)`, digested by a C program.
  @Test func theDigestOfARunIsWrittenDown() {
    let log = CompletionLog()
    for number in 0..<1000 { log.append(record(UInt64(number))) }
    #expect(log.digest == "534338ff39c13ec15f78ff994fedd637")
    #expect(log.count == 1000)
    let other = CompletionLog()
    for number in (0..<1000).reversed() { other.append(record(UInt64(number))) }
    #expect(other.digest != log.digest)
  }
}
