// Looking through a whole bitmap.
import BlockIO

extension UMLCOW {
  /// Calls `body` for each byte of the bitmap that is not 0, with the first of its eight sectors.
  ///
  /// Bits of sectors that do not exist are cleared: UML may leave anything there. Holes are skipped.
  static func scanBitmap(
    _ opened: Opened, engine: any BlockEngine,
    _ body: (_ firstSector: UInt64, _ byte: UInt8) throws(DiskImageError) -> Void
  ) throws(DiskImageError) {
    let geometry = opened.geometry
    let end = geometry.bitmapOffset + geometry.bitmapCount
    var bytes = [UInt8](repeating: 0, count: scanBytesPerRead)
    var position = geometry.bitmapOffset
    while position < end, let data = opened.overlay.nextData(from: position), data.lowerBound < end {
      position = data.lowerBound
      let stop = min(data.upperBound, end)
      while position < stop {
        let count = min(stop - position, UInt64(scanBytesPerRead))
        do throws(BlockIOError) {
          try engine.read(opened.overlay, at: position, into: &bytes)
        } catch { throw .file(error) }
        for index in 0..<Int(count) where bytes[index] != 0 {
          let first = (position - geometry.bitmapOffset + UInt64(index)) * 8
          let byte = bytes[index] & validBits(first, geometry)
          if byte != 0 { try body(first, byte) }
        }
        position += count
      }
    }
  }

  /// Which of eight sectors exist.
  static func validBits(_ firstSector: UInt64, _ geometry: Geometry) -> UInt8 {
    guard firstSector < geometry.sectorCount else { return 0 }
    return UInt8(truncatingIfNeeded: 0xff >> (8 - min(8, geometry.sectorCount - firstSector)))
  }

  private static let scanBytesPerRead = 65536
}
