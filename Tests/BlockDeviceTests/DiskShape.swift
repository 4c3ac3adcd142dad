// Disks of every format, in a folder of their own.
import BlockIO
import Glibc
import Simulation
import Testing

@testable import DiskImage

/// A folder that goes with its owner.
final class DiskFolder {
  let path: String
  let registry = FileRegistry()

  init() {
    var template = Array("/tmp/ttblk-lanes.XXXXXX".utf8CString)
    _ = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!) }
    path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
  }

  deinit {
    for name in ["base", "disk"] { unlink("\(path)/\(name)") }
    rmdir(path)
  }

  func write(_ name: String, _ bytes: [UInt8]) {
    let descriptor = open("\(path)/\(name)", O_WRONLY | O_CREAT | O_TRUNC, 0o644)
    precondition(descriptor >= 0)
    precondition(Glibc.write(descriptor, bytes, bytes.count) == bytes.count)
    Glibc.close(descriptor)
  }
}

enum DiskShape: String, CaseIterable, Sendable {
  case raw, rawGuessed
  case cow, cowOdd
  /// Pages of which some sectors are here.
  case cowMixed
  case cowOnCompressed
  case qcow2, qcow2Small, qcow2Compressed

  /// Makes a disk, and says what is on it.
  func make(
    _ folder: DiskFolder, seed: UInt64, engine: any BlockEngine
  ) throws -> (any DiskImage, [UInt8]) {
    let size: Int =
      switch self {
      case .cowOdd: 20 * 4096 + [512, 1536, 3584][Int(seed % 3)]
      case .qcow2: 6 * 65536
      default: 24 * 4096
      }
    var bytes = LaneBench.content(size, first: 1 << 20)
    var random = RandomStream(seed: seed, name: "shape")
    switch self {
    case .raw, .rawGuessed: folder.write("disk", bytes)
    case .cow, .cowOdd, .cowMixed, .cowOnCompressed:
      if self == .cowOnCompressed {
        try makeQCOW2("base", folder, bytes, clusterBits: 12, compressed: true)
      } else {
        folder.write("base", bytes)
      }
      try UMLCOW.create(
        path: "\(folder.path)/disk", backing: "\(folder.path)/base", force: true, registry: folder.registry)
      if self == .cowMixed { try mixPages(folder, &bytes, &random) }
    case .qcow2, .qcow2Small:
      folder.write("base", bytes)
      try QCOW2.create(
        path: "\(folder.path)/disk", clusterBits: self == .qcow2 ? 16 : 9,
        backing: QCOW2.Backing(path: "base", format: .raw), registry: folder.registry)
    case .qcow2Compressed: try makeQCOW2("disk", folder, bytes, clusterBits: 12, compressed: true)
    }
    let image = try openImage(
      path: "\(folder.path)/disk", options: options, registry: folder.registry, engine: engine)
    return (image, bytes)
  }

  /// Sets some bits, and puts other numbers there.
  private func mixPages(_ folder: DiskFolder, _ bytes: inout [UInt8], _ random: inout RandomStream) throws {
    let other = LaneBench.content(bytes.count, first: 1 << 24)
    let disk = try #require(try reopen(folder) as? UMLCOW.Disk)
    let engine = SynchronousEngine()
    var bits = [UInt8](repeating: 0, count: bytes.count / 4096)
    for sector in 0..<bytes.count / 512 where random.next() % 5 < 2 {
      bits[sector / 8] |= 1 << UInt8(sector % 8)
      let range = sector * 512..<sector * 512 + 512
      bytes.replaceSubrange(range, with: other[range])
      try engine.write(
        disk.files[0], at: disk.geometry.dataOffset + UInt64(sector * 512), from: other[range])
    }
    try engine.write(disk.files[0], at: disk.geometry.bitmapOffset, from: bits[...])
    try disk.close()
  }

  private func makeQCOW2(
    _ name: String, _ folder: DiskFolder, _ bytes: [UInt8], clusterBits: UInt32, compressed: Bool
  ) throws {
    let path = "\(folder.path)/\(name)"
    try QCOW2.create(
      path: path, size: UInt64(bytes.count), clusterBits: clusterBits, registry: folder.registry)
    let disk = try #require(try openImage(path: path, registry: folder.registry) as? QCOW2.Disk)
    let size = 1 << Int(clusterBits)
    for start in stride(from: 0, to: bytes.count, by: size) {
      let cluster = bytes[start..<start + size]
      let stored = cluster.withUnsafeBytes { QCOW2.Compressor.compress($0, method: .deflate, level: 1) }
      try disk.appendCompressed(at: UInt64(start), try #require(stored))
    }
    try disk.close()
  }

  var isQCOW2: Bool { self == .qcow2 || self == .qcow2Small || self == .qcow2Compressed }

  var options: ImageOptions { ImageOptions(format: self == .raw ? .raw : nil) }

  func reopen(_ folder: DiskFolder) throws -> any DiskImage {
    try openImage(path: "\(folder.path)/disk", options: options, registry: folder.registry)
  }
}

func readAll(_ image: any DiskImage) throws -> [UInt8] {
  var bytes = [UInt8](repeating: 0xee, count: Int(image.size))
  try bytes.withUnsafeMutableBytes { buffer in
    var part = iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
    try withUnsafePointer(to: &part) { try image.read(at: 0, into: UnsafeBufferPointer(start: $0, count: 1)) }
  }
  return bytes
}
