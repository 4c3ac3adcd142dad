// Seek times, worked out once.

/// A seek curve laid out for look-ups: exact to 16,384 cylinders, then 512 samples an octave.
///
/// Linear between the samples: for any smooth curve that is right to a few nanoseconds.
struct SeekTable: Sendable {
  /// Distances below 2^14 have an entry of their own.
  private static let exactBits = 14
  /// 2^9 samples in each octave above.
  private static let octaveBits = 9

  private var exact: [UInt32] = []
  private var octaves: [UInt32] = []

  /// - Parameter travel: called with rising distances below `count`.
  init(count: Int, travel: (UInt64) -> UInt64) {
    let limit = min(count, 1 << Self.exactBits)
    exact.reserveCapacity(limit)
    for distance in 0..<limit { exact.append(Self.entry(travel(UInt64(distance)))) }
    var octave = Self.exactBits
    while count > 1 << octave {
      let step = octave - Self.octaveBits
      for sample in 0..<(1 << Self.octaveBits) {
        octaves.append(Self.entry(travel(UInt64(1 << octave + sample << step))))
      }
      octave += 1
    }
    if !octaves.isEmpty { octaves.append(Self.entry(travel(UInt64(1 << octave)))) }
  }

  private static func entry(_ time: UInt64) -> UInt32 { UInt32(clamping: time) }

  @inline(__always)
  subscript(distance: Int) -> UInt64 {
    if distance < exact.count { return UInt64(exact[distance]) }
    let octave = Int.bitWidth - 1 - distance.leadingZeroBitCount
    let step = octave - Self.octaveBits
    let index = (octave - Self.exactBits) << Self.octaveBits + (distance - 1 << octave) >> step
    let (low, high) = (Int(octaves[index]), Int(octaves[index + 1]))
    return UInt64(low + ((high - low) * (distance & (1 << step - 1))) >> step)
  }
}
