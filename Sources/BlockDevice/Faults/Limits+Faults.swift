// The numbers that bound faults.

extension Limits {
  static let faultNameLengthMax = 63
  /// Of a node's name, a '-', and the name of one of its disks.
  static let diskNameLengthMax = 127
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
