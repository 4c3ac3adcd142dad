// Any bytes as a qcow2 file.
import BlockIO
import CLinux
import DiskImage
import Glibc

nonisolated(unsafe) private var sink = 0

/// The whole input is the file. It is looked at, checked, read, and then written: none of that may crash,
/// hang, or take much memory. What it names as its backing file is only ever read.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzQCOW2(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  let descriptor = CLinux_memfd_create_sealable("fuzz")
  guard descriptor >= 0, write(descriptor, bytes, count) == count else { fatalError("no memory") }
  defer { close(descriptor) }
  let path = "/proc/self/fd/\(descriptor)"
  var options = ImageOptions(format: .qcow2, readOnly: true, lock: false)
  let info = try? ImageInfo(path: path, options: options, registry: FileRegistry())
  sink &+= info?.warnings ?? 0
  if let report = try? QCOW2.check(path: path, lock: false, registry: FileRegistry()) {
    sink &+= report.messages.count
  }
  if let disk = try? openImage(path: path, options: options, registry: FileRegistry()) { look(at: disk) }
  for snapshot in info?.qcow2?.snapshots.prefix(2) ?? [] {
    options.snapshot = snapshot.identifier
    if let disk = try? openImage(path: path, options: options, registry: FileRegistry()) { look(at: disk) }
  }
  options = ImageOptions(format: .qcow2, lock: false)
  if let disk = try? openImage(path: path, options: options, registry: FileRegistry()) { change(disk) }
  _ = try? QCOW2.repair(path: path, .all, lock: false, registry: FileRegistry())
  return 0
}

extension ImageInfo {
  fileprivate var warnings: Int { (qcow2?.warnings.count ?? 0) + (cow?.warnings.count ?? 0) }
}

private func look(at disk: any DiskImage) {
  var segments: [Segment] = []
  let end = min(disk.size, 4 << 20)
  try? disk.plan(0..<end, into: &segments)
  let isWhole = segments.reduce(0) { $0 + $1.count } == end
  // A plan that fails may be incomplete.
  sink &+= isWhole ? segments.count : 0
  withUnsafeTemporaryAllocation(byteCount: 65536, alignment: 8) { memory in
    for offset in [0, end / 2, disk.size - min(disk.size, 4096)] {
      let count = Int(min(UInt64(memory.count), disk.size - offset))
      var part = iovec(iov_base: memory.baseAddress, iov_len: count)
      withUnsafePointer(to: &part) {
        try? disk.read(at: offset, into: UnsafeBufferPointer(start: $0, count: 1))
      }
    }
  }
}

private func change(_ disk: any DiskImage) {
  withUnsafeTemporaryAllocation(byteCount: 3000, alignment: 8) { memory in
    memory.initializeMemory(as: UInt8.self, repeating: 5)
    for offset in [0, 700, disk.size / 2] where disk.size - min(offset, disk.size) >= 3000 {
      var part = iovec(iov_base: memory.baseAddress, iov_len: 3000)
      withUnsafePointer(to: &part) {
        try? disk.write(at: offset, from: UnsafeBufferPointer(start: $0, count: 1))
      }
    }
  }
  try? disk.discard(0..<min(disk.size, 1 << 20))
  try? disk.flush()
  try? disk.close()
}
