// Disks over a file named `base`.
import BlockIO
import Glibc

@testable import DiskImage

/// Makes the disk `d`: a copy of `base`, or an overlay on it.
func makeDisk(_ scratch: Scratch, _ format: String) throws {
  switch format {
  case "qcow2": scratch.shell("qemu-img create -q -f qcow2 -b base -F raw d")
  case "cow":
    try UMLCOW.create(
      path: scratch.file("d"), backing: scratch.file("base"), force: true, registry: FileRegistry())
  default: scratch.shell("cp --sparse=always base d")
  }
}

/// The bytes of a disk that nobody serves.
func contents(_ scratch: Scratch, _ name: String) throws -> [UInt8] {
  let image = try openImage(
    path: scratch.file(name), options: ImageOptions(readOnly: true), registry: FileRegistry())
  var bytes = [UInt8](repeating: 0xee, count: Int(image.size))
  try bytes.withUnsafeMutableBytes { buffer in
    var part = iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
    try withUnsafePointer(to: &part) { try image.read(at: 0, into: UnsafeBufferPointer(start: $0, count: 1)) }
  }
  try image.close()
  return bytes
}
