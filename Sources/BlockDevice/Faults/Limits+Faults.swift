// The numbers that bound faults.

extension Limits {
  /// What ranges of faults and torn writes are counted in.
  static let faultSector: UInt64 = 512
  /// What space and former contents are counted in.
  static let faultPage: UInt64 = 4096
  /// Bits of one request that are flipped.
  static let bitsMax: UInt64 = 1024
  /// Random sectors that cannot be read.
  static let latentSectorsMax: UInt64 = 1 << 20
  /// What a change in a write cache counts besides its bytes.
  static let volatileOverhead: UInt64 = 64
}
