// Any bytes as the header of a UML COW file.
import BlockIO
import CLinux
import DiskImage
import Glibc

nonisolated(unsafe) private var sink = 0

/// The whole input is the file; a real file stands in for the one that it names.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzCOW(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  let input = UnsafeBufferPointer(start: bytes, count: count)
  if let header = try? UMLCOW.Header(parsing: Array(input).span.bytes), let geometry = try? header.geometry()
  {
    // What was understood is written the way it was read, if it is of the version that we write.
    if header.version == .v3 {
      let again = try? UMLCOW.Header(parsing: header.encoded().span.bytes)
      if again != header { fatalError("\(header) became \(String(describing: again))") }
    }
    sink &+= Int(truncatingIfNeeded: geometry.dataOffset)
  }
  let file = CLinux_memfd_create_sealable("fuzz")
  let backing = CLinux_memfd_create_sealable("backing")
  guard file >= 0, backing >= 0, write(file, bytes, count) == count else { fatalError("no memory") }
  defer {
    close(file)
    close(backing)
  }
  ftruncate(backing, 65536)
  let path = "/proc/self/fd/\(file)"
  let options = ImageOptions(
    format: .umlCOW, readOnly: true, lock: false, backing: "/proc/self/fd/\(backing)")
  let info = try? ImageInfo(path: path, options: options, registry: FileRegistry())
  sink &+= info?.cow?.warnings.count ?? 0
  if let disk = try? openImage(path: path, options: options, registry: FileRegistry()) {
    var segments: [Segment] = []
    try? disk.plan(0..<min(disk.size, 1 << 20), into: &segments)
    sink &+= segments.count
  }
  return 0
}
