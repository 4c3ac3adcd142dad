// Memory for what a write leaves of its first and last cluster.
import Glibc

extension QCOW2 {
  /// Two buffers of a cluster each, allocated when they are first needed.
  ///
  /// SAFETY: they belong to one disk, which uses them within a request and never twice at a time.
  struct EdgeBuffers: ~Copyable {
    private var memory = UnsafeMutableRawBufferPointer(start: nil, count: 0)

    init() {}

    deinit { memory.deallocate() }

    /// The first `count` bytes of a buffer.
    mutating func part(_ isTail: Bool, count: UInt64, clusterSize: UInt64) -> iovec {
      if memory.isEmpty { memory = .allocate(byteCount: 2 * Int(clusterSize), alignment: 4096) }
      precondition(count <= clusterSize && 2 * Int(clusterSize) == memory.count)
      return iovec(
        iov_base: memory.baseAddress.map { $0 + (isTail ? Int(clusterSize) : 0) }, iov_len: Int(count))
    }
  }
}
