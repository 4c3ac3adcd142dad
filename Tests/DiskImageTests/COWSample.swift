// COW files of every shape, made field by field from the format's description and by nothing of ours.
import Simulation

@testable import DiskImage

/// A COW file and its backing file, with the disk that they ought to make.
struct COWSample {
  enum Shape: String, CaseIterable, Sendable {
    case v1, v1BigEndian, v1Unpacked, v2, v2Unpacked, v3, v3Align512, v3Broken

    var isTruncatingBitmap: Bool {
      switch self {
      case .v3, .v3Align512, .v3Broken: false
      default: true
      }
    }
  }

  var shape: Shape
  var backing: [UInt8]
  var modified: UInt32 = 1_700_000_000
  var path: String
  /// Bit by bit, for every sector.
  var bits: [Bool]
  var data: [UInt8]
  var bitmapOffset = 0
  var bitmapCount = 0
  var dataOffset = 0
  var file: [UInt8] = []

  init(_ shape: Shape, size: Int, path: String, seed: UInt64, uniform: Bool = false, density: UInt64 = 3) {
    var random = RandomStream(seed: seed, name: "sample")
    self.shape = shape
    self.path = path
    backing = random.bytes(size)
    let sectors = (size + 511) / 512
    bits = (0..<sectors).map { _ in random.next() % density == 0 }
    if uniform { for sector in 0..<sectors { bits[sector] = bits[sector / 8 * 8] } }
    if shape.isTruncatingBitmap { for sector in sectors / 8 * 8..<sectors { bits[sector] = false } }
    data = random.bytes(sectors * 512)
    // The file ends with the disk, so that the rest of the last sector reads as zeros.
    for index in size..<sectors * 512 { data[index] = 0 }
    build()
  }

  /// What the guest ought to see.
  var ideal: [UInt8] {
    var disk = backing + [UInt8](repeating: 0, count: bits.count * 512 - backing.count)
    for (sector, isSet) in bits.enumerated() where isSet {
      disk.replaceSubrange(sector * 512..<sector * 512 + 512, with: data[sector * 512..<sector * 512 + 512])
    }
    return disk
  }

  mutating func build() {
    var h: [UInt8] = []
    let size = UInt64(backing.count)
    func pad(_ text: String, _ count: Int) -> [UInt8] {
      // UML leaves whatever was on its heap behind the NUL.
      Array(text.utf8) + [0] + [UInt8](repeating: 0xa5, count: count - text.utf8.count - 1)
    }
    func le<I: FixedWidthInteger>(_ value: I) -> [UInt8] {
      withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }
    func be<I: FixedWidthInteger>(_ value: I) -> [UInt8] {
      withUnsafeBytes(of: value.bigEndian) { Array($0) }
    }
    let align: UInt32 = shape == .v3Align512 ? 512 : 4096
    switch shape {
    case .v1:
      h +=
        le(UInt32(0x4f4f_4f4d)) + le(UInt32(1)) + pad(path, 256) + le(modified) + le(size) + le(UInt32(512))
    case .v1BigEndian:
      h +=
        be(UInt32(0x4f4f_4f4d)) + be(UInt32(1)) + pad(path, 256) + be(modified) + be(size) + be(UInt32(512))
    case .v1Unpacked:
      h += le(UInt32(0x4f4f_4f4d)) + le(UInt32(1)) + pad(path, 256) + le(UInt64(modified)) + le(size)
      h += le(UInt32(512)) + [1, 2, 3, 4]
    case .v2:
      h +=
        be(UInt32(0x4f4f_4f4d)) + be(UInt32(2)) + pad(path, 4096) + be(modified) + be(size) + be(UInt32(512))
    case .v2Unpacked:
      h += be(UInt32(0x4f4f_4f4d)) + be(UInt32(2)) + pad(path, 4096) + be(UInt64(modified)) + be(size)
      h += be(UInt32(512)) + [1, 2, 3, 4]
    case .v3, .v3Align512:
      h += be(UInt32(0x4f4f_4f4d)) + be(UInt32(3)) + be(modified) + be(size) + be(UInt32(512)) + be(align)
      h += be(UInt32(0)) + pad(path, 4096)
    case .v3Broken:
      h += be(UInt32(0x4f4f_4f4d)) + be(UInt32(3)) + be(modified) + [9, 9, 9, 9] + be(size) + be(UInt32(512))
      h += be(align) + be(UInt32(0)) + pad(path, 4096) + [7, 7, 7, 7]
    }
    let sectors = bits.count
    if shape.isTruncatingBitmap {
      bitmapOffset = h.count
      bitmapCount = (backing.count + 511) / (8 * 512)
      dataOffset = (bitmapOffset + bitmapCount + 511) / 512 * 512
    } else {
      bitmapOffset = (h.count + Int(align) - 1) / Int(align) * Int(align)
      bitmapCount = (sectors + 7) / 8
      dataOffset = (bitmapOffset + bitmapCount + Int(align) - 1) / Int(align) * Int(align)
    }
    var bitmap = [UInt8](repeating: 0, count: bitmapCount)
    for (sector, isSet) in bits.enumerated() where isSet { bitmap[sector / 8] |= 1 << UInt8(sector % 8) }
    // Bits of sectors that do not exist mean nothing.
    if !shape.isTruncatingBitmap, sectors % 8 != 0 { bitmap[sectors / 8] |= 0xff << UInt8(sectors % 8) }
    file = h + [UInt8](repeating: 0, count: bitmapOffset - h.count) + bitmap
    file += [UInt8](repeating: 0xff, count: dataOffset - file.count)
    // Slots of sectors that are not set hold zeros or anything.
    file += data
    if backing.count % 512 != 0 { file.removeLast(512 - backing.count % 512) }
  }
}
