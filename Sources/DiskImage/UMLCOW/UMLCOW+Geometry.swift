// Where the bitmap and the data are.

extension UMLCOW {
  /// The arithmetic of a header, done once and checked.
  package struct Geometry: Equatable, Sendable {
    /// What the guest sees, in bytes: the length of the backing file, rounded up to 512.
    package let diskSize: UInt64
    /// What a bit stands for, in bytes.
    package let sectorSize: UInt64
    /// Where the bitmap is in the file.
    package let bitmapOffset: UInt64
    /// How many bytes the bitmap has. In versions 1 and 2 the last sectors may have no bit.
    package let bitmapCount: UInt64
    /// Where the slot of the first sector is in the file.
    package let dataOffset: UInt64

    /// How many sectors have a bit.
    package var sectorCount: UInt64 { min(bitmapCount * 8, (diskSize + sectorSize - 1) / sectorSize) }
  }
}

extension UMLCOW.Header {
  /// The arithmetic of this header.
  package func geometry() throws(UMLCOW.HeaderDefect) -> UMLCOW.Geometry {
    let sector = UInt64(sectorSize)
    // Below this bound nothing that follows can overflow.
    guard backingSize <= Limits.cowDataOffsetMax * 8 * 512,
      let diskSize = backingSize.roundedUp(to: Limits.sectorSize)
    else { throw .tooLarge(size: backingSize) }
    let header = UInt64(UMLCOW.Layout(version).byteCount)
    let sectors = (backingSize + sector - 1) / sector
    let bitmapOffset: UInt64
    let bitmapCount: UInt64
    let dataAlignment: UInt64
    switch version {
    case .v1, .v1Unpacked, .v2, .v2Unpacked:
      bitmapOffset = header
      bitmapCount = (backingSize + sector - 1) / (8 * sector)
      dataAlignment = sector
    case .v3, .v3Broken:
      bitmapOffset = header.roundedUp(to: UInt64(alignment)) ?? header
      bitmapCount = (sectors + 7) / 8
      dataAlignment = UInt64(alignment)
    }
    guard let dataOffset = (bitmapOffset + bitmapCount).roundedUp(to: dataAlignment) else {
      throw .tooLarge(size: backingSize)
    }
    guard dataOffset <= Limits.cowDataOffsetMax else {
      throw .tooLarge(size: backingSize)
    }
    return UMLCOW.Geometry(
      diskSize: diskSize, sectorSize: sector, bitmapOffset: bitmapOffset, bitmapCount: bitmapCount,
      dataOffset: dataOffset)
  }
}
