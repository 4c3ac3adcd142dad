// One cluster, decompressed.
import BlockIO
import CCompression
import Glibc

/// The compressed cluster that was read last, as it is and as it was stored.
///
/// SAFETY: `plain` and `stored` are as large as the largest cluster so far asked for; `inflate` and `decoder`
/// are nil or valid; nobody else has any of them.
struct DecompressedCluster: ~Copyable {
  private var plain = UnsafeMutableRawBufferPointer(start: nil, count: 0)
  private var stored = UnsafeMutableRawBufferPointer(start: nil, count: 0)
  private var inflater: UnsafeMutablePointer<z_stream>?
  private var decoder: OpaquePointer?
  /// What is in `plain`.
  private var current: (file: ImageFile, offset: UInt64)?

  init() {}

  deinit {
    plain.deallocate()
    stored.deallocate()
    if let inflater {
      inflateEnd(inflater)
      inflater.deallocate()
    }
    ZSTD_freeDCtx(decoder)
  }

  /// The next `load` reads again.
  mutating func forget() { current = nil }

  /// Decompresses a cluster, unless it is there already.
  mutating func load(
    _ cluster: CompressedCluster, at offset: UInt64, of file: ImageFile, engine: any BlockEngine
  ) throws(DiskImageError) {
    if let current, current.file === file, current.offset == offset { return }
    current = nil
    DecompressedCluster.grow(&plain, to: Int(cluster.count))
    DecompressedCluster.grow(&stored, to: Int(cluster.storedCount))
    let source = UnsafeMutableRawBufferPointer(rebasing: stored[..<Int(cluster.storedCount)])
    do throws(BlockIOError) { try engine.read(file, at: offset, into: source) } catch { throw .file(error) }
    let target = UnsafeMutableRawBufferPointer(rebasing: plain[..<Int(cluster.count)])
    let isWhole =
      switch cluster.method {
      case .deflate: inflate(UnsafeRawBufferPointer(source), target)
      case .zstd: decodeZstd(UnsafeRawBufferPointer(source), target)
      }
    guard isWhole else {
      throw .qcow2(path: file.path, .compressedCluster(offset: offset))
    }
    current = (file, offset)
  }

  /// Copies bytes of the cluster to parts that are as long.
  func copy(from position: Int, count: UInt64, to parts: UnsafeBufferPointer<iovec>) {
    precondition(position >= 0 && position + Int(count) <= plain.count)
    guard let base = plain.baseAddress else { return }
    parts.overwrite(at: 0, count: count, with: base + position)
  }

  private static func grow(_ buffer: inout UnsafeMutableRawBufferPointer, to count: Int) {
    guard buffer.count < count else { return }
    buffer.deallocate()
    buffer = .allocate(byteCount: count, alignment: 4096)
  }

  /// Whether exactly one cluster came out. QEMU compresses with a window of 4096 bytes; any window is read.
  private mutating func inflate(
    _ source: UnsafeRawBufferPointer, _ target: UnsafeMutableRawBufferPointer
  ) -> Bool {
    guard let stream = preparedInflater() else { return false }
    stream.pointee.next_in = UnsafeMutablePointer(
      mutating: source.baseAddress?.assumingMemoryBound(to: UInt8.self))
    stream.pointee.avail_in = uInt(source.count)
    stream.pointee.next_out = target.baseAddress?.assumingMemoryBound(to: UInt8.self)
    stream.pointee.avail_out = uInt(target.count)
    let result = CCompression.inflate(stream, Z_FINISH)
    return stream.pointee.avail_out == 0 && (result == Z_STREAM_END || result == Z_BUF_ERROR)
  }

  private mutating func preparedInflater() -> UnsafeMutablePointer<z_stream>? {
    if let inflater { return inflateReset(inflater) == Z_OK ? inflater : nil }
    let new = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
    new.initialize(to: z_stream())
    guard inflateInit2_(new, -15, ZLIB_VERSION, CInt(MemoryLayout<z_stream>.size)) == Z_OK else {
      new.deallocate()
      return nil
    }
    inflater = new
    return new
  }

  private mutating func decodeZstd(
    _ source: UnsafeRawBufferPointer, _ target: UnsafeMutableRawBufferPointer
  ) -> Bool {
    if decoder == nil {
      decoder = ZSTD_createDCtx()
      // A cluster needs no larger window than itself; a file may ask for 128 MiB.
      if let decoder { ZSTD_DCtx_setParameter(decoder, ZSTD_d_windowLogMax, 23) }
    }
    guard let decoder else { return false }
    ZSTD_DCtx_reset(decoder, ZSTD_reset_session_only)
    var input = ZSTD_inBuffer(src: source.baseAddress, size: source.count, pos: 0)
    var output = ZSTD_outBuffer(dst: target.baseAddress, size: target.count, pos: 0)
    while output.pos < output.size {
      let before = (input.pos, output.pos)
      let rest = ZSTD_decompressStream(decoder, &output, &input)
      if ZSTD_isError(rest) != 0 || before == (input.pos, output.pos) { return false }
    }
    return true
  }
}
