// Headers of every version.
import BlockIO
import Simulation
import Testing

@testable import DiskImage

@Suite("UML COW headers") struct HeaderTests {
  static let sizes = [1 << 20, (1 << 20) + 3 * 512, (1 << 20) + 100, 4096]

  @Test("every shape is read back as it was laid out", arguments: COWSample.Shape.allCases, sizes)
  func shapes(shape: COWSample.Shape, size: Int) throws {
    let sample = COWSample(shape, size: size, path: "/some/where/base", seed: 1)
    let header = try UMLCOW.Header(parsing: sample.file.span.bytes)
    let geometry = try header.geometry()
    #expect(header.version == shape.version)
    #expect(header.backingPath == Array("/some/where/base".utf8))
    #expect(header.backingModified == 1_700_000_000)
    #expect(header.backingSize == UInt64(size))
    #expect(header.sectorSize == 512)
    #expect(geometry.bitmapOffset == UInt64(sample.bitmapOffset))
    #expect(geometry.bitmapCount == UInt64(sample.bitmapCount))
    #expect(geometry.dataOffset == UInt64(sample.dataOffset))
    #expect(geometry.diskSize == UInt64((size + 511) / 512 * 512))
  }

  @Test("the offsets are those that UML and uml_mkcow use")
  func offsets() throws {
    func offsets(_ size: UInt64, alignment: UInt32?) throws -> [UInt64] {
      var header = UMLCOW.Header(backingPath: [47], backingModified: 0, backingSize: size)
      if let alignment { header.alignment = alignment }
      let geometry = try header.geometry()
      return [geometry.bitmapOffset, geometry.bitmapCount, geometry.dataOffset]
    }
    #expect(try offsets(1 << 20, alignment: 4096) == [8192, 256, 12288])
    #expect(try offsets((1 << 20) + 1536, alignment: 4096) == [8192, 257, 12288])
    #expect(try offsets(1 << 20, alignment: nil) == [131072, 256, 262144])
    #expect(try offsets(4 << 30, alignment: nil) == [131072, 1 << 20, 131072 + 1 << 20])
    // With data at a multiple of 128 KiB this one would be out of UML's reach.
    #expect(
      try offsets((8 << 40) - (64 << 20), alignment: nil) == [8192, 2_147_467_264, 2_147_475_456])
  }

  @Test("what we encode we parse")
  func roundTrip() throws {
    var random = RandomStream(seed: 7, name: "headers")
    for _ in 0..<200 {
      let path = (0..<(1 + random.next() % 4095)).map { _ in UInt8(1 + random.next() % 255) }
      let header = UMLCOW.Header(
        backingPath: path, backingModified: UInt32(truncatingIfNeeded: random.next()),
        backingSize: random.next() >> (22 + random.next() % 30))
      let bytes = header.encoded()
      #expect(bytes.count == 4128)
      #expect(try UMLCOW.Header(parsing: bytes.span.bytes) == header)
    }
  }

  @Test("nonsense is refused for the right reason")
  func refusals() {
    func defect(_ shape: COWSample.Shape, _ change: (inout [UInt8]) -> Void) -> UMLCOW.HeaderDefect? {
      var bytes = COWSample(shape, size: 65536, path: "/b", seed: 1).file
      change(&bytes)
      do throws(UMLCOW.HeaderDefect) { _ = try UMLCOW.Header(parsing: bytes.span.bytes) } catch {
        return error
      }
      return nil
    }
    func be(_ value: UInt32) -> [UInt8] { withUnsafeBytes(of: value.bigEndian) { Array($0) } }
    #expect(defect(.v3) { _ in } == nil)
    #expect(defect(.v3) { $0[0] = 0 } == .noMagic)
    #expect(defect(.v3) { $0 = [] } == .noMagic)
    #expect(defect(.v3) { $0.removeLast($0.count - 4127) } == .short(version: 3, size: 4127, needed: 4128))
    #expect(defect(.v3) { $0.removeLast($0.count - 12) } == .short(version: 3, size: 12, needed: 4128))
    #expect(
      defect(.v3Broken) { $0.removeLast($0.count - 4130) } == .short(version: 3, size: 4130, needed: 4136))
    #expect(defect(.v2) { $0.removeLast($0.count - 4000) } == .short(version: 2, size: 4000, needed: 4120))
    #expect(defect(.v1) { $0.removeLast($0.count - 100) } == .short(version: 1, size: 100, needed: 280))
    #expect(defect(.v3) { $0.replaceSubrange(4..<8, with: be(4)) } == .unknownVersion(4))
    #expect(defect(.v3) { $0.replaceSubrange(4..<8, with: be(0)) } == .unknownVersion(0))
    #expect(defect(.v1) { $0.replaceSubrange(4..<8, with: [2, 0, 0, 0]) } == .unknownVersion(2))
    #expect(defect(.v3) { $0.replaceSubrange(20..<24, with: be(0)) } == .sectorSize(0))
    #expect(defect(.v3) { $0.replaceSubrange(20..<24, with: be(513)) } == .sectorSize(513))
    #expect(defect(.v3) { $0.replaceSubrange(20..<24, with: be(256)) } == .sectorSize(256))
    #expect(defect(.v1) { $0.replaceSubrange(276..<280, with: be(0)) } == .sectorSize(0))
    #expect(defect(.v3) { $0.replaceSubrange(24..<28, with: be(0)) } == .alignment(0))
    #expect(defect(.v3) { $0.replaceSubrange(24..<28, with: be(1000)) } == .alignment(1000))
    #expect(defect(.v3) { $0.replaceSubrange(28..<32, with: be(1)) } == .unknownFormat(1))
    #expect(
      defect(.v3Broken) { $0.replaceSubrange(36..<4132, with: repeatElement(65, count: 4096)) }
        == .endlessPath)
    #expect(
      defect(.v3) { $0.replaceSubrange(32..<4128, with: repeatElement(65, count: 4096)) } == .endlessPath)
    #expect(defect(.v2) { $0[8] = 0 } == .emptyPath)
    #expect(defect(.v3) { $0[12] = 0x80 } == .tooLarge(size: 0x8000_0000_0001_0000))
    #expect(
      defect(.v3) { $0.replaceSubrange(12..<20, with: repeatElement(255, count: 8)) } == .tooLarge(size: .max)
    )
  }

  @Test("no bytes whatever bring the parser down", arguments: UInt64(0)..<4)
  func mutations(seed: UInt64) {
    var random = RandomStream(seed: seed, name: "mutations")
    for shape in COWSample.Shape.allCases {
      let whole = COWSample(shape, size: 65536, path: "/b", seed: seed).file
      let start = Array(whole.prefix(UMLCOW.Header.byteCountMax))
      for _ in 0..<400 {
        var bytes = start
        for _ in 0...random.next() % 4 {
          // The fields are at either end of the path: aim there.
          let places = [
            Int(random.next() % 36), 264 + Int(random.next() % 24), 4100 + Int(random.next() % 30),
          ]
          let place =
            random.next() % 4 == 0
            ? Int(random.next() % UInt64(bytes.count)) : places.randomElement(using: &random)!
          bytes[min(place, bytes.count - 1)] = [
            0, 1, 0x7f, 0x80, 0xff, UInt8(truncatingIfNeeded: random.next()),
          ].randomElement(using: &random)!
        }
        if random.next() % 4 == 0 { bytes.removeLast(Int(random.next() % UInt64(bytes.count))) }
        let header = try? UMLCOW.Header(parsing: bytes.span.bytes)
        if let header { #expect((try? header.geometry()) != nil) }
      }
    }
  }
}

extension COWSample.Shape {
  var version: UMLCOW.Version {
    switch self {
    case .v1: .v1(bigEndian: false)
    case .v1BigEndian: .v1(bigEndian: true)
    case .v1Unpacked: .v1Unpacked
    case .v2: .v2
    case .v2Unpacked: .v2Unpacked
    case .v3, .v3Align512: .v3
    case .v3Broken: .v3Broken
    }
  }
}
