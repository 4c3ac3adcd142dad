// Clusters on their way to being stored.
package import BlockIO
import CCompression

extension QCOW2 {
  /// Compresses clusters; a pure function, so that several threads can compress at once.
  package enum Compressor {
    /// How hard to try: of deflate 1...9 (6 is usual), of zstd 1...22 (3 is usual).
    package static func usualLevel(_ method: CompressedCluster.Method) -> Int32 {
      method == .deflate ? 6 : 3
    }

    /// The compressed bytes of one whole cluster; nil when they would be no fewer, so that the cluster is
    /// better stored as it is.
    ///
    /// Deflate uses a window of 4096 bytes: QEMU's readers know no larger one.
    package static func compress(
      _ cluster: UnsafeRawBufferPointer, method: CompressedCluster.Method, level: Int32
    ) -> [UInt8]? {
      guard cluster.count > 1, cluster.count <= 1 << Limits.qcow2ClusterBitsMax else { return nil }
      let bytes = [UInt8](unsafeUninitializedCapacity: cluster.count - 1) { buffer, filled in
        let target = UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: cluster.count - 1)
        filled =
          switch method {
          case .deflate: deflateRaw(cluster, target, level)
          case .zstd: encodeZstd(cluster, target, level)
          }
      }
      return bytes.isEmpty ? nil : bytes
    }

    /// SAFETY: zlib writes no more than `avail_out` bytes. Returns 0 when they do not suffice.
    private static func deflateRaw(
      _ source: UnsafeRawBufferPointer, _ target: UnsafeMutableRawBufferPointer, _ level: Int32
    ) -> Int {
      var stream = z_stream()
      let size = CInt(MemoryLayout<z_stream>.size)
      let level = min(9, max(1, level))
      guard deflateInit2_(&stream, level, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY, ZLIB_VERSION, size) == Z_OK
      else { return 0 }
      defer { deflateEnd(&stream) }
      stream.next_in = UnsafeMutablePointer(
        mutating: source.baseAddress?.assumingMemoryBound(to: UInt8.self))
      stream.avail_in = uInt(source.count)
      stream.next_out = target.baseAddress?.assumingMemoryBound(to: UInt8.self)
      stream.avail_out = uInt(target.count)
      return deflate(&stream, Z_FINISH) == Z_STREAM_END ? target.count - Int(stream.avail_out) : 0
    }

    /// SAFETY: zstd writes no more than it is told to. Returns 0 when that does not suffice.
    private static func encodeZstd(
      _ source: UnsafeRawBufferPointer, _ target: UnsafeMutableRawBufferPointer, _ level: Int32
    ) -> Int {
      guard let context = ZSTD_createCCtx() else { return 0 }
      defer { ZSTD_freeCCtx(context) }
      let level = min(ZSTD_maxCLevel(), max(1, level))
      let count = ZSTD_compressCCtx(
        context, target.baseAddress, target.count, source.baseAddress, source.count, level)
      return ZSTD_isError(count) == 0 ? count : 0
    }
  }
}
